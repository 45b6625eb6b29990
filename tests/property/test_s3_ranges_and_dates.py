"""Ranges against slices of bytes; dates through email.utils and back."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime, parsedate_to_datetime

from hypothesis import given
from hypothesis import strategies as st

from replicast.gateway.s3.dates import (
    http_date,
    iso_date,
    parse_amz_date,
    parse_http_date,
    parse_iso_date,
)
from replicast.gateway.s3.errors import S3Error
from replicast.gateway.s3.ranges import parse_range
from replicast.units import MS, SECOND

OFFSETS = st.integers(0, 40)
BEYOND_9999 = 253_402_300_800


@given(st.integers(0, 30), OFFSETS, st.none() | OFFSETS)
def test_parse_range__is_a_slice(size: int, first: int, last: int | None) -> None:
    content = bytes(range(size))
    text = f"bytes={first}-{'' if last is None else last}"
    wanted = content[first : None if last is None else last + 1]
    if last is not None and last < first:
        assert parse_range(text, size) is None
        return
    try:
        found = parse_range(text, size)
    except S3Error:
        assert not wanted
        return
    assert found is not None and content[found.first : found.last + 1] == wanted
    assert found.length_bytes == len(wanted) > 0


@given(st.integers(0, 30), OFFSETS)
def test_parse_range__is_a_tail(size: int, count: int) -> None:
    content = bytes(range(size))
    wanted = content[-count:] if count else b""
    try:
        found = parse_range(f"bytes=-{count}", size)
    except S3Error:
        assert not wanted
        return
    assert found is not None and content[found.first : found.last + 1] == wanted


@given(st.integers(0, BEYOND_9999 * SECOND - 1))
def test_dates__round_trip_and_agree_with_the_library(time_ns: int) -> None:
    whole_ns = time_ns // SECOND * SECOND
    at = datetime.fromtimestamp(whole_ns // SECOND, UTC)
    assert parse_http_date(http_date(time_ns)) == whole_ns
    assert http_date(time_ns) == format_datetime(at, usegmt=True)
    assert parsedate_to_datetime(http_date(time_ns)) == at
    assert parse_amz_date(at.strftime("%Y%m%dT%H%M%SZ")) == whole_ns
    assert parse_iso_date(iso_date(time_ns)) == time_ns // MS * MS
    milliseconds = timedelta(milliseconds=time_ns // MS % 1000)
    assert datetime.fromisoformat(iso_date(time_ns)) == at + milliseconds
    assert parse_http_date(at.ctime()) == whole_ns
