"""Dates in all their forms, against the examples of RFC 9110 and of Signature V4."""

from __future__ import annotations

import pytest

from replicast.gateway.s3.dates import (
    http_date,
    iso_date,
    parse_amz_date,
    parse_http_date,
    parse_iso_date,
)
from replicast.units import MS, SECOND

RFC_NS = 784111777 * SECOND


@pytest.mark.parametrize(
    "text",
    [
        "Sun, 06 Nov 1994 08:49:37 GMT",
        "Sunday, 06-Nov-94 08:49:37 GMT",
        "Sun Nov  6 08:49:37 1994",
        " Sun, 06 Nov 1994 08:49:37 GMT ",
        "Sun, 06 Nov 1994 08:49:37 UTC",
        "Sun, 06 Nov 1994 08:49:37 +0000",
        "06 Nov 1994 08:49:37 GMT",
    ],
)
def test_parse_http_date__three_forms(text: str) -> None:
    assert parse_http_date(text) == RFC_NS


@pytest.mark.parametrize(
    "text",
    [
        "",
        "yesterday",
        "0",
        "Sun, 06 Nov 1994 08:49:37",
        "Sun, 06 Nov 1994 08:49:37 CET",
        "Sun, 31 Feb 1994 08:49:37 GMT",
        "Sun, 06 Nov 1994 24:49:37 GMT",
        "Sun, 06 Nov 0000 08:49:37 GMT",
        "Sun, 06 nov 1994 08:49:37 GMT",
        "Sun, ٠٦ Nov 1994 08:49:37 GMT",
        "Sun, 06 Nov 1994 08:49:37 GMT" + " " * 100,
    ],
)
def test_parse_http_date__none(text: str) -> None:
    assert parse_http_date(text) is None


def test_parse_http_date__two_digits_and_leap_seconds() -> None:
    assert parse_http_date("Thursday, 01-Jan-70 00:00:00 GMT") == 0
    assert http_date(parse_http_date("Friday, 01-Jan-38 00:00:00 GMT") or 0)[12:16] == "2038"
    assert parse_http_date("Sat, 31 Dec 2016 23:59:60 GMT") == (
        parse_http_date("Sat, 31 Dec 2016 23:59:59 GMT")
    )


def test_parse_amz_date__exact() -> None:
    assert parse_amz_date("20130524T000000Z") == 1369353600 * SECOND
    for text in ("20130524T000000", "20130524", "2013-05-24T00:00:00Z", "20131324T000000Z", ""):
        assert parse_amz_date(text) is None


def test_iso_date__milliseconds() -> None:
    assert iso_date(RFC_NS + 987 * MS + 999_999) == "1994-11-06T08:49:37.987Z"
    assert parse_iso_date("1994-11-06T08:49:37.987Z") == RFC_NS + 987 * MS
    assert parse_iso_date("1994-11-06T08:49:37+00:00") == RFC_NS
    for text in ("1994-11-06", "1994-11-06T08:49:37", "1994-11-06T08:49:37.Z", "19941106T084937Z"):
        assert parse_iso_date(text) is None


def test_http_date__whole_seconds() -> None:
    assert http_date(RFC_NS + SECOND - 1) == "Sun, 06 Nov 1994 08:49:37 GMT"
