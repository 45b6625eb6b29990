"""Conditional requests: precedence of reads and copies, writes and deletes of ceph/s3-tests."""

from __future__ import annotations

import pytest

from replicast.gateway.conditions import condition
from replicast.gateway.s3.conditions import (
    Current,
    DeleteCondition,
    copy_source_conditions,
    delete_condition,
    range_holds,
    read_conditions,
    write_condition,
)
from replicast.gateway.s3.dates import http_date
from replicast.gateway.s3.errors import S3Error
from replicast.gateway.s3.head import Head
from replicast.units import SECOND

NOW_NS = 1_700_000_000 * SECOND + 123
CURRENT = Current("abc", NOW_NS, 10)
BEFORE, SAME, AFTER = (http_date(NOW_NS + seconds * SECOND) for seconds in (-1, 0, 1))


def outcome(check, *arguments) -> str:
    try:
        check(*arguments)
    except S3Error as error:
        return error.code.name
    return "ok"


def head(**headers: str) -> Head:
    return Head("GET", "/b/k", headers={k.replace("_", "-"): v for k, v in headers.items()})


READS = [
    ({}, "ok", "ok"),
    ({"if-match": '"abc"'}, "ok", "ok"),
    ({"if-match": "abc"}, "ok", "ok"),
    ({"if-match": 'W/"abc"'}, "ok", "ok"),
    ({"if-match": '"x", "abc"'}, "ok", "ok"),
    ({"if-match": "*"}, "ok", "ok"),
    ({"if-match": '"x"'}, "PreconditionFailed", "PreconditionFailed"),
    ({"if-match": ""}, "PreconditionFailed", "PreconditionFailed"),
    ({"if-none-match": '"abc"'}, "NotModified", "PreconditionFailed"),
    ({"if-none-match": "*"}, "NotModified", "PreconditionFailed"),
    ({"if-none-match": '"x"'}, "ok", "ok"),
    ({"if-modified-since": BEFORE}, "ok", "ok"),
    ({"if-modified-since": SAME}, "NotModified", "PreconditionFailed"),
    ({"if-modified-since": AFTER}, "NotModified", "PreconditionFailed"),
    ({"if-unmodified-since": BEFORE}, "PreconditionFailed", "PreconditionFailed"),
    ({"if-unmodified-since": SAME}, "ok", "ok"),
    ({"if-unmodified-since": AFTER}, "ok", "ok"),
    ({"if-modified-since": "garbage", "if-unmodified-since": "garbage"}, "ok", "ok"),
    # The four pairs whose outcome the reference spells out.
    ({"if-match": '"abc"', "if-unmodified-since": BEFORE}, "ok", "ok"),
    ({"if-match": '"x"', "if-unmodified-since": AFTER}, "PreconditionFailed", "PreconditionFailed"),
    (
        {"if-none-match": '"abc"', "if-modified-since": BEFORE},
        "NotModified",
        "PreconditionFailed",
    ),
    ({"if-none-match": '"x"', "if-modified-since": AFTER}, "ok", "ok"),
    # The first pair comes before the second.
    (
        {"if-match": '"x"', "if-none-match": '"abc"'},
        "PreconditionFailed",
        "PreconditionFailed",
    ),
    ({"if-match": '"abc"', "if-none-match": '"abc"'}, "NotModified", "PreconditionFailed"),
]


@pytest.mark.parametrize(("headers", "read", "copied"), READS)
def test_read_conditions__precedence(headers: dict[str, str], read: str, copied: str) -> None:
    assert outcome(read_conditions(Head("GET", "/", headers=headers)).check, CURRENT) == read
    of_source = {f"x-amz-copy-source-{name}": value for name, value in headers.items()}
    asked = copy_source_conditions(Head("PUT", "/", headers=of_source))
    assert outcome(asked.check, CURRENT) == copied
    assert outcome(copy_source_conditions(Head("PUT", "/", headers=headers)).check, CURRENT) == "ok"


