"""The 64 bytes in front of every payload datagram.

    offset  size  field
     0      4     magic           PAYLOAD_MAGIC, little-endian like everything here
     4      1     version         1
     5      1     type            14 (PAYLOAD)
     6      1     flags           bit 0: `mac` is filled in
     7      1     key_epoch       which cluster key made `mac`; 0 without one
     8     16     transfer_id     announced by an authenticated message, random
    24      4     index           of this datagram, from 0
    28      4     count           of datagrams in the whole chunk
    32      4     size_bytes      of the whole chunk
    36      2     datagram_bytes  payload bytes of every datagram but the last
    38      2     length          payload bytes of this one
    40      8     sender          node id
    48      8     mac             first 8 bytes of the KeyRing's MAC over bytes [0, 48), the
                                  tag "PAYLOAD" + NUL and the data; zeros without one
    56      8     checksum        xxh3_64 of bytes [0, 56), seed 0

Then `length` bytes of data, which belong at chunk offset index * datagram_bytes.
The checksum finds damage in the header, not forgery; the data of a plain datagram
is proved by the chunk's hash alone. Only after that hash has failed is a chunk sent
again with a MAC on every datagram. The MAC has 8 bytes, so that both sorts
have one layout; a forger cannot test a guess without sending it, and a transfer
lives for seconds.
"""

from __future__ import annotations

from dataclasses import replace
from hmac import compare_digest
from struct import Struct

import xxhash

from replicast.auth.keyring import KeyRing
from replicast.frozen import frozen

PAYLOAD_MAGIC = 0x59415052  # the bytes "RPAY"
_MAGIC_BYTES = PAYLOAD_MAGIC.to_bytes(4, "little")
PAYLOAD_VERSION = 1
PAYLOAD_TYPE = 14
FLAG_MAC = 1
HEADER_BYTES = 64
MAC_BYTES = 8
# Small enough for any path; a smaller one would only inflate bitmaps and headers.
DATAGRAM_BYTES_MIN = 256
DATAGRAM_BYTES_MAX = 65_440

_FIELDS = Struct("<IBBBB16sIIIHHQ")
_TRAILER = Struct("<8sQ")
# In the place of a receiver: a transfer id has one receiver, or one set of them.
_RECEIVER_TAG = b"PAYLOAD\0"
NO_MAC = bytes(MAC_BYTES)


@frozen
class PayloadHeader:
    """A parsed header; `mac` is zeros unless FLAG_MAC is set."""

    version: int
    type: int
    flags: int
    key_epoch: int
    transfer_id: bytes
    index: int
    count: int
    size_bytes: int
    datagram_bytes: int
    length: int
    sender: int
    mac: bytes

    def fields(self) -> bytes:
        """Bytes [0, 48): what the MAC covers, with the data."""
        return _FIELDS.pack(
            PAYLOAD_MAGIC,
            self.version,
            self.type,
            self.flags,
            self.key_epoch,
            self.transfer_id,
            self.index,
            self.count,
            self.size_bytes,
            self.datagram_bytes,
            self.length,
            self.sender,
        )

    def pack(self) -> bytes:
        """All 64 bytes."""
        head = self.fields()
        checksum = xxhash.xxh3_64_intdigest(head + self.mac)
        return head + _TRAILER.pack(self.mac, checksum)


