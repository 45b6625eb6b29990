"""The rules of the name model, each with histories that keep it and histories that break it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from replicast.sim.history import MalformedHistory, Operation, Value
from replicast.sim.linearizability import check
from replicast.sim.models import NAME, REFUSED, expand_lists
from replicast.sim.search import Verdict

KEY = "b/n"


def op(
    kind: str,
    argument: Value,
    result: Value,
    call_ns: int,
    return_ns: int | None,
    key: str = KEY,
) -> Operation:
    """Each operation is of a client of its own: clients do not matter to the model."""
    return Operation(call_ns, key, kind, argument, result, call_ns, return_ns)


def put(value: str, call_ns: int, return_ns: int | None, version: Value = None) -> Operation:
    return op("put", value, version, call_ns, return_ns)


def get(value: str | None, call_ns: int, return_ns: int) -> Operation:
    return op("get", None, value, call_ns, return_ns)


def delete(call_ns: int, return_ns: int | None) -> Operation:
    return op("delete", None, None, call_ns, return_ns)


def create(value: str, call_ns: int, return_ns: int | None, result: Value = None) -> Operation:
    return op("put_if_absent", value, result, call_ns, return_ns)


def swap(
    expected: str, value: str, call_ns: int, return_ns: int | None, result: Value = None
) -> Operation:
    return op("put_if_match", (expected, value), result, call_ns, return_ns)


def exists(there: bool, call_ns: int, return_ns: int) -> Operation:
    return op("exists", None, there, call_ns, return_ns)


def shown(prefix: str, names: tuple[str, ...], call_ns: int, return_ns: int | None) -> Operation:
    return op("list", prefix, names, call_ns, return_ns, key="b/")


GOOD = {
    "nothing": [],
    "read what was written": [put("a", 0, 1), get("a", 2, 3)],
    "absent before the first put": [get(None, 0, 1), exists(False, 0, 1), put("a", 2, 3)],
    "a read during a put sees the old": [put("a", 0, 1), put("b", 2, 9), get("a", 3, 4)],
    "a read during a put sees the new": [put("a", 0, 1), put("b", 2, 9), get("b", 3, 4)],
    "old, then new, during one put": [
        put("a", 0, 1),
        put("b", 2, 9),
        get("a", 3, 4),
        get("b", 5, 6),
    ],
    "one winner of a conditional put": [
        put("a", 0, 1),
        swap("a", "b", 2, 6),
        swap("a", "c", 3, 7, REFUSED),
        get("b", 8, 9),
    ],
    "one winner of a creation": [create("a", 0, 5), create("b", 1, 6, REFUSED), get("a", 7, 8)],
    "refused before the delete": [
        put("a", 0, 1),
        create("b", 2, 8, REFUSED),
        delete(3, 9),
        get(None, 10, 11),
    ],
    "refused: the name does not exist": [swap("a", "b", 0, 1, REFUSED)],
    "created anew after a delete": [
        create("a", 0, 1),
        delete(2, 3),
        create("b", 4, 5),
        get("b", 6, 7),
    ],
    "a delete refused before the put": [
        put("a", 1, 9),
        op("delete", None, REFUSED, 0, 5),
        get("a", 10, 11),
    ],
    "a delete of nothing": [delete(0, 1), get(None, 2, 3)],
    "version ids grow": [put("a", 0, 1, 1), put("b", 2, 3, 5), get("b", 4, 5)],
    "version ids order concurrent puts": [put("a", 0, 9, 2), put("b", 1, 8, 1), get("a", 10, 11)],
    "version ids of three parts": [put("a", 0, 1, (7, 1, 2)), put("b", 2, 3, (8, 0, 0))],
    "a put without version id between": [put("a", 0, 1, 1), put("b", 2, 3), put("c", 4, 5, 2)],
    "an unknown put takes effect late": [
        put("a", 0, None),
        put("b", 1, 2),
        get("b", 3, 4),
        get("a", 90, 91),
        get("a", 92, 93),
    ],
    "an unknown put never does": [
        put("a", 0, None),
        get(None, 1, 2),
        put("b", 3, 4),
        get("b", 5, 6),
    ],
    "an unknown delete takes effect late": [
        put("a", 0, 1),
        delete(2, None),
        get("a", 3, 4),
        get(None, 5, 6),
    ],
    "an unknown put explains a refusal": [
        put("a", 0, None),
        create("b", 1, 2, REFUSED),
        delete(3, 4),
        exists(False, 5, 6),
    ],
    "an unknown conditional put waits for its condition": [
        swap("a", "b", 0, None),
        get(None, 1, 2),
        put("a", 3, 4),
        get("a", 5, 6),
        get("b", 7, 8),
    ],
    "two unknown puts, both seen": [
        put("a", 0, None),
        put("b", 1, None),
        get("b", 2, 3),
        get("a", 4, 5),
    ],
    "one content put twice": [
        put("a", 0, 1),
        put("b", 2, 3),
        get("b", 4, 5),
        put("a", 6, 7),
        get("a", 8, 9),
    ],
    "a LIST shows what is there": [put("a", 0, 1), shown("", ("n",), 2, 3)],
    "a LIST during a put shows it": [put("a", 0, 9), shown("", ("n",), 2, 3)],
    "a LIST during a put does not": [put("a", 0, 9), shown("n", (), 2, 3)],
    "a LIST of another prefix does not": [put("a", 0, 1), shown("x", (), 2, 3)],
    "a LIST of another bucket does not": [
        put("a", 0, 1),
        replace(shown("", (), 2, 3), key="other/"),
    ],
    "an unanswered LIST says nothing": [
        put("a", 0, 1),
        replace(shown("", (), 2, None), result=None),
    ],
}

BAD = {
    "stale read": [put("a", 0, 1), put("b", 2, 3), get("a", 4, 5)],
    "new, then old, during one put": [
        put("a", 0, 1),
        put("b", 2, 9),
        get("b", 3, 4),
        get("a", 5, 6),
    ],
    "a head that is stale": [put("a", 0, 1), put("b", 2, 3), op("head", None, "a", 4, 5)],
    "absent although put": [put("a", 0, 1), get(None, 2, 3)],
    "lost update": [put("a", 0, 1), swap("a", "b", 2, 3), get("a", 4, 5)],
    "lost update: both saw the same": [put("a", 0, 1), swap("a", "b", 2, 6), swap("a", "c", 3, 7)],
    "two winners of one creation": [create("a", 0, 5), create("b", 1, 6)],
    "refused although the condition held": [
        put("a", 0, 1),
        swap("a", "b", 2, 3, REFUSED),
        get("a", 4, 5),
    ],
    "refused although absent": [create("a", 0, 1, REFUSED)],
    "a conditional put of an absent name": [swap("a", "b", 0, 1)],
    "phantom: read before it was put": [get("a", 0, 1), put("a", 2, 3)],
    "never written": [put("a", 0, 1), get("x", 0, 9)],
    "what was refused is read": [
        put("a", 0, 1),
        create("b", 2, 3, REFUSED),
        get("b", 4, 5),
    ],
    "resurrected after a delete": [put("a", 0, 1), delete(2, 3), get("a", 4, 5)],
    "a delete refused of what is there": [
        put("a", 0, 1),
        op("delete", None, REFUSED, 2, 3),
    ],
    "a delete that did nothing": [put("a", 0, 1), delete(2, 3), exists(True, 4, 5)],
    "version ids go back": [put("a", 0, 1, 2), put("b", 2, 3, 1)],
    "a version id given twice": [put("a", 0, 9, 1), put("b", 1, 8, 1)],
    "version ids of two kinds": [put("a", 0, 1, 1), put("b", 2, 3, "2")],
    "version ids against what is read": [
        put("a", 0, 9, 2),
        put("b", 1, 8, 1),
        get("b", 10, 11),
    ],
    "version ids go back over a delete": [
        put("a", 0, 1, 5),
        op("delete", None, 6, 2, 3),
        create("b", 4, 5, 6),
    ],
    "an unknown put undone": [put("a", 0, 1), put("b", 2, None), get("b", 3, 4), get("a", 5, 6)],
    "an unknown put twice": [
        put("a", 0, None),
        get("a", 1, 2),
        put("b", 3, 4),
        get("a", 5, 6),
    ],
    "an unknown put before it was called": [get("a", 0, 1), put("a", 2, None)],
    "an unknown conditional put without its condition": [
        swap("a", "b", 0, None),
        put("c", 1, 2),
        get("b", 3, 4),
    ],
    "an unknown delete undone": [
        put("a", 0, 1),
        delete(2, None),
        get(None, 3, 4),
        get("a", 5, 6),
    ],
    "a LIST misses a name": [put("a", 0, 1), shown("", (), 2, 3)],
    "a LIST shows a deleted name": [put("a", 0, 1), delete(2, 3), shown("n", ("n",), 4, 5)],
    "a LIST shows what comes later": [shown("", ("n",), 0, 1), put("a", 2, 3)],
    "a LIST invents a name": [put("a", 0, 1), shown("", ("m", "n"), 2, 3)],
    "a LIST shows a name without its prefix": [put("a", 0, 1), shown("m", ("n",), 2, 3)],
    "one LIST shows it, the next does not": [
        put("a", 0, 9),
        shown("", ("n",), 1, 2),
        shown("", (), 3, 4),
    ],
}


@pytest.mark.parametrize("rule", GOOD)
def test_good(rule: str) -> None:
    assert check(GOOD[rule], NAME).verdict is Verdict.OK


@pytest.mark.parametrize("rule", BAD)
def test_bad(rule: str) -> None:
    checked = check(BAD[rule], NAME)
    assert checked.verdict is Verdict.BAD
    assert checked.explanation is not None and checked.explanation.key == checked.key
    assert checked.explanation.stuck


def test_names_are_independent() -> None:
    other = replace(get(None, 2, 3), key="b/other")
    assert check([put("a", 0, 1), other], NAME).verdict is Verdict.OK
    checked = check([put("a", 0, 1), replace(get("a", 2, 3), key="b/other")], NAME)
    assert (checked.verdict, checked.key) == (Verdict.BAD, "b/other")


def test_explanation__longest_prefix_then_what_cannot_follow() -> None:
    fits = [put("a", 0, 1), get("a", 2, 3), put("b", 4, 5), get("b", 6, 7)]
    stale, during, later = get("a", 8, 9), put("c", 8, 99), get("c", 100, 101)
    explanation = check([later, stale, during, *fits], NAME).explanation
    assert explanation is not None
    assert explanation.prefix == tuple(fits)
    # What was not answered by then has no result yet.
    assert explanation.stuck == (stale, replace(during, return_ns=None))
    assert str(explanation).splitlines()[-4:] == [
        "then no place is left for",
        "  client 8: get -> 'a' [8..9 ns]",
        "while these ran, of which any or none may have taken effect:",
        "  client 8: put 'c' -> outcome unknown [8... ns]",
    ]


def test_expand_lists__each_name_with_the_prefix_once() -> None:
    listed = shown("n", ("n2", "n9"), 4, 5)
    expanded = expand_lists([put("a", 0, 1), listed], ["b/n2", "b/n1", "b/m", "c/n3", "b/n1"])
    assert expanded[0] == put("a", 0, 1)
    assert [(one.key, one.kind, one.result) for one in expanded[1:]] == [
        ("b/n1", "exists", False),
        ("b/n2", "exists", True),
        ("b/n9", "exists", True),
    ]
    assert all((one.call_ns, one.return_ns) == (4, 5) for one in expanded[1:])


@pytest.mark.parametrize(
    "operation",
    [
        op("rename", None, None, 0, 1),
        op("put", None, None, 0, 1),
        op("put", "a", REFUSED, 0, 1),
        op("put_if_match", "a", None, 0, 1),
        op("put_if_match", (None, "a"), None, 0, 1),
        op("exists", None, "yes", 0, 1),
        op("list", None, (), 0, 1),
        op("list", "", "n", 0, 1),
    ],
    ids=str,
)
def test_what_is_no_operation_of_the_model_is_refused(operation: Operation) -> None:
    with pytest.raises(MalformedHistory):
        check([operation], NAME)


def test_the_budget_ends_in_unknown__and_a_bad_name_is_bad_all_the_same() -> None:
    many = [put(f"v{i}", 0, 100) for i in range(8)]
    hard = [*many, *(get(f"v{i}", i + 1, 90) for i in range(8))]
    bad = replace(get("x", 0, 1), key="b/z")
    assert check(hard, NAME, budget_steps=5).verdict is Verdict.UNKNOWN
    assert check(hard, NAME, budget_steps=5).key == KEY
    assert check([*hard, bad], NAME, budget_steps=5).key == "b/z"
    assert check(hard, NAME).verdict is Verdict.OK
