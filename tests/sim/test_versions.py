"""The checker of versions says no to answers that the contract forbids, and yes to the others."""

from __future__ import annotations

from replicast.sim.checkers import BAD, OK, check_history
from replicast.sim.history import History
from replicast.sim.versions import check_versions

KEY = "sim/v1"
A, B, C = (10, 1, 0), (20, 1, 0), (30, 1, 0)


class Told:
    """A history, written down operation by operation; each takes 10 ns."""

    def __init__(self) -> None:
        self.history = History("name")
        self.now_ns = 0

    def ok(self, kind: str, argument: object, result: object) -> Told:
        token = self.begin(kind, argument)
        return self.end(token, result)

    def begin(self, kind: str, argument: object) -> int:
        self.now_ns += 10
        return self.history.invoke(1, KEY, kind, argument, self.now_ns)  # type: ignore[arg-type]

    def end(self, token: int, result: object) -> Told:
        self.now_ns += 10
        self.history.ok(token, result, self.now_ns)  # type: ignore[arg-type]
        return self

    def lost(self, kind: str, argument: object) -> Told:
        self.history.unknown(self.begin(kind, argument))
        return self

    def problems(self) -> list[str]:
        return check_versions(self.history.operations())


def two() -> Told:
    return Told().ok("put", "a", A).ok("put", "b", B)


def test_check_versions__all_as_it_should_be() -> None:
    told = two().ok("versions", None, [(B, False), (A, False)]).ok("get", None, "b")
    told.ok("get_version", A, "a").ok("delete", None, C).ok("get_version", C, None)
    told.ok("versions", None, [(C, True), (B, False), (A, False)])
    told.ok("remove_older", A, "removed").ok("get_version", A, None).ok(
        "remove_older", A, "refused"
    )
    assert told.problems() == []
    assert check_history(told.history) == (OK, [])


def test_check_versions__a_version_is_lost() -> None:
    assert "no removal explains it" in two().ok("get_version", A, None).problems()[0]


def test_check_versions__a_version_is_missing_in_the_list() -> None:
    assert "no removal explains it" in two().ok("versions", None, [(B, False)]).problems()[0]


def test_check_versions__all_versions_are_gone_in_the_end() -> None:
    assert len(two().ok("versions", None, []).problems()) == 2


def test_check_versions__order_of_the_list() -> None:
    assert "out of order" in two().ok("versions", None, [(A, False), (B, False)]).problems()[0]


def test_check_versions__other_bytes() -> None:
    assert "changed its content" in two().ok("get_version", A, "b").problems()[0]


def test_check_versions__removed_one_comes_back() -> None:
    told = two().ok("remove", A, "removed").ok("get_version", A, "a")
    assert "no removal explains it" in told.problems()[0]


def test_check_versions__removed_twice() -> None:
    told = two().ok("remove", A, "removed").ok("remove", A, "removed")
    assert "removed twice" in told.problems()[0]


def test_check_versions__removal_of_unknown_outcome_takes_effect_later() -> None:
    told = two().lost("remove", A).ok("get_version", A, "a").ok("get_version", A, None)
    assert told.problems() == []
    assert "no removal" in told.ok("get_version", A, "a").problems()[0]


def test_check_versions__put_of_unknown_outcome_takes_effect_later() -> None:
    told = Told().lost("put", "a").ok("versions", None, []).ok("versions", None, [(A, False)])
    assert told.ok("get_version", A, "a").problems() == []


def test_check_versions__put_of_unknown_outcome_takes_effect_twice() -> None:
    told = Told().lost("put", "a").ok("versions", None, [(B, False), (A, False)])
    problems = told.ok("get_version", A, "a").ok("get_version", B, "a").problems()
    assert any("was put 1 times" in problem for problem in problems)
    assert any("2 versions of 1 unknown outcomes" in problem for problem in problems)


def test_check_versions__a_version_that_nobody_made() -> None:
    told = two().ok("versions", None, [(C, False), (B, False), (A, False)])
    assert "before it was made" in told.problems()[0]


def test_check_versions__a_marker_that_nobody_made() -> None:
    told = two().lost("put", "c").ok("versions", None, [(C, True), (B, False), (A, False)])
    assert any("1 versions of 0 unknown outcomes" in problem for problem in told.problems())


def test_check_versions__one_id_for_two() -> None:
    assert "one version for two" in Told().ok("put", "a", A).ok("put", "b", A).problems()[0]


def test_check_versions__ids_against_time() -> None:
    assert "against time" in Told().ok("put", "a", B).ok("put", "b", A).problems()[0]


def test_check_versions__at_the_same_time_any_order() -> None:
    told = Told()
    first = told.begin("put", "a")
    told.ok("put", "b", A).end(first, B)
    assert told.ok("versions", None, [(B, False), (A, False)]).problems() == []


def test_check_versions__get_of_an_old_version() -> None:
    assert "no removal explains it" in two().ok("get", None, "a").problems()[0]


def test_check_versions__get_of_what_a_removal_uncovers() -> None:
    told = two().ok("remove", B, "removed").ok("get", None, "a")
    assert told.problems() == []
    assert check_history(told.history) == (OK, [])


def test_check_history__tells_of_versions() -> None:
    assert check_history(two().ok("versions", None, []).history)[0] == BAD


def test_check_history__name_model_still_judges_names_whose_older_versions_go() -> None:
    told = two().ok("remove_older", A, "removed").ok("get", None, None)
    assert check_history(told.history)[0] == BAD
