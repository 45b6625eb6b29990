"""Conditions of reads, copies, writes and deletes, with the precedence that S3 gives them.

Reads: If-Match rules out If-Unmodified-Since, If-None-Match rules out If-Modified-Since (RFC 9110,
13.2.2, which the S3 reference repeats); what keeps a read from being answered is 304 for the second
pair, 412 for the first; for the source of a copy it is 412 always.
Writes: If-None-Match or If-Match, one of them. Deletes: If-Match, and the two that the reference
has for size and time. Dates that are none are ignored, as HTTP says.
"""

from __future__ import annotations

from dataclasses import dataclass

from replicast.errors import InvalidRequest
from replicast.gateway.limits import check_etag
from replicast.gateway.s3.arguments import integer, invalid_argument
from replicast.gateway.s3.dates import parse_http_date, parse_iso_date
from replicast.gateway.s3.errors import S3Error
from replicast.gateway.s3.head import Head
from replicast.units import SECOND

ANY = "*"
COPY_SOURCE = "x-amz-copy-source-"


@dataclass(frozen=True, slots=True)
class Current:
    """What a condition is about: ETag without quotes ("" for a delete marker), modification time
    in nanoseconds since 1970, size."""

    etag: str
    modified_ns: int
    size_bytes: int = 0


@dataclass(frozen=True, slots=True)
class ReadConditions:
    """Of a GET or HEAD, or of the source of a copy; None for what was not asked."""

    if_match: tuple[str, ...] | None = None
    if_none_match: tuple[str, ...] | None = None
    if_modified_since_ns: int | None = None
    if_unmodified_since_ns: int | None = None
    of_copy: bool = False

    def check(self, current: Current) -> None:
        """Raises PreconditionFailed, NotModified."""
        # Dates have whole seconds, so the object's time counts in whole seconds too.
        modified_ns = current.modified_ns // SECOND * SECOND
        if self.if_match is not None:
            if not _matches(self.if_match, current.etag):
                raise self._failed("If-Match")
        elif self.if_unmodified_since_ns is not None and modified_ns > self.if_unmodified_since_ns:
            raise self._failed("If-Unmodified-Since")
        if self.if_none_match is not None:
            if _matches(self.if_none_match, current.etag):
                raise self._not_modified("If-None-Match")
        elif self.if_modified_since_ns is not None and modified_ns <= self.if_modified_since_ns:
            raise self._not_modified("If-Modified-Since")

    def _failed(self, name: str) -> S3Error:
        return _precondition((COPY_SOURCE + name.lower()) if self.of_copy else name)

    def _not_modified(self, name: str) -> S3Error:
        return self._failed(name) if self.of_copy else S3Error("NotModified")


@dataclass(frozen=True, slots=True)
class WriteCondition:
    """Of a put, copy or completion: ANY or one ETag without quotes; None for what was not asked.
    Both fields are in the form that replicast.gateway.conditions.condition takes."""

    if_match: str | None = None
    if_none_match: str | None = None

    def check(self, current: Current | None) -> None:
        """`current`: None for no object, which a delete marker is too. Raises PreconditionFailed,
        NoSuchKey."""
        if self.if_match is not None:
            if current is None:
                raise S3Error("NoSuchKey")
            if self.if_match not in (ANY, current.etag):
                raise _precondition("If-Match")
        if current is not None and self.if_none_match in (ANY, current.etag):
            raise _precondition("If-None-Match")


@dataclass(frozen=True, slots=True)
class DeleteCondition:
    """Of a delete, or of one object in a list of deletes; None for what was not asked."""

    if_match: str | None = None
    modified_ns: int | None = None
    size_bytes: int | None = None

    def __bool__(self) -> bool:
        return (self.if_match, self.modified_ns, self.size_bytes) != (None, None, None)

    def check(self, current: Current) -> None:
        """Raises PreconditionFailed."""
        if self.if_match not in (None, ANY, current.etag):
            raise _precondition("If-Match")
        if self.modified_ns is not None and self.modified_ns // SECOND != (
            current.modified_ns // SECOND
        ):
            raise _precondition("x-amz-if-match-last-modified-time")
        if self.size_bytes not in (None, current.size_bytes):
            raise _precondition("x-amz-if-match-size")


