"""Points in time as S3 and HTTP write them; nanoseconds since 1970 UTC here.

Sources: RFC 9110, 5.6.7 (three forms of HTTP dates); Signature V4 (basic ISO 8601 in x-amz-date);
S3 API reference (extended ISO 8601 with milliseconds in XML). No locale: names are English always.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from functools import lru_cache

from replicast.units import MS, SECOND

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_DAY, _MONTH = "|".join(_DAYS), "|".join(_MONTHS)
_TIME = r"(?P<hour>\d\d):(?P<minute>\d\d):(?P<second>\d\d)"
_LONG_DAY = "Monday|Tuesday|Wednesday|Thursday|Friday|Saturday|Sunday"
_HTTP = tuple(
    re.compile(form, re.ASCII)
    for form in (
        rf"(?:(?:{_DAY}), )?(?P<day>\d\d) (?P<month>{_MONTH}) (?P<year>\d{{4}}) {_TIME} "
        r"(?:GMT|UTC|[+-]0000)",
        rf"(?:{_LONG_DAY}), (?P<day>\d\d)-(?P<month>{_MONTH})-(?P<year>\d\d) {_TIME} GMT",
        rf"(?:{_DAY}) (?P<month>{_MONTH}) (?P<day>[ \d]\d) {_TIME} (?P<year>\d{{4}})",
    )
)
_AMZ = re.compile(
    r"(?P<year>\d{4})(?P<month>\d\d)(?P<day>\d\d)"
    r"T(?P<hour>\d\d)(?P<minute>\d\d)(?P<second>\d\d)Z",
    re.ASCII,
)
_ISO = re.compile(
    rf"(?P<year>\d{{4}})-(?P<month>\d\d)-(?P<day>\d\d)T{_TIME}(?:\.(?P<part>\d{{1,9}}))?"
    r"(?:Z|\+00:00)",
    re.ASCII,
)
# RFC 850 years have two digits: as POSIX has it, 69 is 1969 and 68 is 2068.
_PIVOT_YEAR = 69
_AMZ_CHARS = len("YYYYMMDDTHHMMSSZ")
_REMEMBERED = 64
_CHARS_MAX = 64


def parse_http_date(text: str) -> int | None:
    """An HTTP date in any of its three forms; None for what is none, which HTTP ignores."""
    for form in _HTTP:
        found = form.fullmatch(text.strip()) if len(text) <= _CHARS_MAX else None
        if found:
            return _nanoseconds(found)
    return None


def parse_amz_date(text: str) -> int | None:
    """YYYYMMDDTHHMMSSZ, as in x-amz-date; None for anything else."""
    return _parsed_amz(text) if len(text) == _AMZ_CHARS else None


@lru_cache(_REMEMBERED)
def _parsed_amz(text: str) -> int | None:
    # Requests of one second have the same date, and the same day in their scope: 10 us each.
    found = _AMZ.fullmatch(text)
    return _nanoseconds(found) if found else None


def is_day(text: str) -> bool:
    """Whether this is a day such as "20130524", as in the scope of a signature."""
    return parse_amz_date(f"{text}T000000Z") is not None


@lru_cache(_REMEMBERED)
def amz_date(time_ns: int) -> str:
    """YYYYMMDDTHHMMSSZ: whole seconds, rounded down. Remembered as what is parsed."""
    return f"{_datetime(time_ns):%Y%m%dT%H%M%SZ}"


def parse_iso_date(text: str) -> int | None:
    """YYYY-MM-DDTHH:MM:SS[.fraction]Z, as in XML; None for anything else."""
    found = _ISO.fullmatch(text)
    return _nanoseconds(found) if found else None


def http_date(time_ns: int) -> str:
    """As in Last-Modified: whole seconds, rounded down."""
    return _http_date(time_ns // SECOND)


@lru_cache(_REMEMBERED)
def _http_date(seconds: int) -> str:
    # Every answer has one of its own.
    at = _datetime(seconds * SECOND)
    return (
        f"{_DAYS[at.weekday()]}, {at.day:02} {_MONTHS[at.month - 1]} {at.year:04} "
        f"{at.hour:02}:{at.minute:02}:{at.second:02} GMT"
    )


def iso_date(time_ns: int) -> str:
    """As in XML: milliseconds, rounded down."""
    return f"{_datetime(time_ns):%Y-%m-%dT%H:%M:%S}.{time_ns // MS % 1000:03}Z"


def iso_seconds(time_ns: int) -> str:
    """As in errors: whole seconds, rounded down."""
    return f"{_datetime(time_ns):%Y-%m-%dT%H:%M:%SZ}"


def _datetime(time_ns: int) -> datetime:
    return _EPOCH + timedelta(seconds=time_ns // SECOND)


def _nanoseconds(found: re.Match[str]) -> int | None:
    parts = found.groupdict()
    month, year = parts["month"], int(parts["year"])
    if len(parts["year"]) == 2:
        year += 1900 if year >= _PIVOT_YEAR else 2000
    try:
        at = datetime(
            year,
            int(month) if month.isdigit() else _MONTHS.index(month) + 1,
            int(parts["day"]),
            int(parts["hour"]),
            int(parts["minute"]),
            # A leap second is the last one that the calendar here has.
            59 if parts["second"] == "60" else int(parts["second"]),
            tzinfo=UTC,
        )
    except ValueError:
        return None
    fraction = (parts.get("part") or "").ljust(9, "0")
    return (at - _EPOCH) // timedelta(seconds=1) * SECOND + int(fraction)
