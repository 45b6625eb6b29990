"""Sealing a control datagram and opening it again: the definition (native/_header.pyx: the twin).

seal() packs the header, MACs header, receiver tag and body, and puts it all together;
unseal() checks the form, that the datagram is meant for the address that it came to, its key
epoch and its MAC, in that order, and returns the header, which can be believed then. What
needs memory (sessions, counters, fragments) is the endpoint's business.
"""

from __future__ import annotations

from collections.abc import Mapping
from hmac import compare_digest

from replicast.auth.keyring import TAG_BYTES, mac_of
from replicast.wire.codec_pure import Buffer, WireError
from replicast.wire.header_pure import (
    COPY,
    HEADER_BYTES,
    KIND_MASK,
    MACED_BYTES,
    Header,
    pack_header,
    parse_header,
)


class Sealer:
    """It keeps nothing; the class is what both twins share."""

    def seal(
        self,
        mac_key: bytes,
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
        return head + mac_of(mac_key, head, tag, body) + body

    def unseal(
        self, mac_keys: Mapping[int, bytes], kind: int, tag: bytes, datagram: Buffer
    ) -> Header:
        """The believed header; raises WireError as parse_header does, or receiver, key_epoch, mac."""
        _check_tag(tag)
        header = parse_header(datagram)
        if kind != (0 if header.flags & COPY else header.flags & KIND_MASK):
            raise WireError("receiver")
        mac_key = mac_keys.get(header.key_epoch)
        if mac_key is None:
            raise WireError("key_epoch")
        raw = memoryview(datagram)
        mac = mac_of(mac_key, bytes(raw[:MACED_BYTES]), tag, raw[HEADER_BYTES:])
        if not compare_digest(mac, raw[MACED_BYTES:HEADER_BYTES]):
            raise WireError("mac")
        return header


def _check_tag(tag: bytes) -> None:
    if len(tag) != TAG_BYTES:
        raise ValueError("a receiver tag has 8 bytes")
