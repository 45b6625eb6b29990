"""The arguments of one request of the API socket: the JSON object, checked field by field.

A field that is missing or of another type is an InvalidRequest that names it, so that
nothing of a wrong type gets as far as the wire.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from replicast.errors import InvalidRequest
from replicast.flexhash.versioning import Versioning
from replicast.gateway.conditions import condition
from replicast.gateway.version_text import parse_version
from replicast.wire.name_messages import Condition, VersionId


class Arguments:
    """Typed access to the fields of a request."""

    def __init__(self, request: Mapping[str, Any]) -> None:
        self._request = request

    def text(self, field: str, default: str | None = None) -> str:
        """A string; without a default it is required. null counts as missing."""
        value = self._request.get(field)
        if value is None and default is not None:
            return default
        if not isinstance(value, str):
            raise self._wrong(field, "a string")
        return value

    def optional_text(self, field: str) -> str | None:
        """A string, or None when it is missing or null."""
        return None if self._request.get(field) is None else self.text(field)

    def version(self) -> VersionId:
        """`version`; NO_VERSION when it is missing."""
        return parse_version(self.optional_text("version"))

    def versioning(self) -> Versioning:
        """`versioning`: its name; ENABLED when it is missing."""
        name = self.text("versioning", Versioning.ENABLED.name.lower())
        try:
            return Versioning[name.upper()]
        except KeyError:
            raise self._wrong("versioning", "enabled, suspended or off") from None

    def condition(self) -> Condition:
        """`if_none_match` or `if_match`."""
        return condition(self.optional_text("if_none_match"), self.optional_text("if_match"))

    def range(self) -> tuple[int, int] | None:
        """`range`: [first, last], both included."""
        value = self._request.get("range")
        if value is None:
            return None
        if not (isinstance(value, list) and [type(each) for each in value] == [int, int]):
            raise self._wrong("range", "[first, last]")
        return value[0], value[1]

    def metadata(self) -> dict[str, str] | None:
        """`metadata`: an object of strings (gateway/limits.py has their limits); None: missing."""
        value = self._request.get("metadata")
        if value is not None and not isinstance(value, dict):
            raise self._wrong("metadata", "an object of strings")
        return value

    def _wrong(self, field: str, wanted: str) -> InvalidRequest:
        return InvalidRequest(f"{self._request.get('op')}: `{field}` must be {wanted}")
