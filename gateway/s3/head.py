"""The head of one HTTP request, as the S3 cores see it: what was on the wire, nothing decoded yet.

Signatures are over the bytes that were sent, so path and query stay percent-encoded here, and each
character stands for one byte of the wire (latin-1), whatever text the bytes may be.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Head:
    """`path` without the query; header names in lower case, repeated headers joined with a comma."""

    method: str
    path: str
    query: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)

    def header(self, name: str) -> str | None:
        """By its name in lower case."""
        return self.headers.get(name)
