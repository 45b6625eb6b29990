"""What the object layer stands on: chunks in, chunks out, names, tables.

gateway/initiator.py implements `Initiator` over UDP; tests bring small ones.
"""

from __future__ import annotations

from collections.abc import AsyncIterable
from typing import Protocol

from replicast.flexhash.table import Table
from replicast.frozen import frozen
from replicast.gateway.known_holders import KnownHolders
from replicast.gateway.listing import ListDone
from replicast.hashing import HashAlgorithm
from replicast.transport.result import Section
from replicast.wire.documents import Reference
from replicast.wire.name_messages import NameList
from replicast.wire.schema import Message

Block = bytes | bytearray | memoryview
Source = Block | AsyncIterable[Block]


@frozen
class ChunkPlaced:
    """A chunk that is durable on `copies` hosts; `sent_bytes` 0 when nothing had to be sent."""

    chid: bytes
    size_bytes: int
    copies: int
    vdevs: tuple[int, ...]
    sent_bytes: int
    stored_copies: int  # copies newly written; the rest were there and are held


class BucketView(Protocol):
    """What is needed of a bucket's record."""

    @property
    def tenant(self) -> str: ...
    @property
    def bucket(self) -> str: ...
    @property
    def incarnation(self) -> int: ...
    @property
    def spread(self) -> int: ...
    @property
    def inline_max_bytes(self) -> int: ...
    @property
    def owner(self) -> str: ...
    @property
    def versioning(self) -> int: ...


class Initiator(Protocol):
    """What the object layer stands on (gateway/initiator.py)."""

    @property
    def table(self) -> Table: ...
    @property
    def algorithm(self) -> HashAlgorithm: ...
    @property
    def known_holders(self) -> KnownHolders: ...
    def wall_ns(self) -> int: ...
    async def bucket(self, tenant: str, bucket: str, gone: int = 0) -> BucketView: ...
    async def put_chunk(
        self, data: Block, *, chid: bytes | None = None, negotiate: bool = False
    ) -> ChunkPlaced: ...
    async def hold_chunk(self, reference: Reference) -> ChunkPlaced: ...
    async def get_chunk(self, reference: Reference, section: Section | None = None) -> Block:
        """The verified bytes. `section`: so many bytes of a result; there they are then, too."""

    async def named(self, request: Message, row: int, operation: bytes = b"") -> Message:
        """The row leader's answer. `operation`: OPERATION_BASE_BYTES of an operation that others
        may ask for, too; it is carried out once, and all of them hear what became of it."""

    async def list_page(self, request: NameList) -> ListDone: ...
