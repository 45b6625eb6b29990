"""How a message is declared: field kinds, the class decorators, the registry.

    @message(10)
    class PutPropose(Message):
        chid: Hash
        size_bytes: U32

A body is the fields in order, little-endian, no padding, no tags: integers
fixed width, `Bytes`/`Text` with a u32 length, `Hash` with a u8 length, lists
with a u16 count. Every variable field has a declared maximum, so a decoder
never allocates more than the datagram that it was given. The encoding is
canonical: one value, one byte string; a decoder refuses bytes left over.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Annotated, Any, ClassVar, TypeVar, dataclass_transform, get_args, get_type_hints

HASH_BYTES_MAX = 64


@dataclass(frozen=True, slots=True)
class Kind:
    """One field kind. `code` picks the codec's branch; `size` is width, or the maximum."""

    code: str
    size: int
    item: Any = None


U8 = Annotated[int, Kind("uint", 1)]
U16 = Annotated[int, Kind("uint", 2)]
U32 = Annotated[int, Kind("uint", 4)]
U64 = Annotated[int, Kind("uint", 8)]
I64 = Annotated[int, Kind("int", 8)]
Flag = Annotated[bool, Kind("flag", 1)]
Bytes8 = Annotated[bytes, Kind("fixed", 8)]
Bytes16 = Annotated[bytes, Kind("fixed", 16)]
Bytes32 = Annotated[bytes, Kind("fixed", 32)]
# 1 to 64 bytes: a CHID, an NHID or a digest of any of the allowed algorithms.
Hash = Annotated[bytes, Kind("hash", HASH_BYTES_MAX)]


class Struct:
    """Base of nested records."""

    __slots__ = ()
    PLAN: ClassVar[tuple[tuple[str, Kind], ...]]


class Message(Struct):
    """Base of messages; TYPE is the number in the header."""

    __slots__ = ()
    TYPE: ClassVar[int]
    NAME: ClassVar[str]


S = TypeVar("S", bound=type[Struct])

MESSAGES: dict[int, type[Message]] = {}


def _plan(cls: type) -> tuple[tuple[str, Kind], ...]:
    hints = get_type_hints(cls, include_extras=True)
    plan = []
    for f in fields(cls):
        hint = hints[f.name]
        kinds = [a for a in get_args(hint) if isinstance(a, Kind)]
        if isinstance(hint, type) and issubclass(hint, Struct):
            kinds = [Kind("struct", 0, hint)]
        if len(kinds) != 1:
            raise TypeError(f"{cls.__name__}.{f.name} has no wire kind")
        plan.append((f.name, kinds[0]))
    return tuple(plan)


@dataclass_transform(frozen_default=True, kw_only_default=True)
def struct(cls: S) -> S:
    """Declare a nested record: a kw-only dataclass with a codec plan, immutable as frozen.py says."""
    if hasattr(cls, "__post_init__"):
        raise TypeError(f"{cls.__name__}: a decoder makes structs without __post_init__")
    made: Any = dataclass(unsafe_hash=True, slots=True, kw_only=True)(cls)
    made.PLAN = _plan(made)
    return made  # type: ignore[no-any-return]


M = TypeVar("M", bound=type[Message])


@dataclass_transform(frozen_default=True, kw_only_default=True)
def message(number: int) -> Callable[[M], M]:
    """Declare message `number`; a number taken twice is a programming error."""

    def declare(cls: M) -> M:
        made: Any = struct(cls)
        if number in MESSAGES or not 0 < number < 256:
            raise TypeError(f"message number {number} of {cls.__name__} is taken or out of range")
        made.TYPE = number
        made.NAME = "".join("_" + c if c.isupper() else c.upper() for c in cls.__name__).strip("_")
        MESSAGES[number] = made
        return made  # type: ignore[no-any-return]

    return declare
