"""Version ids as S3 clients see them: `null` for the version that has none of its own."""

from __future__ import annotations

from replicast.errors import InvalidRequest
from replicast.flexhash.versioning import Versioning
from replicast.gateway.objects import ObjectInfo
from replicast.gateway.s3.arguments import invalid_argument
from replicast.gateway.version_text import parse_version, version_text
from replicast.wire.name_messages import NO_VERSION, NULL_VERSION, VersionId

NULL = "null"
HEADER = "x-amz-version-id"


def read_version(text: str | None) -> VersionId:
    """NO_VERSION when none is named; raises InvalidArgument."""
    if text is None:
        return NO_VERSION
    if text == NULL:
        return NULL_VERSION
    try:
        return parse_version(text)
    except InvalidRequest:
        raise invalid_argument("versionId", text, "Invalid version id specified") from None


def version_of(info: ObjectInfo) -> str:
    """The id of a version."""
    return NULL if info.null else version_text(info.version)


def version_headers(info: ObjectInfo, versioning: int) -> dict[str, str]:
    """Said of buckets that have kept versions at some time."""
    return {} if versioning == Versioning.OFF else {HEADER: version_of(info)}


def new_version_headers(info: ObjectInfo, versioning: int) -> dict[str, str]:
    """Of what was just written: only a version with an id of its own has its id told (ceph/s3-tests)."""
    return version_headers(info, versioning) if versioning == Versioning.ENABLED else {}
