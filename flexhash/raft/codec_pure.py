"""Tagged values as bytes: the definition, of which native/_raft_codec.pyx is the fast twin.

Only None, bool, int (64 bits), bytes, str, tuple, list and dict exist; tuple and list stay
apart, because pysyncobj compares journal entries with ==. Decoding makes nothing but these
and raises nothing but CodecError: a message cannot name a class, nest deeper than DEPTH_MAX
or claim more items than it has bytes.
"""

from __future__ import annotations

import struct
from typing import Any

DEPTH_MAX = 8
_INT = struct.Struct("<q")
_COUNT = struct.Struct("<I")


class CodecError(ValueError):
    """Bytes that are no value, or a value that has no bytes."""


def dumps(value: Any, protocol: int | None = None) -> bytes:
    """The bytes of `value`. `protocol` is pickle's argument and means nothing here."""
    out = bytearray()
    _encode(value, out, 0)
    return bytes(out)


def loads(data: bytes | memoryview) -> Any:
    """The value in `data`, all of it; raises CodecError."""
    raw = bytes(data)
    try:
        value, end = _decode(raw, 0, 0)
    except (struct.error, IndexError, UnicodeDecodeError, TypeError):
        raise CodecError("truncated or malformed") from None
    if end != len(raw):
        raise CodecError("bytes left over")
    return value


def _encode(value: Any, out: bytearray, depth: int) -> None:
    if depth > DEPTH_MAX:
        raise CodecError("nested too deep")
    kind = type(value)
    if value is None:
        out += b"N"
    elif kind is bool:
        out += b"T" if value else b"F"
    elif kind is int:
        if not -(1 << 63) <= value < 1 << 63:
            raise CodecError("integer beyond 64 bits")
        out += b"i" + _INT.pack(value)
    elif kind is bytes:
        out += b"b" + _COUNT.pack(len(value)) + value
    elif kind is str:
        raw = value.encode("utf-8")
        out += b"s" + _COUNT.pack(len(raw)) + raw
    elif kind in (tuple, list):
        out += (b"t" if kind is tuple else b"l") + _COUNT.pack(len(value))
        for item in value:
            _encode(item, out, depth + 1)
    elif kind is dict:
        out += b"d" + _COUNT.pack(len(value))
        for key, item in value.items():
            _encode(key, out, depth + 1)
            _encode(item, out, depth + 1)
    else:
        raise CodecError(f"no bytes for {kind.__name__}")


def _decode(raw: bytes, at: int, depth: int) -> tuple[Any, int]:
    if depth > DEPTH_MAX:
        raise CodecError("nested too deep")
    tag, at = raw[at : at + 1], at + 1
    if tag in (b"N", b"T", b"F"):
        return {b"N": None, b"T": True, b"F": False}[tag], at
    if tag == b"i":
        return _INT.unpack_from(raw, at)[0], at + _INT.size
    count, at = _COUNT.unpack_from(raw, at)[0], at + _COUNT.size
    if count > len(raw) - at:  # every item takes at least one byte
        raise CodecError("longer than its bytes")
    if tag == b"b":
        return raw[at : at + count], at + count
    if tag == b"s":
        return raw[at : at + count].decode("utf-8"), at + count
    if tag in (b"t", b"l"):
        items, at = _decode_items(raw, at, depth, count)
        return (tuple(items) if tag == b"t" else items), at
    if tag == b"d":
        items, at = _decode_items(raw, at, depth, 2 * count)
        return dict(zip(items[::2], items[1::2], strict=True)), at
    raise CodecError("unknown tag")


def _decode_items(raw: bytes, at: int, depth: int, count: int) -> tuple[list[Any], int]:
    items = []
    for _ in range(count):
        item, at = _decode(raw, at, depth + 1)
        items.append(item)
    return items, at
