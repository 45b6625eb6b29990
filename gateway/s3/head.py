"""The head of one HTTP request, as the S3 cores see it: what was on the wire, nothing decoded yet.

Signatures are over the bytes that were sent, so path and query stay percent-encoded here, and each
character stands for one byte of the wire (latin-1), whatever text the bytes may be.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from urllib.parse import unquote_to_bytes


@dataclass(frozen=True)
class Head:
    """`path` without the query; header names in lower case, repeated headers joined with a comma."""

    method: str
    path: str
    query: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def header(self) -> Callable[[str], str | None]:
        """One by its name in lower case: requests ask for dozens."""
        return self.headers.get

    @cached_property
    def query_pairs(self) -> tuple[tuple[bytes, bytes], ...]:
        """The query's decoded pairs in the order of the wire; `&&` makes none, a name without `=` has
        b"". Kept, for whoever reads signatures asks several times."""
        return tuple(
            (_decoded(name), _decoded(value))
            for name, _, value in (pair.partition("=") for pair in self.query.split("&") if pair)
        )

    @cached_property
    def query_names(self) -> frozenset[bytes]:
        """The names among them."""
        return frozenset(name for name, _ in self.query_pairs)


def wire_bytes(text: str) -> bytes:
    """The bytes that were on the wire."""
    return text.encode("latin-1")


def _decoded(text: str) -> bytes:
    return unquote_to_bytes(wire_bytes(text).replace(b"+", b" "))
