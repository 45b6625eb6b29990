"""The checkers know null versions: at most one is there, and it ends when the next one is made."""

from __future__ import annotations

from replicast.sim.checkers import BAD, OK, check_linearizable

from .test_versions import Told

A, B, C, D = (10, 1, 0, 1), (20, 1, 0, 1), (30, 1, 0, 0), (40, 1, 0, 1)
GONE = "no removal explains it"


def two() -> Told:
    return Told().ok("put", "a", A).ok("put", "b", B)


def test_check_versions__a_null_version_takes_the_place_of_the_one_before() -> None:
    told = two().ok("versions", None, [(B, False)]).ok("get", None, "b").ok("get_null", None, "b")
    told.ok("get_version", A, None).ok("put", "c", C).ok("get_null", None, "b")
    told.ok("versions", None, [(C, False), (B, False)]).ok("get", None, "c")
    told.ok("delete", None, D).ok("versions", None, [(D, True), (C, False)])
    told.ok("get_null", None, None).ok("get", None, None)
    assert told.problems() == []
    assert check_linearizable(told.history) == (OK, [])


def test_check_versions__two_null_versions_in_a_list() -> None:
    told = two().ok("versions", None, [(B, False), (A, False)])
    assert any("more than one null version" in problem for problem in told.problems())


def test_check_versions__a_superseded_one_comes_back() -> None:
    assert GONE in two().ok("get_version", A, "a").problems()[0]
    assert GONE in two().ok("versions", None, [(A, False)]).problems()[0]
    assert GONE in two().ok("get_null", None, "a").problems()[0]
    assert GONE in two().ok("get", None, "a").problems()[0]


def test_check_versions__a_superseded_one_comes_back_after_the_later_one_was_seen() -> None:
    told = Told().ok("put", "a", A)
    later = told.begin("put", "b")
    told.ok("versions", None, [(B, False)]).ok("get_version", A, "a").end(later, B)
    assert GONE in told.problems()[0]


def test_check_versions__an_acknowledged_null_version_is_lost() -> None:
    assert GONE in Told().ok("put", "a", A).ok("versions", None, []).problems()[0]
    told = Told().ok("put", "a", A).ok("put", "c", C).ok("versions", None, [(C, False)])
    assert GONE in told.problems()[0]  # a version with an id of its own supersedes none


def test_check_versions__a_version_of_its_own_is_superseded_by_none() -> None:
    told = Told().ok("put", "c", C).ok("put", "d", D).ok("versions", None, [(D, False)])
    assert GONE in told.problems()[0]


def test_check_versions__superseded_by_a_put_of_unknown_outcome() -> None:
    told = Told().ok("put", "a", A).lost("put", "b").ok("get_version", A, "a")
    told.ok("versions", None, [(B, False)]).ok("get_version", B, "b")
    assert told.problems() == []
    assert GONE in told.ok("get_version", A, "a").problems()[0]


def test_check_versions__removal_of_whichever_is_the_null_version() -> None:
    told = two().ok("put", "c", C).ok("remove_null", None, ("removed", B))
    told.ok("remove_null", None, "refused").ok("get_null", None, None)
    assert told.ok("versions", None, [(C, False)]).problems() == []
    assert "removed twice" in told.ok("remove_null", None, ("removed", B)).problems()[0]
    assert GONE in two().ok("remove_null", None, "refused").problems()[0]
    assert GONE in two().ok("remove_null", None, ("removed", A)).problems()[0]


def test_check_versions__get_null_of_a_version_with_an_id_of_its_own() -> None:
    told = Told().ok("put", "c", C).ok("get_null", None, "c")
    assert "not the null version" in told.problems()[0]


def test_check_linearizable__delete_where_versions_are_not_kept() -> None:
    told = two().ok("delete", None, ("removed", B)).ok("get", None, None)
    told.ok("versions", None, []).ok("delete", None, "refused")
    assert check_linearizable(told.history) == (OK, [])
    again = Told().ok("delete", None, ("removed", A))
    assert check_linearizable(again.history)[0] == BAD
    assert check_linearizable(two().ok("delete", None, ("removed", A)).history)[0] == BAD
    still = two().ok("delete", None, ("removed", B)).ok("get", None, "b")
    assert check_linearizable(still.history)[0] == BAD


def test_check_linearizable__delete_by_an_old_setting_uncovers() -> None:
    told = Told().ok("put", "c", C).ok("put", "d", D)
    told.ok("delete_by_setting", None, ("removed", D)).ok("get", None, "c")
    assert check_linearizable(told.history) == (OK, [])
    assert check_linearizable(told.ok("get", None, "d").history)[0] == BAD
