"""Bodies of listings of objects and their versions, in v1, v2 and with versions.

Order of elements as the service sends them (S3 API reference, examples). With encoding-type=url
keys, prefixes, delimiters and markers are percent-encoded; tokens and version ids never.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from replicast.gateway.s3.answers import Owner
from replicast.gateway.s3.escapes import encode
from replicast.gateway.s3.paging import ListPage, ListPageV2, Scope, VersionsPage
from replicast.gateway.s3.xml_writer import date, document, etag, group, is_carried, text

STANDARD = "STANDARD"


@dataclass(frozen=True, slots=True)
class ObjectEntry:
    """One object. `owner`: said when not None; `algorithms`: of its checksums (CRC32, ...)."""

    key: str
    modified_ns: int
    etag: str
    size_bytes: int
    owner: Owner | None = None
    storage_class: str = STANDARD
    algorithms: tuple[str, ...] = ()
    checksum_type: str = ""

    def written(self, url: bool) -> str:
        return group("Contents", _name("Key", self.key, url), *_content(self))


@dataclass(frozen=True, slots=True)
class VersionEntry:
    """One version of an object."""

    entry: ObjectEntry
    version: str
    latest: bool

    def written(self, url: bool) -> str:
        return group(
            "Version",
            _name("Key", self.entry.key, url),
            text("VersionId", self.version),
            text("IsLatest", self.latest),
            *_content(self.entry),
        )


@dataclass(frozen=True, slots=True)
class MarkerEntry:
    """A delete marker."""

    key: str
    version: str
    latest: bool
    modified_ns: int
    owner: Owner

    def written(self, url: bool) -> str:
        return group(
            "DeleteMarker",
            _name("Key", self.key, url),
            text("VersionId", self.version),
            text("IsLatest", self.latest),
            date("LastModified", self.modified_ns),
            self.owner.written(),
        )


@dataclass(frozen=True, slots=True)
class Listed:
    """What a page of v1 or v2 found; `last`: the key or common prefix after which there is more,
    "" when this is the end."""

    entries: Sequence[ObjectEntry]
    prefixes: Sequence[str]
    last: str = ""


@dataclass(frozen=True, slots=True)
class ListedVersions:
    """What a page with versions found, entries in order; `last_key` and `last_version` as `last`
    in Listed (the version is "" behind a common prefix)."""

    entries: Sequence[VersionEntry | MarkerEntry]
    prefixes: Sequence[str]
    last_key: str = ""
    last_version: str = ""


def objects(page: ListPage, found: Listed) -> bytes:
    """ListBucketResult of v1. NextMarker comes with a delimiter only; without one clients take
    the last key. Prefix is percent-encoded only where XML cannot carry it: botocore decodes all other
    names of this answer, but not this one."""
    scope = page.scope
    next_marker = found.last if scope.delimiter and found.last else None
    return document(
        "ListBucketResult",
        text("Name", scope.bucket),
        _name("Prefix", scope.prefix, scope.url and not is_carried(scope.prefix)),
        _name("Marker", page.marker, scope.url),
        _name("NextMarker", next_marker, scope.url),
        text("MaxKeys", page.keys_max),
        *_scope_end(scope, bool(found.last)),
        *(each.written(scope.url) for each in found.entries),
        *common_prefixes(found.prefixes, scope.url),
    )


def objects_v2(page: ListPageV2, found: Listed) -> bytes:
    """ListBucketResult of v2."""
    scope = page.scope
    return document(
        "ListBucketResult",
        text("Name", scope.bucket),
        _name("Prefix", scope.prefix, scope.url),
        text("ContinuationToken", page.token),
        text("NextContinuationToken", page.next_token(found.last) if found.last else None),
        _name("StartAfter", page.start_after, scope.url),
        text("KeyCount", len(found.entries) + len(found.prefixes)),
        text("MaxKeys", page.keys_max),
        *_scope_end(scope, bool(found.last)),
        *(each.written(scope.url) for each in found.entries),
        *common_prefixes(found.prefixes, scope.url),
    )


def versions(page: VersionsPage, found: ListedVersions) -> bytes:
    """ListVersionsResult."""
    scope, more = page.scope, bool(found.last_key)
    return document(
        "ListVersionsResult",
        text("Name", scope.bucket),
        _name("Prefix", scope.prefix, scope.url),
        _name("KeyMarker", page.key_marker, scope.url),
        text("VersionIdMarker", page.version_marker),
        _name("NextKeyMarker", found.last_key if more else None, scope.url),
        text("NextVersionIdMarker", found.last_version or None),
        text("MaxKeys", page.keys_max),
        *_scope_end(scope, more),
        *(each.written(scope.url) for each in found.entries),
        *common_prefixes(found.prefixes, scope.url),
    )


def common_prefixes(prefixes: Iterable[str], url: bool) -> Iterable[str]:
    """One element for each."""
    return (group("CommonPrefixes", _name("Prefix", each, url)) for each in prefixes)


def _content(entry: ObjectEntry) -> Iterable[str]:
    yield date("LastModified", entry.modified_ns)
    yield etag(entry.etag)
    for algorithm in entry.algorithms:
        yield text("ChecksumAlgorithm", algorithm)
    yield text("ChecksumType", entry.checksum_type or None)
    yield text("Size", entry.size_bytes)
    yield entry.owner.written() if entry.owner is not None else ""
    yield text("StorageClass", entry.storage_class)


def _scope_end(scope: Scope, truncated: bool) -> Iterable[str]:
    yield _name("Delimiter", scope.delimiter or None, scope.url)
    yield text("EncodingType", "url" if scope.url else None)
    yield text("IsTruncated", truncated)


def _name(element: str, value: str | None, url: bool) -> str:
    return text(element, encode(value) if url and value else value)
