"""Bodies that are encrypted before they become chunks: what the object layer and the holder of keys
promise each other.

A `Sealer` encrypts one body while it is put, an `Opener` decrypts one while it is read, a `Binder` makes
the root of a body whose chunks are sealed already. Keys are theirs alone; here are only the places
where sealed bytes go:

    payload chunk   its reference has the id of the key that it is under, and SEAL_BYTES more stored than
                    logical bytes, so that sizes, ranges and listings are those of what was put
    inline bytes    as many as there were; nonce and tag are an item of the metadata
    metadata        SEALED: how the data key is kept. SEALED_INLINE. SEALED_ROOT: a MAC over everything
                    else of the body, and through the names of its chunks over all they hold

Who has no opener gets no byte of a sealed body, not even of the encrypted ones, and cannot copy it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from replicast.errors import DataLost, InvalidRequest
from replicast.gateway.initiation import Block
from replicast.gateway.limits import check_metadata
from replicast.gateway.manifest import metadata_of, parse_body, with_metadata
from replicast.wire.documents import NO_ENCRYPTION_KEY, ManifestBody, Reference

SEALED, SEALED_INLINE, SEALED_ROOT = ":sealed", ":sealed-inline", ":sealed-root"


class SealBroken(DataLost):
    """Sealed bytes, or what binds them, that are not as they were written."""

    reason = "SEAL_BROKEN"


class Binder(Protocol):
    """`items`: the metadata of a sealed body but its root."""

    @property
    def items(self) -> Mapping[str, str]: ...
    def root(self, body: bytes) -> str:
        """Over the canonical body with all of its metadata but the root."""


class Sealer(Binder, Protocol):
    """`key_id`: of the key, made for this body alone, in its references."""

    @property
    def key_id(self) -> int: ...
    async def seal(self, block: Block, offset: int) -> Block:
        """The payload chunk that begins at `offset` of the body; no offset comes twice."""

    def seal_inline(self, block: Block) -> tuple[bytes, str]:
        """As many bytes, and the value of SEALED_INLINE."""


class Opener(Protocol):
    """Both raise SealBroken."""

    async def open(self, reference: Reference, stored: Block) -> Block:
        """What was put, of one payload chunk."""

    def open_inline(self, body: ManifestBody) -> bytes:
        """What was put, of a body without chunks."""


def bound(body: bytes, binder: Binder) -> bytes:
    """The canonical body with its root in it."""
    parsed = parse_body(body)
    root = {SEALED_ROOT: binder.root(body)}
    return with_metadata(parsed, check_metadata(metadata_of(parsed) | root))


def unbound(body: ManifestBody) -> tuple[bytes, str]:
    """What bound() was given, and the root ("" for none)."""
    metadata = metadata_of(body)
    root = metadata.pop(SEALED_ROOT, "")
    return with_metadata(body, metadata), root


def check_readable(body: ManifestBody, opener: object) -> None:
    """Raises InvalidRequest (SEALED) when the body is sealed and there is no `opener` (or binder)."""
    if opener is None and body.metadata and SEALED in metadata_of(body):
        raise no_key()


def check_sealed(reference: Reference, opener: Opener | None) -> None:
    """Of a payload chunk: sealed where an opener is, and nowhere else."""
    if (reference.encryption_key_id != NO_ENCRYPTION_KEY) == (opener is not None):
        return
    if opener is None:
        raise no_key()
    raise SealBroken(f"chunk {reference.chid.hex()} of a sealed object is not sealed")


def no_key() -> InvalidRequest:
    """What a reader without keys is told."""
    return InvalidRequest(
        "the object is encrypted: it can be read through S3 only", reason="SEALED"
    )
