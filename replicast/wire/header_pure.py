"""The 80-byte header of control datagrams: the definition (native/_header.pyx has the twin).

    offset size
         0    4  magic "RCu1"
         4    1  version (1)
         5    1  message type
         6    1  flags: bits 0-1 where it was sent (0 node, 1 negotiating group, 2 rendezvous
                 group), bit 2 "copy": a unicast copy of a datagram sent to such a group
         7    1  key epoch
         8    8  generation of the sender's table
        16   16  operation id
        32    8  sender's node id
        40    8  sender's session
        48    8  counter within the session
        56    2  fragment index
        58    2  fragment count
        60    4  body bytes in this datagram
        64   16  MAC

Little-endian. Parsing checks the form only; replicast.auth.endpoint checks the
MAC (over bytes 0-63, the receiver's tag and the body) before it believes a field.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from replicast.wire.codec_pure import Buffer, WireError

MAGIC = 0x31754352  # "RCu1"
VERSION = 1
HEADER_BYTES = 80
MAC_BYTES = 16
MACED_BYTES = HEADER_BYTES - MAC_BYTES
KIND_MASK, COPY, PAIR = 0b0011, 0b0100, 0b1000
FLAGS = frozenset(
    (0, 1, 2, COPY | 1, COPY | 2, PAIR)
)  # to a node, to groups, copies of these, pairs
_LAYOUT = struct.Struct("<IBBBBQ16sQQQHHI")


class Header(NamedTuple):
    """A parsed header; magic and version were right and the lengths agree."""

    type: int
    flags: int
    key_epoch: int
    generation: int
    operation_id: bytes
    sender: int
    session: int
    counter: int
    fragment_index: int
    fragment_count: int
    body_bytes: int


def pack_header(
    type: int,
    flags: int,
    key_epoch: int,
    generation: int,
    operation_id: bytes,
    sender: int,
    session: int,
    counter: int,
    fragment_index: int,
    fragment_count: int,
    body_bytes: int,
) -> bytes:
    """The first 64 bytes, all but the MAC. A value that does not fit raises WireError("range")."""
    if len(operation_id) != 16:
        raise WireError("range")
    try:
        return _LAYOUT.pack(
            MAGIC,
            VERSION,
            type,
            flags,
            key_epoch,
            generation,
            operation_id,
            sender,
            session,
            counter,
            fragment_index,
            fragment_count,
            body_bytes,
        )
    except struct.error:
        raise WireError("range") from None


def parse_header(datagram: Buffer) -> Header:
    """Raises WireError: short, magic, bad_version, flags, truncated, trailing or fragment."""
    if len(datagram) < HEADER_BYTES:
        raise WireError("short")
    magic, version, *rest = _LAYOUT.unpack_from(datagram)
    if magic != MAGIC:
        raise WireError("magic")
    if version != VERSION:
        raise WireError("bad_version")
    header = Header(*rest)
    if header.flags not in FLAGS:
        raise WireError("flags")
    if header.body_bytes != len(datagram) - HEADER_BYTES:
        raise WireError(
            "truncated" if header.body_bytes > len(datagram) - HEADER_BYTES else "trailing"
        )
    if header.fragment_index >= header.fragment_count:
        raise WireError("fragment")
    return header
