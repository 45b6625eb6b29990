"""Stored documents that use the message codec; their numbers (200 and up) never stand in a header.

A manifest body is canonical: same content and metadata, same bytes. It holds no
version id, so copies share bodies (DESIGN 5). Formats: docs/formats.md.
"""

from __future__ import annotations

from typing import Annotated

from replicast.wire.schema import U8, U32, U64, Hash, Kind, Message, Struct, message, struct

DOCUMENT_FORMAT = 1
REFERENCES_MAX = 1024
INLINE_BYTES_MAX = 256 * 1024
METADATA_ITEMS_MAX = 128
METADATA_KEY_BYTES_MAX, METADATA_VALUE_BYTES_MAX = 256, 8192

# Reference.kind
PAYLOAD, MANIFEST = 1, 2
NO_COMPRESSION, NO_ENCRYPTION_KEY = 0, 0
SEAL_BYTES = 28  # stored beyond the logical bytes of a payload chunk under a key: nonce and tag


@struct
class Reference(Struct):
    """One chunk of an object: logical bytes [offset, offset + logical_bytes)."""

    kind: U8
    offset: U64
    stored_bytes: U32
    logical_bytes: U64
    hash_algorithm: U8
    chid: Hash
    compression: U8
    encryption_key_id: U64
    copies: U8  # protection wanted


@struct
class MetadataItem(Struct):
    """One piece of metadata; keys are unique and sorted by their UTF-8 bytes."""

    key: Annotated[str, Kind("text", METADATA_KEY_BYTES_MAX)]
    value: Annotated[str, Kind("text", METADATA_VALUE_BYTES_MAX)]


ReferenceList = Annotated[tuple[Reference, ...], Kind("list", REFERENCES_MAX, Reference)]


@message(200)
class ManifestBody(Message):
    """One version's content: `inline` bytes, or references in order of offset without holes."""

    format: U8
    logical_bytes: U64
    metadata: Annotated[tuple[MetadataItem, ...], Kind("list", METADATA_ITEMS_MAX, MetadataItem)]
    inline: Annotated[bytes, Kind("bytes", INLINE_BYTES_MAX)]
    references: ReferenceList


@message(201)
class ChunkManifest(Message):
    """An inner node of a tall object's Merkle tree: references one level down, same rules."""

    format: U8
    level: U8  # 1: references payload; n: references manifests of level n - 1
    references: ReferenceList
