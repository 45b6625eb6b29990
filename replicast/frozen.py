"""@frozen: an immutable value class for what is made with every message.

Immutable to whoever checks types (an assignment to a field does not pass mypy), a plain
dataclass at run time: the __init__ of a frozen dataclass sets every field by a call, and costs
four times as much. Values compare and hash by their fields, as those of frozen ones do.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeVar, dataclass_transform

T = TypeVar("T", bound=type[Any])


@dataclass_transform(frozen_default=True)
def frozen(cls: T) -> T:
    """Declare one; field order is the order of positional arguments."""
    made: Any = dataclass(slots=True, unsafe_hash=True)(cls)
    return made  # type: ignore[no-any-return]
