"""The parameters of listings: what to list, from where, and how much of it.

Each page has at most 1000 entries however many are asked for. Every text parameter keeps the
rules of names, so that the cluster takes it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from replicast.gateway.objects import AFTER_ALL
from replicast.gateway.s3.arguments import integer, invalid_argument
from replicast.gateway.s3.errors import S3Error
from replicast.gateway.s3.head import Head
from replicast.gateway.s3.names import check_bound
from replicast.gateway.s3.tokens import make_token, read_token

KEYS_MAX = PARTS_MAX = UPLOADS_MAX = 1000
BUCKETS_MAX = 10_000
PART_NUMBER_MAX = 10_000
VERSION_CHARS_MAX = 1024
UPLOAD_ID_CHARS_MAX = 63  # with a key's name and a separator, what the cluster takes as a bound


@dataclass(frozen=True, slots=True)
class Scope:
    """`url`: encoding-type=url was asked."""

    bucket: str
    prefix: str = ""
    delimiter: str = ""
    url: bool = False


@dataclass(frozen=True, slots=True)
class ListPage:
    """ListObjects (v1)."""

    scope: Scope
    marker: str
    keys_max: int

    @property
    def after(self) -> str:
        """As replicast.gateway.objects takes it."""
        return after_marker(self.scope, self.marker)


@dataclass(frozen=True, slots=True)
class ListPageV2:
    """ListObjectsV2; `token` and `start_after` as they were given, None when they were not."""

    scope: Scope
    token: str | None
    start_after: str | None
    keys_max: int
    fetch_owner: bool

    @property
    def after(self) -> str:
        """As replicast.gateway.objects takes it: the token's position, which rules out
        start-after. Raises InvalidArgument for a token that is none of this listing."""
        if self.token:
            return after_marker(self.scope, read_token(self.token, self._listing()))
        return self.start_after or ""

    def next_token(self, last: str) -> str:
        """To go on behind this key or common prefix."""
        return make_token(last, self._listing())

    def _listing(self) -> tuple[str, ...]:
        return "v2", self.scope.bucket, self.scope.prefix, self.scope.delimiter


@dataclass(frozen=True, slots=True)
class VersionsPage:
    """ListObjectVersions."""

    scope: Scope
    key_marker: str
    version_marker: str
    keys_max: int


@dataclass(frozen=True, slots=True)
class UploadsPage:
    """ListMultipartUploads."""

    scope: Scope
    key_marker: str
    upload_marker: str
    uploads_max: int


@dataclass(frozen=True, slots=True)
class PartsPage:
    """ListParts, and the parts of GetObjectAttributes: those behind `marker`."""

    marker: int
    parts_max: int


@dataclass(frozen=True, slots=True)
class BucketsPage:
    """ListBuckets: those behind `after`."""

    prefix: str
    after: str
    buckets_max: int

    def next_token(self, last: str) -> str:
        """To go on behind this bucket."""
        return make_token(last, ("buckets", self.prefix))


def list_page(bucket: str, parameters: Mapping[str, str]) -> ListPage:
    """Raises InvalidArgument, KeyTooLongError, InvalidURI; so do all below."""
    marker = check_bound(parameters.get("marker", ""))
    return ListPage(_scope(bucket, parameters), marker, _keys(parameters))


def list_page_v2(bucket: str, parameters: Mapping[str, str]) -> ListPageV2:
    """A token is read when `after` is asked for."""
    start_after = parameters.get("start-after")
    return ListPageV2(
        _scope(bucket, parameters),
        parameters.get("continuation-token"),
        None if start_after is None else check_bound(start_after),
        _keys(parameters),
        parameters.get("fetch-owner", "").lower() == "true",
    )


def versions_page(bucket: str, parameters: Mapping[str, str]) -> VersionsPage:
    """The version marker is a version id as given: what is none is refused where ids are read."""
    key, version = parameters.get("key-marker", ""), parameters.get("version-id-marker", "")
    if version and not key:
        raise invalid_argument(
            "version-id-marker",
            version,
            "A version-id marker cannot be specified without a key marker.",
        )
    if len(version) > VERSION_CHARS_MAX:
        raise invalid_argument("version-id-marker", version, "Invalid version id specified")
    return VersionsPage(_scope(bucket, parameters), check_bound(key), version, _keys(parameters))


def uploads_page(bucket: str, parameters: Mapping[str, str]) -> UploadsPage:
    """Without a key marker the upload marker is ignored, as the reference says."""
    key = check_bound(parameters.get("key-marker", ""))
    upload = parameters.get("upload-id-marker", "") if key else ""
    if len(upload) > UPLOAD_ID_CHARS_MAX or not upload.isascii():
        raise invalid_argument("upload-id-marker", upload, "Invalid uploadId marker")
    most = _most(parameters.get("max-uploads"), "max-uploads", UPLOADS_MAX, said="maxUploads")
    return UploadsPage(_scope(bucket, parameters), key, upload, most)


def parts_page(parameters: Mapping[str, str]) -> PartsPage:
    """Of ListParts."""
    return _parts(parameters.get("part-number-marker"), parameters.get("max-parts"), "")


def attributes_page(head: Head) -> PartsPage:
    """Of GetObjectAttributes, which has them in headers; a number of parts that is none is
    ignored, as the service does there."""
    marker, most = head.header("x-amz-part-number-marker"), head.header("x-amz-max-parts")
    try:
        integer(most or "0", "x-amz-max-parts")
    except S3Error:
        most = None
    return _parts(marker, most, "x-amz-")


def buckets_page(parameters: Mapping[str, str]) -> BucketsPage:
    """max-buckets is of 1 to 10 000."""
    prefix = check_bound(parameters.get("prefix", ""))
    token = parameters.get("continuation-token", "")
    most = integer(parameters.get("max-buckets") or str(BUCKETS_MAX), "max-buckets")
    if not 1 <= most <= BUCKETS_MAX:
        raise invalid_argument(
            "max-buckets", str(most), f"max-buckets must be between 1 and {BUCKETS_MAX}"
        )
    after = read_token(token, ("buckets", prefix)) if token else ""
    return BucketsPage(prefix, after, most)


def part_number(text: str) -> int:
    """Of a part to write or read, 1 to 10 000; raises InvalidArgument."""
    number = int(text) if text.isdecimal() and text.isascii() and len(text) <= 9 else 0
    if not 1 <= number <= PART_NUMBER_MAX:
        raise invalid_argument(
            "partNumber",
            text,
            f"Part number must be an integer between 1 and {PART_NUMBER_MAX}, inclusive",
        )
    return number


def after_marker(scope: Scope, marker: str) -> str:
    """A marker as replicast.gateway.objects takes it: one in or at a common prefix leaves out all
    that the prefix stands for, since it was in the page before."""
    if scope.delimiter and marker.startswith(scope.prefix):
        end = marker.find(scope.delimiter, len(scope.prefix))
        if end >= 0:
            return marker[: end + len(scope.delimiter)] + AFTER_ALL
    return marker


def _scope(bucket: str, parameters: Mapping[str, str]) -> Scope:
    encoding = parameters.get("encoding-type")
    if encoding is not None and encoding.lower() != "url":
        raise invalid_argument(
            "encoding-type", encoding, "Invalid Encoding Method specified in Request"
        )
    delimiter = check_bound(parameters.get("delimiter", ""))
    # An order is no harm to who can do without, but common prefixes need one (Ceph's extension).
    unordered = parameters.get("allow-unordered", "")
    if delimiter and unordered.lower() == "true":
        raise invalid_argument(
            "allow-unordered", unordered, "A delimiter and allow-unordered exclude each other"
        )
    return Scope(
        bucket,
        check_bound(parameters.get("prefix", "")),
        delimiter,
        encoding is not None,
    )


def _keys(parameters: Mapping[str, str]) -> int:
    return _most(parameters.get("max-keys"), "max-keys", KEYS_MAX, said="maxKeys")


def _parts(marker: str | None, most: str | None, prefix: str) -> PartsPage:
    return PartsPage(
        integer(marker or "0", prefix + "part-number-marker"),
        _most(most, prefix + "max-parts", PARTS_MAX),
    )


def _most(text: str | None, name: str, limit: int, *, said: str = "") -> int:
    """An empty value is as good as none, for SDKs send it."""
    return min(integer(text, name, said=said), limit) if text else limit
