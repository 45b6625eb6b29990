"""What a test may ask: all of C3, or only that acknowledged writes are not lost; a bound of time."""

from __future__ import annotations

import pytest

from replicast.errors import InvalidRequest
from replicast.sim.checkers import BAD, OK, OPERATOR, check_linearizable, check_writes
from replicast.sim.history import History
from replicast.sim.test_file import parse_test

from .whole import named

VALUES = {"workload": [{"kind": "register"}]}


def history(*operations: tuple[int, str, object, object]) -> History:
    """One after the other: client, kind, argument, result."""
    made = History("name")
    for at, (client, kind, argument, result) in enumerate(operations):
        token = made.invoke(client, "sim/n", kind, argument, 10 * at)  # type: ignore[arg-type]
        made.ok(token, result, 10 * at + 5)  # type: ignore[arg-type]
    return made


STALE_READ = history(
    (1, "put", "v1", (1, 7, 1)),
    (1, "put", "v2", (2, 7, 1)),
    (2, "get", None, "v1"),
    (OPERATOR, "get", None, "v2"),
)
STALE_REFUSAL = history(
    (1, "put", "v1", (1, 7, 1)),
    (1, "delete", None, (2, 7, 1)),
    (2, "put_if_absent", "v2", "refused"),
    (OPERATOR, "get", None, None),
)
LOST_WRITE = history(
    (1, "put", "v1", (1, 7, 1)),
    (1, "put", "v2", (2, 7, 1)),
    (OPERATOR, "get", None, "v1"),
)


@pytest.mark.parametrize(
    ("made", "linearizable", "writes"),
    [(STALE_READ, BAD, OK), (STALE_REFUSAL, BAD, OK), (LOST_WRITE, BAD, BAD)],
)
def test_writes__may_not_be_lost_where_reads_may_be_stale(
    made: History, linearizable: str, writes: str
) -> None:
    assert check_linearizable(made)[0] == linearizable
    assert check_writes(made)[0] == writes


def test_an_answer_that_an_operation_cannot_have__is_bad() -> None:
    """It ended a sweep of 1,571 good runs with a traceback (disks.toml, seed 701572 for 17 s)."""
    verdict, why = check_linearizable(history((1, "put", "v1", "refused")))
    assert verdict == BAD and "no condition that could be refused" in why[0]


def test_checks__are_named_in_the_test_file() -> None:
    assert named("drift").checks == ("writes",) and named("clog").checks == ("linearizable",)
    for checks, text in ((["all"], "known: linearizable, writes"), ([], "name at least one")):
        with pytest.raises(InvalidRequest, match=text):
            parse_test(VALUES | {"checks": checks}, "t", "t.toml")


def test_operation_seconds__are_named_in_the_test_file() -> None:
    assert named("hung").operation_seconds == 10 and named("clog").operation_seconds is None
    assert parse_test(VALUES | {"operation_seconds": 1.5}, "t", "t.toml").operation_seconds == 1.5
    with pytest.raises(InvalidRequest, match="more than 0"):
        parse_test(VALUES | {"operation_seconds": 0}, "t", "t.toml")
