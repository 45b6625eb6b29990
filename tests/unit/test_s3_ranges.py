"""Ranges of reads and of part copies, as the reference and ceph/s3-tests have them."""

from __future__ import annotations

import pytest

from replicast.gateway.s3.errors import S3Error
from replicast.gateway.s3.ranges import (
    ByteRange,
    parse_copy_range,
    parse_range,
    unsatisfied_content_range,
    within,
)

SIZE = 11


@pytest.mark.parametrize(
    ("text", "first", "last"),
    [
        ("bytes=4-7", 4, 7),
        ("bytes=0-0", 0, 0),
        ("bytes=4-", 4, 10),
        ("bytes=-7", 4, 10),
        ("bytes=-11", 0, 10),
        ("bytes=-99", 0, 10),
        ("bytes=0-99", 0, 10),
        ("bytes=10-" + "9" * 5000, 10, 10),
        ("bytes=-" + "9" * 5000, 0, 10),
        ("bytes=" + "0" * 5000 + "2-3", 2, 3),
        ("Bytes=4-7 ", 4, 7),
    ],
)
def test_parse_range__satisfiable(text: str, first: int, last: int) -> None:
    found = parse_range(text, SIZE)
    assert found == ByteRange(first, last, SIZE)
    assert found.content_range == f"bytes {first}-{last}/11"
    assert found.length_bytes == last - first + 1


@pytest.mark.parametrize(
    "text",
    [
        None,
        "",
        "bytes",
        "bytes=",
        "bytes=-",
        "bytes=a-b",
        "bytes=1-b",
        "bytes=7-4",
        "bytes=1-2,4-5",
        "bytes=1-2,",
        "bytes 1-2",
        "bytes=1 - 2",
        "bytes=--1",
        "bytes=+1-2",
        "bytes=١-٢",
        "items=0-5",
        "0-5",
    ],
)
@pytest.mark.parametrize("size", [0, SIZE])
def test_parse_range__as_if_it_were_not_there(text: str | None, size: int) -> None:
    assert parse_range(text, size) is None


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("bytes=40-50", SIZE),
        ("bytes=11-", SIZE),
        ("bytes=-0", SIZE),
        ("bytes=" + "9" * 5000 + "-", SIZE),
        ("bytes=40-50", 0),
        ("bytes=0-0", 0),
        ("bytes=0-", 0),
        ("bytes=-1", 0),
    ],
)
def test_parse_range__unsatisfiable(text: str, size: int) -> None:
    with pytest.raises(S3Error) as caught:
        parse_range(text, size)
    assert caught.value.code.name == "InvalidRange"
    assert caught.value.code.status == 416
    assert caught.value.fields["ActualObjectSize"] == str(size)
    assert unsatisfied_content_range(size) == f"bytes */{size}"


def test_parse_copy_range__good() -> None:
    assert parse_copy_range(None) is None
    assert parse_copy_range("bytes=0-9") == (0, 9)
    assert within((0, 9), 10) == ByteRange(0, 9, 10)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "0-2",
        "bytes=0",
        "bytes=hello-world",
        "bytes=0-bar",
        "bytes=hello-",
        "bytes=0-2,3-5",
        "bytes=0-",
        "bytes=-5",
        "bytes=5-2",
        "Bytes=0-2",
        "bytes=0-" + "9" * 5000,
    ],
)
def test_parse_copy_range__bad(text: str) -> None:
    with pytest.raises(S3Error) as caught:
        parse_copy_range(text)
    assert caught.value.code.name == "InvalidArgument"
    assert caught.value.fields["ArgumentName"] == "x-amz-copy-source-range"


@pytest.mark.parametrize("bounds", [(0, 5), (5, 5), (9, 21)])
def test_within__must_have_all(bounds: tuple[int, int]) -> None:
    with pytest.raises(S3Error) as caught:
        within(bounds, 5)
    assert caught.value.code.name == "InvalidRange"