def datagram_count(size_bytes: int, datagram_bytes: int) -> int:
    """How many datagrams a chunk takes."""
    return -(-size_bytes // datagram_bytes)


def datagram_length(index: int, size_bytes: int, datagram_bytes: int) -> int:
    """Payload bytes of datagram `index`."""
    return min(datagram_bytes, size_bytes - index * datagram_bytes)


def header_for(
    transfer_id: bytes, index: int, size_bytes: int, datagram_bytes: int, sender: int
) -> PayloadHeader:
    """The plain header of one datagram of a transfer."""
    return PayloadHeader(
        version=PAYLOAD_VERSION,
        type=PAYLOAD_TYPE,
        flags=0,
        key_epoch=0,
        transfer_id=transfer_id,
        index=index,
        count=datagram_count(size_bytes, datagram_bytes),
        size_bytes=size_bytes,
        datagram_bytes=datagram_bytes,
        length=datagram_length(index, size_bytes, datagram_bytes),
        sender=sender,
        mac=NO_MAC,
    )


def plain_head(
    transfer_id: bytes, index: int, size_bytes: int, datagram_bytes: int, sender: int
) -> bytes:
    """header_for(...).pack(), in one go."""
    left_bytes = size_bytes - index * datagram_bytes
    head = _FIELDS.pack(
        PAYLOAD_MAGIC,
        PAYLOAD_VERSION,
        PAYLOAD_TYPE,
        0,
        0,
        transfer_id,
        index,
        -(-size_bytes // datagram_bytes),
        size_bytes,
        datagram_bytes,
        left_bytes if left_bytes < datagram_bytes else datagram_bytes,
        sender,
    )
    return head + _TRAILER.pack(NO_MAC, xxhash.xxh3_64_intdigest(head + NO_MAC))


def is_payload(datagram: bytes | memoryview) -> bool:
    """Whether a datagram starts with the payload magic."""
    return datagram[:4] == _MAGIC_BYTES


def parse_header(datagram: bytes | memoryview) -> PayloadHeader | None:
    """The header, or None when it is too short, has another magic or a wrong checksum."""
    if len(datagram) < HEADER_BYTES:
        return None
    mac, checksum = _TRAILER.unpack_from(datagram, _FIELDS.size)
    magic, *rest = (*_FIELDS.unpack_from(datagram), mac)
    if magic != PAYLOAD_MAGIC or checksum != xxhash.xxh3_64_intdigest(datagram[:56]):
        return None
    return PayloadHeader(*rest)


def index_runs(
    ranges: list[tuple[int, int]], size_bytes: int, datagram_bytes: int
) -> list[tuple[int, int]]:
    """Byte ranges as runs [first, end) of datagram indexes, widened to whole datagrams.

    Raises ValueError for an empty or backward range or one outside the chunk.
    """
    runs = []
    for start, end in ranges:
        if not 0 <= start < end <= size_bytes:
            raise ValueError(f"range {start}-{end} is not inside {size_bytes} bytes")
        runs.append((start // datagram_bytes, datagram_count(end, datagram_bytes)))
    return runs


def sealed_datagrams(
    keys: KeyRing,
    transfer_id: bytes,
    sender: int,
    data: bytes | memoryview,
    ranges: list[tuple[int, int]],
    datagram_bytes: int,
) -> list[bytes]:
    """The MAC'd datagrams that cover `ranges` of a chunk: the rare path after a wrong hash."""
    view = memoryview(data)
    made = []
    for first, end in index_runs(ranges, len(view), datagram_bytes):
        for index in range(first, end):
            plain = header_for(transfer_id, index, len(view), datagram_bytes, sender)
            start = index * datagram_bytes
            made.append(_seal(keys, plain, view[start : start + plain.length]))
    return made


def _seal(keys: KeyRing, plain: PayloadHeader, piece: memoryview) -> bytes:
    open_header = replace(plain, flags=FLAG_MAC, key_epoch=keys.current)
    header = replace(open_header, mac=_mac(keys, open_header, piece))
    return header.pack() + bytes(piece)


def _mac(keys: KeyRing, header: PayloadHeader, piece: bytes | memoryview) -> bytes:
    return keys.mac(header.key_epoch, header.fields(), _RECEIVER_TAG, piece)[:MAC_BYTES]


def sealed_by(keys: KeyRing, header: PayloadHeader, datagram: bytes) -> bool:
    """Whether `datagram`, whose header is `header`, carries the right MAC under a valid key."""
    if not header.flags & FLAG_MAC or not keys.has(header.key_epoch):
        return False
    mac = _mac(keys, header, memoryview(datagram)[HEADER_BYTES:])
    return compare_digest(mac, header.mac)
