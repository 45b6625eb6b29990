"""Version manifests: a Merkle tree of references, built while streaming, read by range.

    builder = ManifestBuilder(...)           for each stored chunk: builder.add(reference)
    builder.take_chunks()  -> manifest chunks that must be stored before the commit
    builder.finish(...)    -> the canonical body for NAME_PUT

Up to FANOUT references stand in the body itself; above that, full groups of
FANOUT become manifest chunks of level 1, 2, ... . Memory is bounded by FANOUT
references a level. Reading checks every rule of docs/formats.md (no holes, no
overlap, sizes add up), so that a manifest can never make a reader return
short or shifted bytes: it raises ManifestError instead.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TypeVar

from replicast.errors import ReplicastError
from replicast.hashing import HashAlgorithm, content_hash
from replicast.wire.codec import WireError, decode, encode
from replicast.wire.documents import (
    DOCUMENT_FORMAT,
    MANIFEST,
    NO_COMPRESSION,
    NO_ENCRYPTION_KEY,
    PAYLOAD,
    REFERENCES_MAX,
    SEAL_BYTES,
    ChunkManifest,
    ManifestBody,
    MetadataItem,
    Reference,
)

FANOUT = REFERENCES_MAX
T = TypeVar("T", ManifestBody, ChunkManifest)
LEVELS_MAX = 5  # 1024**5 chunks: beyond any u64 of bytes


class ManifestError(ReplicastError):
    """A manifest that breaks its own rules: damage or a bug, never the user's doing."""

    reason = "BAD_MANIFEST"


@dataclass(frozen=True, slots=True)
class ManifestChunk:
    """An encoded inner node: store `data` under `chid` before committing the version."""

    chid: bytes
    data: bytes


def payload_reference(
    *,
    offset: int,
    size_bytes: int,
    algorithm: HashAlgorithm,
    chid: bytes,
    copies: int,
    encryption_key_id: int = NO_ENCRYPTION_KEY,
) -> Reference:
    """The reference of an uncompressed payload chunk of so many stored bytes."""
    sealed = encryption_key_id != NO_ENCRYPTION_KEY
    return Reference(
        kind=PAYLOAD,
        offset=offset,
        stored_bytes=size_bytes,
        logical_bytes=size_bytes - SEAL_BYTES if sealed else size_bytes,
        hash_algorithm=int(algorithm),
        chid=chid,
        compression=NO_COMPRESSION,
        encryption_key_id=encryption_key_id,
        copies=copies,
    )


class ManifestBuilder:
    """Collects references in offset order and folds full groups into manifest chunks."""

    def __init__(self, *, algorithm: HashAlgorithm, copies: int, fanout: int = FANOUT) -> None:
        assert 2 <= fanout <= FANOUT
        self._algorithm, self._copies, self._fanout = algorithm, copies, fanout
        self._levels: list[list[Reference]] = [[]]
        self._chunks: list[ManifestChunk] = []
        self.logical_bytes = 0

    def add(self, reference: Reference) -> None:
        """The next payload reference; its offset must continue where the last one ended."""
        assert reference.offset == self.logical_bytes
        self.logical_bytes += reference.logical_bytes
        self._append(0, reference)

    def take_chunks(self) -> list[ManifestChunk]:
        """Manifest chunks completed since the last call."""
        taken, self._chunks = self._chunks, []
        return taken

    @property
    def references(self) -> tuple[Reference, ...]:
        """After finish(): those of the body itself."""
        return tuple(self._levels[-1])

    def finish(self, metadata: Mapping[str, str], inline: bytes = b"") -> bytes:
        """The canonical body; call take_chunks() once more after it."""
        level = 0
        while level < len(self._levels) - 1:  # folding may add a level on top
            if self._levels[level]:
                self._fold(level)
            level += 1
        return encode(
            ManifestBody(
                format=DOCUMENT_FORMAT,
                logical_bytes=self.logical_bytes + len(inline),
                metadata=_metadata_items(metadata),
                inline=inline,
                references=self.references,
            )
        )

    def _append(self, level: int, reference: Reference) -> None:
        if level == len(self._levels):
            self._levels.append([])
        if len(self._levels[level]) == self._fanout:
            self._fold(level)
        self._levels[level].append(reference)

    def _fold(self, level: int) -> None:
        group = self._levels[level]
        data = encode(
            ChunkManifest(format=DOCUMENT_FORMAT, level=level + 1, references=tuple(group))
        )
        chid = content_hash(self._algorithm, data)
        self._chunks.append(ManifestChunk(chid, data))
        self._levels[level] = []
        self._append(
            level + 1,
            Reference(
                kind=MANIFEST,
                offset=group[0].offset,
                stored_bytes=len(data),
                logical_bytes=sum(r.logical_bytes for r in group),
                hash_algorithm=int(self._algorithm),
                chid=chid,
                compression=NO_COMPRESSION,
                encryption_key_id=NO_ENCRYPTION_KEY,
                copies=self._copies,
            ),
        )


