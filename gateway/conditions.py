"""The conditions of puts and deletes, as HTTP has them: If-None-Match, If-Match."""

from __future__ import annotations

from replicast.errors import InvalidRequest
from replicast.gateway.limits import check_etag
from replicast.wire.name_messages import (
    ALWAYS,
    IF_ABSENT,
    IF_ETAG,
    IF_NOT_ETAG,
    IF_PRESENT,
    IF_VERSION,
    NO_VERSION,
    Condition,
    VersionId,
)


def condition(
    if_none_match: str | None = None,
    if_match: str | None = None,
    if_version: VersionId | None = None,
) -> Condition:
    """The wire condition: "*" or an ETag for if_none_match and if_match."""
    given = [c for c in (if_none_match, if_match, if_version) if c is not None]
    if len(given) > 1:
        raise InvalidRequest("give one condition only")
    if if_version is not None:
        return Condition(kind=IF_VERSION, version=if_version, etag="")
    if if_none_match is not None:
        kind = IF_ABSENT if if_none_match == "*" else IF_NOT_ETAG
        return Condition(kind=kind, version=NO_VERSION, etag=_etag(if_none_match))
    if if_match is not None:
        kind = IF_PRESENT if if_match == "*" else IF_ETAG
        return Condition(kind=kind, version=NO_VERSION, etag=_etag(if_match))
    return Condition(kind=ALWAYS, version=NO_VERSION, etag="")


def _etag(text: str) -> str:
    return "" if text == "*" else check_etag(text).strip('"')
