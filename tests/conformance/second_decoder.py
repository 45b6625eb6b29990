"""A second decoder, written from docs/protocol.md (sections named below) and docs/formats.md.

It imports nothing of replicast, and reads the fields of messages and manifests from the lists in
the two documents, so that what it understands is what they say.
"""

import re
import struct
from hashlib import blake2b
from typing import Any

from blake3 import blake3
from xxhash import xxh3_64_intdigest

MESSAGE = re.compile(r"^- \*\*(\d+) (\w+)\*\*: .*\n  (.+)$", re.MULTILINE)
RECORD = re.compile(r"^- `(\w+)`: .*\n  (.+)$", re.MULTILINE)
LIST = re.compile(r"list ≤\d+ of (.+)")
PREFIX = {"hash": "u8", "list": "u16", "bytes": "u32", "text": "u32"}
HEADER = """<4s4BQ16s3Q2HI16s magic version type flags key_epoch generation operation_id sender
    session counter fragment_index fragment_count body_bytes mac"""
PAYLOAD = """<4s4B16s3I2HQ8sQ magic version type flags key_epoch transfer_id index count size_bytes
    datagram_bytes length sender mac checksum"""
Fields, Chunks = dict[str, Any], dict[str, bytes]


class Refused(ValueError):
    """Why the bytes are dropped, as section 2 calls it; text that is no UTF-8 is a ValueError."""


def check(good: bool, reason: str) -> None:
    if not good:
        raise Refused(reason)


def unpack(layout: str, data: bytes) -> Fields:
    form, *names = layout.split()
    check(len(data) >= struct.calcsize(form), "short")
    return dict(zip(names, struct.unpack_from(form, data), strict=True))


class Decoder:
    """`documents` is their text; `keys` are the cluster keys by epoch; `pair` what the receiver told
    the sender."""

    def __init__(
        self, documents: str, cluster_id: bytes, keys: dict[int, bytes], pair: bytes
    ) -> None:
        self.messages = {int(n): (name, listed) for n, name, listed in MESSAGE.findall(documents)}
        self.records = dict(RECORD.findall(documents))
        self.keys = {
            epoch: blake2b(cluster_id, key=key, digest_size=32, person=b"replicast-mac-1").digest()
            for epoch, key in keys.items()
        }

        self.pairs = {0: pair}

    def mac(self, keys: dict[int, bytes], epoch: int, covered: bytes) -> bytes:
        check(epoch in keys, "key_epoch")
        return blake3(covered, key=keys[epoch]).digest(16)

    def datagram(self, data: bytes, tag: bytes) -> tuple[Fields, bytes]:
        """Section 2: header and body of one control datagram, checked in the order given."""
        header = unpack(HEADER, data)
        check(header["magic"] == b"RCu1", "magic")
        check(header["version"] == 1, "bad_version")
        check(header["flags"] in (0, 1, 2, 5, 6, 8), "flags")
        check(len(data) - 80 >= header["body_bytes"], "truncated")
        check(len(data) - 80 == header["body_bytes"], "trailing")
        check(header["fragment_index"] < header["fragment_count"], "fragment")
        keys = self.pairs if header["flags"] == 8 else self.keys  # section 12
        mac = self.mac(keys, header["key_epoch"], data[:64] + tag + data[80:])
        check(mac == header["mac"], "mac")
        check((header["type"] in (60, 61)) == (header["flags"] == 8), "unknown_type")
        return header, data[80:]

    def message(self, datagrams: list[bytes], tag: bytes) -> tuple[str, Fields]:
        """Section 5: name and fields of one message, its datagrams in any order."""
        pieces, whose = {}, set()
        for header, piece in (self.datagram(data, tag) for data in datagrams):
            index, count = header["fragment_index"], header["fragment_count"]
            first = header["counter"] - index
            check(first >= 1 and (len(piece) >= 432 or index == count - 1), "fragment")
            whose.add((first, count, header["type"], header["operation_id"], header["generation"]))
            pieces[index] = piece
        check(len(whose) == 1 and len(pieces) == count, "fragment")
        check(header["type"] in self.messages, "unknown_type")
        return self.document(header["type"], b"".join(pieces[i] for i in range(count)))

    def payload(self, data: bytes) -> tuple[Fields, bytes]:
        """Section 6: header and bytes of one payload datagram."""
        header = unpack(PAYLOAD, data)
        check(header["magic"] == b"RPAY" and header["type"] == 14, "magic")
        check(header["version"] == 1, "bad_version")
        check(header["checksum"] == xxh3_64_intdigest(data[:56]), "checksum")
        check(len(data) - 64 == header["length"], "truncated")
        if header["flags"] & 1:
            mac = self.mac(self.keys, header["key_epoch"], data[:48] + b"PAYLOAD\0" + data[64:])
            check(mac[:8] == header["mac"], "mac")
        return header, data[64:]

    def document(self, number: int, data: bytes) -> tuple[str, Fields]:
        """Section 1: the body of a message, or a manifest (formats.md), by its number."""
        name, listed = self.messages[number]
        found, at = self._fields(listed, data, 0)
        check(at == len(data), "trailing")
        check(found.get("format", 1) == 1, "bad_version")
        check(not (found.get("inline") and found["references"]), "range")
        return name, found

    def _fields(self, listed: str, data: bytes, at: int) -> tuple[Fields, int]:
        found: Fields = {}
        for field in listed.split(", ") if listed != "no fields" else ():
            name, kind = field.split(" ", 1)
            found[name], at = self._value(kind, data, at)
        return found, at

    def _value(self, kind: str, data: bytes, at: int) -> tuple[Any, int]:
        if kind.startswith("`"):
            return self._fields(self.records[kind.strip("`")], data, at)
        if kind in ("u8", "u16", "u32", "u64", "i64", "flag"):
            size = 1 if kind == "flag" else int(kind[1:]) // 8
        elif kind.endswith(" bytes"):
            size = int(kind.split()[0])
        else:  # a length or a count, then that much
            size, at = self._value(PREFIX[kind.split()[0]], data, at)
            check(1 <= size <= 64 if kind == "hash" else size <= int(kind.split()[1][1:]), "range")
        if (found := LIST.fullmatch(kind)) is not None:
            items = []
            for _ in range(size):
                item, at = self._value(found[1], data, at)
                items.append(item)
            return items, at
        raw = data[at : at + size]
        check(len(raw) == size and (kind != "flag" or raw in (b"\0", b"\1")), "range")
        if kind[0] in "ui" or kind == "flag":
            return int.from_bytes(raw, "little", signed=kind[0] == "i"), at + size
        return raw.decode() if kind.startswith("text") else raw.hex(), at + size

    def leaves(self, references: list[Fields], at: int, size: int, chunks: Chunks) -> list[Fields]:
        """formats.md: the references to payload below these; `chunks` are manifests by CHID."""
        found, end = [], at + size
        for one in references:
            check(one["offset"] == at and one["logical_bytes"] > 0, "range")
            at += one["logical_bytes"]
            if one["kind"] == 1:
                check(one["compression"] or one["stored_bytes"] == one["logical_bytes"], "range")
                found.append(one)
                continue
            data = chunks[one["chid"]]
            check(one["kind"] == 2 and blake3(data).hexdigest() == one["chid"], "hash")
            node = self.document(201, data)[1]
            below = 1 if node["level"] == 1 else 2
            check(all(each["kind"] == below for each in node["references"]), "range")
            found += self.leaves(node["references"], one["offset"], one["logical_bytes"], chunks)
        check(at == end, "range")
        return found
