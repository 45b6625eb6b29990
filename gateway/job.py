"""What a put of one chunk is about, and the messages that follow from it."""

from __future__ import annotations

from collections.abc import Sequence

from replicast.frozen import frozen
from replicast.gateway.ballot import Plan
from replicast.gateway.context import OPERATION_BASE_BYTES
from replicast.transfer import BufferLike
from replicast.wire.chunk_messages import VDEVS_MAX, PutAccept, PutPropose


@frozen
class PutJob:
    """The chunk, the random part of all its ids, and when to give up."""

    chid: bytes
    hash_algorithm: int
    buffer: BufferLike
    size_bytes: int
    operation_base: bytes
    deadline_ns: int

    def id_of(self, number: int) -> bytes:
        """The id of an attempt or a transfer of this put."""
        return self.operation_base + number.to_bytes(16 - OPERATION_BASE_BYTES, "little")

    def proposal(self, row: int, copies: int, excluded: Sequence[int]) -> PutPropose:
        """PUT_PROPOSE."""
        return PutPropose(
            row=row,
            chid=self.chid,
            hash_algorithm=self.hash_algorithm,
            size_bytes=self.size_bytes,
            copies=copies,
            excluded=tuple(excluded)[:VDEVS_MAX],
        )

    def accept(
        self,
        row: int,
        plan: Plan,
        transfer_id: bytes,
        datagram_bytes: int,
        rendezvous: int,
        authenticated: bool,
    ) -> PutAccept:
        """PUT_ACCEPT."""
        return PutAccept(
            row=row,
            chid=self.chid,
            hash_algorithm=self.hash_algorithm,
            size_bytes=self.size_bytes,
            winners=plan.winners,
            holders=plan.holders,
            transfer_id=transfer_id,
            datagram_bytes=datagram_bytes,
            rendezvous=rendezvous,
            authenticated=authenticated,
        )
