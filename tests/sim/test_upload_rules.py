"""The checker of uploads says no to answers that the contract forbids, and yes to the others."""

from __future__ import annotations

from typing import Any

from replicast.sim.checkers import BAD, OK, check_linearizable
from replicast.sim.history import History
from replicast.sim.uploads import check_uploads

OBJECT, KEY = "sim/m0", "upload u1"
A, B = (10, 1, 0, 0), (20, 1, 0, 0)
PARTS = ((1, "p1"), (2, "p2"))
WHOLE = ("u1", "v1", PARTS)


class Told:
    """A history, written down operation by operation; each takes 20 ns."""

    def __init__(self) -> None:
        self.history, self.now_ns = History("name"), 0

    def ok(self, kind: str, argument: Any, result: Any, key: str = KEY) -> Told:
        return self.end(self.begin(kind, argument, key), result)

    def begin(self, kind: str, argument: Any, key: str = KEY) -> int:
        self.now_ns += 10
        return self.history.invoke(1, key, kind, argument, self.now_ns)

    def end(self, token: int, result: Any) -> Told:
        self.now_ns += 10
        self.history.ok(token, result, self.now_ns)
        return self

    def lost(self, kind: str, argument: Any, key: str = KEY) -> Told:
        self.history.unknown(self.begin(kind, argument, key))
        return self

    def completed(self, result: Any, argument: Any = WHOLE) -> Told:
        return self.ok("complete", argument, result, OBJECT)

    def read(self, value: Any) -> Told:
        return self.ok("get", None, value, OBJECT)

    def wrong(self) -> str:
        return "\n".join(check_uploads(self.history.operations()))

    def judged(self) -> str:
        return check_linearizable(self.history)[0]


def two_parts() -> Told:
    told = Told().ok("create", "sim", "created").ok("part", (1, "p1"), "stored")
    return told.ok("part", (2, "p2"), "stored").ok("parts", None, PARTS)


def test_check_uploads__all_as_it_should_be() -> None:
    told = two_parts().ok("find", None, True).ok("uploads", None, ("u1",), "sim/").completed(A)
    told.read("v1").completed("refused").ok("completed", "u1", A, OBJECT).completed(A)
    told.ok("find", None, "refused").ok("abort", None, "refused").ok("parts", None, "refused")
    told.ok("uploads", None, (), "sim/").ok("versions", None, ((A, False),), OBJECT)
    assert told.wrong() == "" and told.judged() == OK


def test_check_uploads__completed_twice() -> None:
    told = two_parts().completed(A).completed(B)
    assert "more than one version" in told.wrong() and told.judged() == BAD


def test_check_uploads__two_versions_of_one_upload_of_which_one_was_told() -> None:
    told = two_parts().lost("complete", WHOLE, OBJECT).completed(B)
    assert told.wrong() == ""
    told.ok("versions", None, ((B, False), (A, False)), OBJECT)
    assert told.judged() == BAD


def test_check_uploads__completed_with_other_parts_than_the_one_that_was_told() -> None:
    other = ("u1", "v2", PARTS[:1])
    told = two_parts().lost("complete", other, OBJECT).completed(A).read("v1")
    assert told.judged() == OK
    assert told.read("v2").judged() == BAD


def test_check_uploads__aborted_and_completed() -> None:
    told = two_parts()
    aborting = told.begin("abort", None)
    told.completed(A).end(aborting, "aborted")
    assert "aborted and completed" in told.wrong()


def test_check_uploads__aborted_and_read() -> None:
    told = two_parts().lost("complete", WHOLE, OBJECT).ok("abort", None, "aborted")
    assert told.wrong() == "" and told.judged() == OK
    assert "was read" in told.read("v1").wrong() and told.judged() == BAD


def test_check_uploads__aborted_twice() -> None:
    told = two_parts().ok("abort", None, "aborted").ok("abort", None, "aborted")
    assert "aborted twice" in told.wrong()


def test_check_uploads__there_after_its_end() -> None:
    for kind, argument, result in (
        ("find", None, True),
        ("parts", None, PARTS),
        ("part", (3, "p3"), "stored"),
    ):
        ended = two_parts().completed(A).ok(kind, argument, result)
        assert "after its end" in ended.wrong()
        aborted = two_parts().ok("abort", None, "aborted").ok(kind, argument, result)
        assert "after its end" in aborted.wrong()
    assert "after its end" in two_parts().completed(A).ok("uploads", None, ("u1",), "sim/").wrong()


def test_check_uploads__not_there_though_nobody_ended_it() -> None:
    for kind, argument in (("find", None), ("parts", None), ("part", (3, "p3")), ("abort", None)):
        assert "nobody ended it" in two_parts().ok(kind, argument, "refused").wrong()
    assert "nobody ended it" in two_parts().ok("uploads", None, (), "sim/").wrong()
    assert two_parts().ok("uploads", None, (), "another/").wrong() == ""


def test_check_uploads__a_list_without_the_part_that_was_put_last() -> None:
    again = two_parts().ok("part", (1, "p3"), "stored")
    assert again.ok("parts", None, ((1, "p3"), (2, "p2"))).wrong() == ""
    assert "parts:" in again.ok("parts", None, PARTS).wrong()
    assert "parts:" in two_parts().ok("parts", None, PARTS[:1]).wrong()
    assert "parts:" in two_parts().ok("parts", None, (*PARTS, (3, "p3"))).wrong()


def test_check_uploads__a_part_of_unknown_outcome() -> None:
    told = two_parts().lost("part", (1, "p3")).ok("parts", None, PARTS)
    told.ok("parts", None, ((1, "p3"), (2, "p2")))
    assert told.wrong() == ""
    assert "parts:" in told.ok("parts", None, PARTS).wrong()


def test_check_uploads__completed_with_a_part_that_was_replaced() -> None:
    told = two_parts().ok("part", (1, "p3"), "stored")
    assert "parts:" in told.completed(A).wrong()
    new = two_parts().ok("part", (1, "p3"), "stored")
    assert new.completed(A, ("u1", "v2", ((1, "p3"), (2, "p2")))).wrong() == ""
