"""Dates of signed requests, as text and as nanoseconds since 1970.

Sources: Amazon S3 API reference, "Common Request Headers" (the basic format of ISO 8601; in a Date
header also that of RFC 1123); RFC 9110, 5.6.7.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
NS_PER_SECOND = 1_000_000_000

_BASIC = re.compile(r"(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z", re.ASCII)
_DAY = re.compile(r"(\d{4})(\d\d)(\d\d)", re.ASCII)
_HTTP = re.compile(
    rf"(?:[A-Z][a-z][a-z], )?(\d\d?) ({'|'.join(MONTHS)}) (\d{{4}}) (\d\d):(\d\d):(\d\d)"
    r" (?:GMT|UTC|[+-]0000)",
    re.ASCII,
)


def basic_ns(text: str) -> int | None:
    """Nanoseconds of "20130524T000000Z"; None for anything else."""
    found = _BASIC.fullmatch(text)
    return _ns(*map(int, found.groups())) if found else None


def http_ns(text: str) -> int | None:
    """Nanoseconds of "Fri, 24 May 2013 00:00:00 GMT"; None for anything else."""
    found = _HTTP.fullmatch(text)
    if not found:
        return None
    day, month, year, *clock = found.groups()
    return _ns(int(year), MONTHS.index(month) + 1, int(day), *map(int, clock))


def is_day(text: str) -> bool:
    """Whether this is a day such as "20130524"."""
    found = _DAY.fullmatch(text)
    return found is not None and _ns(*map(int, found.groups())) is not None


def _ns(*parts: int) -> int | None:
    try:
        moment = datetime(*parts, tzinfo=UTC)  # type: ignore[misc, arg-type]  # 3 or 6 numbers
    except ValueError:
        return None
    return (moment - EPOCH) // timedelta(seconds=1) * NS_PER_SECOND


def basic_text(moment_ns: int) -> str:
    """ "20130524T000000Z", seconds cut off."""
    return _moment(moment_ns).strftime("%Y%m%dT%H%M%SZ")


def iso_text(moment_ns: int) -> str:
    """ "2013-05-24T00:00:00Z", as error bodies have it."""
    return _moment(moment_ns).strftime("%Y-%m-%dT%H:%M:%SZ")


def _moment(moment_ns: int) -> datetime:
    return EPOCH + timedelta(seconds=moment_ns // NS_PER_SECOND)
