"""Memory for chunks in flight, shared by all puts and gets of one initiator.

The first chunk of each put and get needs none, so that nobody waits for another's client; what
goes ahead of it takes room while there is some.
"""

from __future__ import annotations


class Room:
    """Bytes that may be held ahead. Never waited for: take() says no, and the caller goes on with
    fewer chunks at a time."""

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self.held_bytes = 0

    def take(self, size_bytes: int) -> bool:
        """Hold so many more, if there is room."""
        if self.held_bytes + size_bytes > self._bytes_max:
            return False
        self.held_bytes += size_bytes
        return True

    def give(self, size_bytes: int) -> None:
        """Hold so many less."""
        self.held_bytes -= size_bytes
        assert self.held_bytes >= 0
