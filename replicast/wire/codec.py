"""The body codec: the definition in Python (native/_codec.pyx is its twin).

encode(message) -> body; decode(type, body) -> message. A body that is short,
long, over a declared maximum, or of an unknown type raises WireError with a
reason that callers count; nothing else ever escapes.
"""

from __future__ import annotations

from typing import Any

from replicast.wire.schema import MESSAGES, Kind, Message, Struct


class WireError(Exception):
    """A body that is not a message. `reason` is a short stable word for counters."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def encode(message: Message) -> bytes:
    """The canonical body of `message`. Raises WireError("range") for a value that does not fit."""
    out = bytearray()
    _encode_struct(message, out)
    return bytes(out)


def decode(number: int, body: bytes | memoryview) -> Message:
    """The message `number` in `body`; raises WireError (unknown_type, truncated, trailing, range)."""
    cls = MESSAGES.get(number)
    if cls is None:
        raise WireError("unknown_type")
    value, end = _decode_struct(cls, bytes(body), 0)
    if end != len(body):
        raise WireError("trailing")
    return value  # type: ignore[no-any-return]


def _encode_struct(value: Struct, out: bytearray) -> None:
    for name, kind in value.PLAN:
        _encode_field(kind, getattr(value, name), out)


def _encode_field(kind: Kind, value: Any, out: bytearray) -> None:
    code = kind.code
    try:
        if code in ("uint", "int"):
            out += value.to_bytes(kind.size, "little", signed=code == "int")
        elif code == "flag":
            out.append(1 if value else 0)
        elif code == "fixed":
            _check(len(value) == kind.size)
            out += value
        elif code == "hash":
            _check(1 <= len(value) <= kind.size)
            out.append(len(value))
            out += value
        elif code in ("bytes", "text"):
            raw = value.encode("utf-8") if code == "text" else value
            _check(len(raw) <= kind.size)
            out += len(raw).to_bytes(4, "little")
            out += raw
        elif code == "struct":
            _encode_struct(value, out)
        else:
            _check(len(value) <= kind.size)
            out += len(value).to_bytes(2, "little")
            for item in value:
                if isinstance(kind.item, Kind):
                    _encode_field(kind.item, item, out)
                else:
                    _encode_struct(item, out)
    except (OverflowError, UnicodeEncodeError):
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
    if code == "fixed":
        end = _take(body, at, kind.size)
        return body[at:end], end
    if code == "hash":
        start = _take(body, at, 1)
        _check(1 <= body[at] <= kind.size)
        end = _take(body, start, body[at])
        return body[start:end], end
    if code in ("bytes", "text"):
        start = _take(body, at, 4)
        size = int.from_bytes(body[at:start], "little")
        _check(size <= kind.size)
        end = _take(body, start, size)
        return (_text(body[start:end]) if code == "text" else body[start:end]), end
    if code == "struct":
        return _decode_struct(kind.item, body, at)
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
