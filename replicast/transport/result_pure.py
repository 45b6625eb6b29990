"""Memory that payloads are received into, where they stay: the definition; native/_result.pyx is its
fast twin, which has the bytes at their place as they come and never copies or clears them.

    result = Result(size_bytes)
    reassembly.open(transfer_id, ..., section=result.section(start, size_bytes))
    ...                                                    # take() each transfer, verify
    whole = result.take()

Invariants: a section is written by one transfer at a time, from open() until it is taken or closed; none
begins while somebody still looks at what the one before has left there. take() is refused while a
transfer is open, and from then on nothing is written any more: nobody sees bytes that still change.
"""

from __future__ import annotations

from typing import Any


class Section:
    """Bytes [start, start + size_bytes) of a result; made by Result.section()."""

    def __init__(self, result: Result, start: int, size_bytes: int) -> None:
        self.size_bytes = size_bytes
        self._result, self._start = result, start
        self._writing = False  # a transfer is open on it
        self._views = 0  # of what was taken

    @property
    def free(self) -> bool:
        """May a transfer be opened on it?"""
        return not self._writing and not self._views and self._result._memory is not None

    def fill(self, data: Any) -> None:
        """Write all of it: bytes that came by another way.

        Raises ValueError (size), RuntimeError (a transfer is open on it, the result was taken).
        """
        if len(data) != self.size_bytes:
            raise ValueError(f"{len(data)} bytes for a section of {self.size_bytes}")
        if self._writing or self._result._memory is None:
            raise RuntimeError("the section is not to be written")
        self._result._memory[self._start : self._start + self.size_bytes] = data

    # -- for Reassembly -----------------------------------------------------------------

    def _lend(self) -> None:
        self._writing = True
        self._result._open_count += 1

    def _give_back(self) -> None:
        self._writing = False
        self._result._open_count -= 1


class Result:
    """So many bytes, whose content is undefined until all sections are written."""

    def __init__(self, size_bytes: int) -> None:
        if size_bytes <= 0:
            raise ValueError(f"a result of {size_bytes} bytes")
        self._memory: bytearray | None = bytearray(size_bytes)
        self._size_bytes = size_bytes
        self._open_count = 0  # transfers

    def section(self, start: int, size_bytes: int) -> Section:
        """A part of it; those of one result must not overlap. Raises ValueError outside of it."""
        if start < 0 or size_bytes <= 0 or start + size_bytes > self._size_bytes:
            raise ValueError(
                f"bytes {start}-{start + size_bytes} of a result of {self._size_bytes}"
            )
        return Section(self, start, size_bytes)

    def take(self) -> bytes:
        """The bytes; once. Raises RuntimeError while a transfer is open, and the second time."""
        if self._open_count or self._memory is None:
            raise RuntimeError("the result is not to be taken")
        memory, self._memory = self._memory, None
        return bytes(memory)


__all__ = ["Result", "Section"]