def test_read_conditions__names_what_failed() -> None:
    with pytest.raises(S3Error) as caught:
        read_conditions(head(if_match="x")).check(CURRENT)
    assert caught.value.fields == {"Condition": "If-Match"}
    with pytest.raises(S3Error) as caught:
        copy_source_conditions(head(x_amz_copy_source_if_none_match="*")).check(CURRENT)
    assert caught.value.fields == {"Condition": "x-amz-copy-source-if-none-match"}


@pytest.mark.parametrize(
    ("headers", "there", "missing"),
    [
        ({}, "ok", "ok"),
        ({"if-none-match": "*"}, "PreconditionFailed", "ok"),
        ({"if-none-match": '"abc"'}, "PreconditionFailed", "ok"),
        ({"if-none-match": "badetag"}, "ok", "ok"),
        ({"if-match": "*"}, "ok", "NoSuchKey"),
        ({"if-match": '"abc"'}, "ok", "NoSuchKey"),
        ({"if-match": "badetag"}, "PreconditionFailed", "NoSuchKey"),
    ],
)
def test_write_condition__outcomes(headers: dict[str, str], there: str, missing: str) -> None:
    asked = write_condition(Head("PUT", "/", headers=headers))
    assert outcome(asked.check, CURRENT) == there
    assert outcome(asked.check, None) == missing
    condition(asked.if_none_match, asked.if_match)  # what the cluster takes


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({"if-match": "a", "if-none-match": "*"}, "NotImplemented"),
        ({"if-match": '"a", "b"'}, "NotImplemented"),
        ({"if-modified-since": SAME}, "NotImplemented"),
        ({"if-unmodified-since": SAME}, "NotImplemented"),
        ({"if-match": "x" * 129}, "InvalidArgument"),
    ],
)
def test_write_condition__refused_rather_than_ignored(headers: dict[str, str], code: str) -> None:
    assert outcome(write_condition, Head("PUT", "/", headers=headers)) == code


SINCE = "x-amz-if-match-last-modified-time"
SIZE = "x-amz-if-match-size"


@pytest.mark.parametrize(
    ("headers", "there", "of_marker"),
    [
        ({}, "ok", "ok"),
        ({"if-match": "*"}, "ok", "ok"),
        ({"if-match": '"abc"'}, "ok", "PreconditionFailed"),
        ({"if-match": "badetag"}, "PreconditionFailed", "PreconditionFailed"),
        ({SINCE: SAME}, "ok", "ok"),
        ({SINCE: "2023-11-14T22:13:20Z"}, "ok", "ok"),
        ({SINCE: AFTER}, "PreconditionFailed", "PreconditionFailed"),
        ({SIZE: "10"}, "ok", "PreconditionFailed"),
        ({SIZE: "9999999999999"}, "PreconditionFailed", "PreconditionFailed"),
    ],
)
def test_delete_condition__outcomes(headers: dict[str, str], there: str, of_marker: str) -> None:
    asked = delete_condition(Head("DELETE", "/", headers=headers))
    assert bool(asked) == bool(headers)
    assert outcome(asked.check, CURRENT) == there
    assert outcome(asked.check, Current("", NOW_NS)) == of_marker


@pytest.mark.parametrize("headers", [{SINCE: "soon"}, {SIZE: "-1"}, {SIZE: "x"}, {SIZE: "9" * 20}])
def test_delete_condition__bad(headers: dict[str, str]) -> None:
    assert outcome(delete_condition, Head("DELETE", "/", headers=headers)) == "InvalidArgument"
    assert not DeleteCondition()


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ('"abc"', True),
        ("abc", True),
        ('"x"', False),
        ('W/"abc"', False),  # may be another one
        ("*", False),
        ("", False),
        (SAME, True),
        (BEFORE, False),
        (AFTER, False),
    ],
)
def test_range__holds_for_the_same_object_only(text: str, holds: bool) -> None:
    assert range_holds(head(if_range=text), CURRENT) is holds
    assert range_holds(head(), CURRENT)