def parse_body(data: bytes) -> ManifestBody:
    """The checked body of a version; raises ManifestError."""
    body = _decode(ManifestBody, data)
    _check_span(body.references, 0, body.logical_bytes - len(body.inline))
    if body.inline and body.references:
        raise ManifestError("a body has inline bytes and references")
    return body


def parse_chunk(data: bytes, reference: Reference) -> tuple[Reference, ...]:
    """The checked references of the manifest chunk that `reference` names."""
    node = _decode(ChunkManifest, data)
    if not 1 <= node.level <= LEVELS_MAX:
        raise ManifestError(f"manifest level {node.level}")
    below = PAYLOAD if node.level == 1 else MANIFEST
    if any(r.kind != below for r in node.references):
        raise ManifestError("a manifest chunk mixes levels")
    _check_span(node.references, reference.offset, reference.logical_bytes)
    return node.references


def overlapping(references: tuple[Reference, ...], start: int, end: int) -> tuple[Reference, ...]:
    """Those references that hold any of the logical bytes [start, end)."""
    return tuple(r for r in references if r.offset < end and r.offset + r.logical_bytes > start)


def metadata_of(body: ManifestBody) -> dict[str, str]:
    """User and system metadata as a dictionary."""
    return {item.key: item.value for item in body.metadata}


def with_metadata(body: ManifestBody, metadata: Mapping[str, str]) -> bytes:
    """The canonical bytes of the same content under this metadata."""
    return encode(replace(body, metadata=_metadata_items(metadata)))


def _metadata_items(metadata: Mapping[str, str]) -> tuple[MetadataItem, ...]:
    keys = sorted(metadata, key=lambda key: key.encode())
    return tuple(MetadataItem(key=key, value=metadata[key]) for key in keys)


def _decode(cls: type[T], data: bytes) -> T:
    try:
        value = decode(cls.TYPE, data)
    except WireError as error:
        raise ManifestError(f"not a {cls.NAME}: {error.reason}") from None
    assert isinstance(value, cls)
    if value.format != DOCUMENT_FORMAT:
        raise ManifestError(
            f"{cls.NAME} format {value.format} is newer than {DOCUMENT_FORMAT}, the one known here"
        )
    return value


def _check_span(references: tuple[Reference, ...], offset: int, logical_bytes: int) -> None:
    at = offset
    for reference in references:
        if reference.offset != at or reference.logical_bytes == 0:
            raise ManifestError(f"references do not continue at byte {at}")
        if reference.kind == PAYLOAD and reference.compression == NO_COMPRESSION:
            sealed = reference.encryption_key_id != NO_ENCRYPTION_KEY
            if reference.stored_bytes != reference.logical_bytes + (SEAL_BYTES if sealed else 0):
                raise ManifestError(f"stored and logical length differ at byte {at}")
        elif reference.kind not in (PAYLOAD, MANIFEST):
            raise ManifestError(f"reference kind {reference.kind}")
        at += reference.logical_bytes
    if at != offset + logical_bytes:
        raise ManifestError(f"references end at byte {at}, not {offset + logical_bytes}")
