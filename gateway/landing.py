"""Where the bytes of one chunk are wanted. Part of GetChunk (get.py).

A reader that wants a whole object gives a section of its result for each chunk: the first source sends
straight into it. One at a time: while a transfer is open on it, or what came is being hashed, another
source has a buffer of its own, and its bytes are copied when they are those that count.
"""

from __future__ import annotations

from replicast.transfer import BufferLike
from replicast.transport.result import Section


class Landing:
    """`section` None: in a buffer, whichever source they come from."""

    def __init__(self, section: Section | None) -> None:
        self._section = section
        self._there = b""  # the transfer that was opened on it last

    def section_for(self, transfer_id: bytes) -> Section | None:
        """To open this transfer on; None: in a buffer."""
        if self._section is None or not self._section.free:
            return None
        self._there = transfer_id
        return self._section

    def settle(self, transfer_id: bytes, verified: BufferLike) -> None:
        """These are the bytes, and no transfer is open any more: see that they are where they are
        wanted."""
        if self._section is not None and transfer_id != self._there:
            self._section.fill(verified)
