"""Sealing a control datagram and opening it again: the definition (native/_header.pyx: the twin).

seal() packs the header, MACs header, receiver tag and body, and puts it all together;
unseal() checks the form, that the datagram is meant for the address that it came to, its key
epoch and its MAC, in that order, and returns the header, which can be believed then. What
needs memory (sessions, counters, fragments) is the endpoint's business.
"""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import blake2b
from hmac import compare_digest

from replicast.auth.keyring import TAG_BYTES, mac_of
from replicast.wire.codec_pure import Buffer, WireError
from replicast.wire.header_pure import (
    COPY,
    HEADER_BYTES,
    KIND_MASK,
    MAC_BYTES,
    MACED_BYTES,
    Header,
    pack_header,
    parse_header,
)


def seal(
    keyed: blake2b,
    tag: bytes,
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
    body: bytes,
) -> bytes:
    """The whole datagram. A value that does not fit raises WireError("range")."""
    _check_tag(tag)
    head = pack_header(
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
        len(body),
    )
    return head + _mac(keyed, head, tag, body) + body


def unseal(keyed: Mapping[int, blake2b], kind: int, tag: bytes, datagram: Buffer) -> Header:
    """The believed header; raises WireError as parse_header does, or receiver, key_epoch, mac."""
    _check_tag(tag)
    header = parse_header(datagram)
    if kind != (0 if header.flags & COPY else header.flags & KIND_MASK):
        raise WireError("receiver")
    state = keyed.get(header.key_epoch)
    if state is None:
        raise WireError("key_epoch")
    raw = memoryview(datagram)
    mac = _mac(state, bytes(raw[:MACED_BYTES]), tag, raw[HEADER_BYTES:])
    if not compare_digest(mac, raw[MACED_BYTES:HEADER_BYTES]):
        raise WireError("mac")
    return header


def _mac(keyed: blake2b, head: bytes, tag: bytes, body: Buffer) -> bytes:
    mac = mac_of(keyed, head, tag, body)
    if len(mac) != MAC_BYTES:
        raise ValueError("a MAC has 16 bytes")
    return mac


def _check_tag(tag: bytes) -> None:
    if len(tag) != TAG_BYTES:
        raise ValueError("a receiver tag has 8 bytes")
