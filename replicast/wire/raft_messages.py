"""The one message between voters, over CURVE channels; its payload is flexhash/raft's own."""

from __future__ import annotations

from typing import Annotated

from replicast.wire.schema import U32, U64, Bytes16, Kind, Message, message

PAYLOAD_BYTES_MAX = 8 << 20


@message(150)
class RaftEnvelope(Message):
    """Voter -> voter. Who sends it follows from the key. `boot` counts the sender's starts and
    `sequence` its messages on this link, so that nothing is delivered twice or out of order.
    An empty payload is a sign of life."""

    cluster_id: Bytes16
    voter_epoch: U32
    boot: U64
    sequence: U64
    term: U64  # the sender's when it sent this: an answer to another term is dropped
    payload: Annotated[bytes, Kind("bytes", PAYLOAD_BYTES_MAX)]