def read_conditions(head: Head) -> ReadConditions:
    """Those of a GET or HEAD."""
    return _read(head, "", False)


def range_holds(head: Head, current: Current) -> bool:
    """Whether If-Range, an ETag or a time, names the object as it is: a range of another one does not fit
    what the client has (RFC 9110, 13.1.5). True where it is not asked."""
    text = head.header("if-range")
    if text is None:
        return True
    modified_ns = parse_http_date(text)
    if modified_ns is not None:
        return modified_ns == current.modified_ns // SECOND * SECOND
    return not text.startswith("W/") and _bare(text) == current.etag


def copy_source_conditions(head: Head) -> ReadConditions:
    """Those on the source of a copy (x-amz-copy-source-if-...)."""
    return _read(head, COPY_SOURCE, True)


def write_condition(head: Head) -> WriteCondition:
    """That of a put, copy or completion. Raises NotImplemented, InvalidArgument.

    What the service does not know for writes is refused, so that no write is taken for guarded
    that is not. An ETag in If-None-Match is one thing more than the service has: ceph/s3-tests
    asks for it, and the cluster can.
    """
    for name in ("if-modified-since", "if-unmodified-since"):
        if head.header(name) is not None:
            raise _unknown(name)
    if_match, if_none_match = head.header("if-match"), head.header("if-none-match")
    if if_match is not None and if_none_match is not None:
        raise _unknown("if-none-match")
    return WriteCondition(_one(if_match, "If-Match"), _one(if_none_match, "If-None-Match"))


def delete_condition(head: Head) -> DeleteCondition:
    """That of a delete; raises InvalidArgument, NotImplemented."""
    return make_delete_condition(
        head.header("if-match"),
        head.header("x-amz-if-match-last-modified-time"),
        head.header("x-amz-if-match-size"),
    )


def make_delete_condition(
    etag: str | None, modified: str | None, size: str | None
) -> DeleteCondition:
    """From texts of headers or of elements; raises InvalidArgument, NotImplemented."""
    modified_ns = None
    if modified is not None:
        modified_ns = parse_http_date(modified)
        if modified_ns is None:
            modified_ns = parse_iso_date(modified)
        if modified_ns is None:
            raise invalid_argument("LastModifiedTime", modified, "The time is not valid.")
    return DeleteCondition(
        _one(etag, "If-Match"), modified_ns, None if size is None else _size(size)
    )


def _size(text: str) -> int:
    # Sizes have more than 32 bits.
    return (
        int(text)
        if text.isascii() and text.isdecimal() and len(text) <= 19
        else integer(text, "Size")
    )


def _read(head: Head, prefix: str, of_copy: bool) -> ReadConditions:
    since = head.header(prefix + "if-modified-since")
    until = head.header(prefix + "if-unmodified-since")
    return ReadConditions(
        _etags(head.header(prefix + "if-match")),
        _etags(head.header(prefix + "if-none-match")),
        None if since is None else parse_http_date(since),
        None if until is None else parse_http_date(until),
        of_copy,
    )


def _etags(text: str | None) -> tuple[str, ...] | None:
    if text is None:
        return None
    return tuple(_bare(each) for each in text.split(","))


def _bare(text: str) -> str:
    """SDKs send ETags with and without quotes. A weak one is compared as if it were strong: there
    is one representation of an object."""
    return text.strip().removeprefix("W/").strip('"')


def _one(text: str | None, name: str) -> str | None:
    if text is None:
        return None
    if "," in text:
        raise _unknown(name)
    try:
        return check_etag(_bare(text))
    except InvalidRequest:
        raise invalid_argument(name, text, "The ETag is not valid.") from None


def _matches(etags: tuple[str, ...], etag: str) -> bool:
    return ANY in etags or etag in etags


def _precondition(name: str) -> S3Error:
    return S3Error("PreconditionFailed", Condition=name)


def _unknown(header: str) -> S3Error:
    return S3Error(
        "NotImplemented",
        "A header you provided implies functionality that is not implemented.",
        Header=header,
    )
