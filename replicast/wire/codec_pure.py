"""The body codec: the definition in Python. native/_codec.pyx is its faster twin.

encode(message) -> body; decode(number, body) -> message (or a buffer in which the body
begins at `start`, behind a header, and goes to the end). A body that is short,
long, over a declared maximum, not canonical or of an unknown type raises
WireError with a reason that callers count; nothing else ever escapes decode().
encode() raises WireError("range") for a value that does not fit its field and
TypeError for one of the wrong Python type, which is a bug of the caller.

Limits: an integer field is at most 8 bytes wide. Nothing is allocated for a
list or a byte string before its bytes were seen to be there.
"""

from __future__ import annotations

from typing import Any

from replicast.wire.schema import MESSAGES, Kind, Message, Struct


class WireError(Exception):
    """Bytes that are not a message. `reason` is a short stable word for counters."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


Buffer = bytes | bytearray | memoryview


def encode(message: Message) -> bytes:
    """The canonical body of `message`. Raises WireError("range") for a value that does not fit."""
    out = bytearray()
    _encode_struct(message, out)
    return bytes(out)


def decode(number: int, body: Buffer, start: int = 0) -> Message:
    """The message `number` in `body`; raises WireError (unknown_type, truncated, trailing, range)."""
    if start < 0:
        raise ValueError("a body does not begin before its buffer")
    cls = MESSAGES.get(number)
    if cls is None:
        raise WireError("unknown_type")
    value, end = _decode_struct(cls, bytes(body), start)
    if end != len(body):
        raise WireError("trailing")
    return value  # type: ignore[no-any-return]


def decode_pieces(number: int, pieces: list[bytes], head_bytes: int) -> Message:
    """decode() of a body in pieces, each behind `head_bytes` of something else."""
    if not all(0 <= head_bytes <= len(piece) for piece in pieces):
        raise ValueError("a piece does not begin behind its end")
    return decode(number, b"".join([piece[head_bytes:] for piece in pieces]))


def _encode_struct(value: Struct, out: bytearray) -> None:
    for name, kind in value.PLAN:
        _encode_field(kind, getattr(value, name), out)


def _encode_field(kind: Kind, value: Any, out: bytearray) -> None:
    code = kind.code
    if code in ("uint", "int"):
        _encode_integer(kind, value, out)
    elif code == "flag":
        out.append(1 if value else 0)
    elif code == "list":
        _check(len(value) <= kind.size)
        out += len(value).to_bytes(2, "little")
        for item in value:
            _encode_item(kind.item, item, out)
    elif code == "struct":
        _encode_item(kind.item, value, out)
    else:
        _encode_octets(kind, value, out)


def _encode_item(item_kind: Any, value: Any, out: bytearray) -> None:
    if isinstance(item_kind, Kind):
        _encode_field(item_kind, value, out)
    elif type(value) is item_kind:
        _encode_struct(value, out)
    else:
        raise TypeError(f"{item_kind.__name__} is required")


def _encode_integer(kind: Kind, value: Any, out: bytearray) -> None:
    if not isinstance(value, int):
        raise TypeError("an integer is required")
    try:
        out += value.to_bytes(kind.size, "little", signed=kind.code == "int")
    except OverflowError:
        raise WireError("range") from None


def _encode_octets(kind: Kind, value: Any, out: bytearray) -> None:
    """fixed has no length, hash a u8 length, bytes and text a u32 length."""
    code = kind.code
    raw = memoryview(_utf8(value) if code == "text" else value)
    if code == "fixed":
        _check(raw.nbytes == kind.size)
    elif code == "hash":
        _check(1 <= raw.nbytes <= kind.size)
        out.append(raw.nbytes)
    else:
        _check(raw.nbytes <= kind.size)
        out += raw.nbytes.to_bytes(4, "little")
    out += raw


def _utf8(value: Any) -> bytes:
    if not isinstance(value, str):
        raise TypeError("a string is required")
    try:
        return value.encode("utf-8")
    except UnicodeEncodeError:
        raise WireError("range") from None


def _check(fits: bool) -> None:
    if not fits:
        raise WireError("range")


def _decode_struct(cls: type[Struct], body: bytes, at: int) -> tuple[Any, int]:
    values = {}
    for name, kind in cls.PLAN:
        values[name], at = _decode_field(kind, body, at)
    return cls(**values), at


def _take(body: bytes, at: int, size: int) -> int:
    if at + size > len(body):
        raise WireError("truncated")
    return at + size


def _decode_field(kind: Kind, body: bytes, at: int) -> tuple[Any, int]:
    code = kind.code
    if code in ("uint", "int"):
        end = _take(body, at, kind.size)
        return int.from_bytes(body[at:end], "little", signed=code == "int"), end
    if code == "flag":
        end = _take(body, at, 1)
        _check(body[at] <= 1)
        return body[at] == 1, end
    if code == "list":
        return _decode_list(kind, body, at)
    if code == "struct":
        return _decode_struct(kind.item, body, at)
    return _decode_octets(kind, body, at)


def _decode_octets(kind: Kind, body: bytes, at: int) -> tuple[Any, int]:
    code = kind.code
    size = kind.size
    if code != "fixed":
        start = _take(body, at, 1 if code == "hash" else 4)
        size = int.from_bytes(body[at:start], "little")
        _check((1 if code == "hash" else 0) <= size <= kind.size)
        at = start
    end = _take(body, at, size)
    return (_text(body[at:end]) if code == "text" else body[at:end]), end


def _decode_list(kind: Kind, body: bytes, at: int) -> tuple[Any, int]:
    start = _take(body, at, 2)
    count = int.from_bytes(body[at:start], "little")
    _check(count <= kind.size)
    items = []
    for _ in range(count):
        if isinstance(kind.item, Kind):
            item, start = _decode_field(kind.item, body, start)
        else:
            item, start = _decode_struct(kind.item, body, start)
        items.append(item)
    return tuple(items), start


def _text(raw: bytes) -> str:
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        raise WireError("range") from None
