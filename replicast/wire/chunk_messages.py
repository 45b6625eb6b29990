"""Messages of the chunk exchange over UDP (DESIGN 7). operation_id in the header is the
128-bit id of the attempt; every reply echoes it, and a reply to another attempt is dropped."""

from __future__ import annotations

from typing import Annotated

from replicast.wire.schema import (
    U8,
    U16,
    U32,
    U64,
    Bytes16,
    Flag,
    Hash,
    Kind,
    Message,
    Struct,
    message,
    struct,
)

VDEVS_MAX = 64
RANGES_MAX = 256
DATAGRAM_BYTES_MAX = 61_760

VdevList = Annotated[tuple[int, ...], Kind("list", VDEVS_MAX, Kind("uint", 2))]
Detail = Annotated[str, Kind("text", 512)]


@message(10)
class PutPropose(Message):
    """1. Initiator -> negotiating group: who wants this chunk? `excluded` never bid."""

    row: U32
    chid: Hash
    hash_algorithm: U8
    size_bytes: U32
    copies: U8
    excluded: VdevList


OFFER, ALREADY_STORED, REFUSED_BID = 1, 2, 3


@struct
class VdevBid(Struct):
    """One VDEV's answer. kind: OFFER, ALREADY_STORED or REFUSED_BID (then `reason`)."""

    vdev_index: U16
    kind: U8
    reason: U8
    start_ns: U64  # earliest start, from now
    duration_ns: U64  # expected time to durable, after the start
    free_ppm: U32
    credit_bytes: U32


@message(11)
class Bid(Message):
    """2. Target -> initiator: the bids of all its VDEVs in the row, one datagram."""

    bids: Annotated[tuple[VdevBid, ...], Kind("list", VDEVS_MAX, VdevBid)]


NO_MULTICAST = 0xFFFF


@message(12)
class PutAccept(Message):
    """3. Initiator -> negotiating group: `winners` get the payload, `holders` make a hold
    durable, everybody else frees its reservation. rendezvous = group number or NO_MULTICAST."""

    row: U32
    chid: Hash
    hash_algorithm: U8
    size_bytes: U32
    winners: VdevList
    holders: VdevList
    transfer_id: Bytes16
    datagram_bytes: U16
    rendezvous: U16
    authenticated: Flag  # after a hash mismatch: every payload datagram carries a MAC


@message(13)
class PutAccepted(Message):
    """Winner's target -> initiator: the transfer is open. One per target, for all its winners."""

    vdevs: VdevList
    credit_bytes: U32  # payload bytes that may be outstanding now
    joined: Flag  # the rendezvous group is joined: multicast reaches this target


@message(17)
class ChunkPut(Message):
    """Small chunk, sent at once: opens the transfer and carries its first bytes. `data` holds
    bytes [0, len(data)); the rest comes as payload datagrams of `datagram_bytes`."""

    row: U32
    chid: Hash
    hash_algorithm: U8
    size_bytes: U32
    vdevs: VdevList
    transfer_id: Bytes16
    datagram_bytes: U16
    data: Annotated[bytes, Kind("bytes", DATAGRAM_BYTES_MAX)]


@struct
class ByteRange(Struct):
    """Payload bytes [start, end)."""

    start: U32
    end: U32


@message(15)
class PayloadGaps(Message):
    """Receiver -> sender of a transfer: what is missing (may be empty) and the credit."""

    transfer_id: Bytes16
    received_bytes: U32
    credit_bytes: U32
    ranges: Annotated[tuple[ByteRange, ...], Kind("list", RANGES_MAX, ByteRange)]


STORED, HELD = 1, 2


@struct
class VdevStored(Struct):
    """`kind`: STORED (payload written and synced) or HELD (dedupe; hold synced)."""

    vdev_index: U16
    kind: U8
    service_ns: U64  # from accept (or arrival) to durable, for the initiator's statistics
    free_ppm: U32


@message(16)
class ChunkStored(Message):
    """Target -> initiator: hash checked and fdatasync returned on these VDEVs."""

    chid: Hash
    vdevs: Annotated[tuple[VdevStored, ...], Kind("list", VDEVS_MAX, VdevStored)]


@message(20)
class ChunkQuery(Message):
    """Initiator -> row members, draining included: who has it?"""

    row: U32
    chid: Hash


HIT, MISS, UNSURE = 1, 2, 3


@struct
class VdevAnswer(Struct):
    """kind UNSURE: no lease, or damage: a hit may be possible, a miss is not proved."""

    vdev_index: U16
    kind: U8
    size_bytes: U32
    start_ns: U64
    duration_ns: U64


@message(21)
class ChunkAnswer(Message):
    """Target -> initiator: the answers of all its VDEVs in the row, one datagram."""

    answers: Annotated[tuple[VdevAnswer, ...], Kind("list", VDEVS_MAX, VdevAnswer)]


@message(22)
class ChunkSend(Message):
    """Initiator -> target: send this chunk as transfer `transfer_id`, within the credit."""

    chid: Hash
    vdev_index: U16
    transfer_id: Bytes16
    datagram_bytes: U16
    credit_bytes: U32
    authenticated: Flag  # after a hash mismatch: every payload datagram carries a MAC


@message(23)
class PayloadDone(Message):
    """One end of a transfer to the other: all bytes arrived, or this end gave up. Forget it."""

    transfer_id: Bytes16


@message(24)
class ChunkVerify(Message):
    """Initiator -> target: read this copy from disk past the caches and check its hash. A bad
    copy is set aside, so that the VDEV answers MISS from then on and repair can write it anew."""

    chid: Hash
    hash_algorithm: U8
    vdev_index: U16


VERIFIED, VERIFY_CORRUPT, VERIFY_MISSING, VERIFY_ERROR = 1, 2, 3, 4


@message(25)
class ChunkVerified(Message):
    """Target -> initiator: the outcome for one copy."""

    vdev_index: U16
    result: U8
    detail: Detail


@message(30)
class Refused(Message):
    """Target -> initiator: a typed refusal (replicast.wire.reasons.Reason)."""

    reason: U8
    current_generation: U64  # what the refuser has adopted
    vdevs: VdevList  # the VDEVs it speaks for; empty = the whole target
    retry_after_ns: U64
    detail: Detail
