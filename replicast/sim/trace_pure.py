"""The hash of all that happened in a run: the definition; native/_simworld.pyx is its twin."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import xxhash

NOTHING: Mapping[str, Any] = {}


class TraceHash:
    """Events in order. A subclass whose events are `kept` says in show() what becomes of them."""

    def __init__(self, kept: bool) -> None:
        self.kept = kept  # whether anybody will read it
        self.count = 0
        self._hash = xxhash.xxh3_128()  # nobody forges a trace, and it sees 20 MB a run

    def fingerprint(self) -> str:
        """The same for the same events in the same order."""
        return self._hash.hexdigest()

    def add(
        self,
        time_ns: int,
        process: str,
        what: str,
        data: bytes = b"",
        more: Mapping[str, Any] = NOTHING,
    ) -> None:
        """One event. `data` is a datagram or frame."""
        self.count += 1
        text = f"{time_ns} {process} {what} {len(data)} "
        if more:
            text += " ".join([f"{key}={value!r}" for key, value in more.items()])
        self._hash.update(text.encode())
        if data:
            self._hash.update(data)
        if self.kept:
            self.show(time_ns, process, what, data, more)

    def show(
        self, time_ns: int, process: str, what: str, data: bytes, more: Mapping[str, Any]
    ) -> None:
        """One event, for a reader."""
