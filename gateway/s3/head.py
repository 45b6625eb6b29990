"""The head of one HTTP request, as the S3 cores see it: what was on the wire, nothing decoded yet.

Signatures are over the bytes that were sent, so path and query stay percent-encoded here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from urllib.parse import unquote_plus


@dataclass(frozen=True)
class Head:
    """`path` without the query; header names in lower case, repeated headers joined with a comma."""

    method: str
    path: str
    query: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def parameters(self) -> dict[str, str]:
        """The query, decoded; of repeated names the first, "" for those without a value."""
        found: dict[str, str] = {}
        for pair in self.query.split("&") if self.query else ():
            name, _, value = pair.partition("=")
            found.setdefault(unquote_plus(name), unquote_plus(value))
        return found

    def header(self, name: str) -> str | None:
        """By its name in lower case."""
        return self.headers.get(name)
