"""A source of a put whose bytes are hashed on their way anyway, and the content hash with them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator

from replicast.gateway.initiation import Block


class HashedSource(ABC):
    """A `Source` (initiation.py), to be read once."""

    @abstractmethod
    def __aiter__(self) -> AsyncIterator[Block]:
        """The body's blocks."""

    @abstractmethod
    async def chid(self, offset: int, size_bytes: int) -> bytes | None:
        """The CHID of bytes that were given out already, once; None: they are still to be hashed."""
