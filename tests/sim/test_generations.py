"""The checker of generations reports every planted breach, and nothing else."""

from __future__ import annotations

from replicast.sim.generations import Generations

A, B = b"a" * 32, b"b" * 32


def test_good_run__is_ok() -> None:
    checker = Generations()
    assert checker.adopting("t1", 1, 5, A) is None
    assert checker.adopting("t2", 1, 5, A) is None
    assert checker.reported("t1", 5) is None
    assert checker.adopting("t1", 1, 6, B) is None
    assert checker.adopting("t1", 2, 5, A) is None  # 6 was given up and never stored
    assert checker.verdict() == ("ok", [])


def test_nothing_seen__is_unknown() -> None:
    assert Generations().verdict()[0] == "unknown"


def test_two_digests_of_one_generation__are_a_fork() -> None:
    checker = Generations()
    checker.adopting("t1", 1, 5, A)
    assert "forked" in str(checker.adopting("c1", 1, 5, B))
    assert checker.verdict()[0] == "bad"


def test_lower_generation_within_a_life__is_bad() -> None:
    checker = Generations()
    checker.adopting("t1", 1, 5, A)
    checker.adopting("t1", 1, 6, B)
    assert "goes back" in str(checker.adopting("t1", 1, 5, A))
    assert checker.verdict()[0] == "bad"


def test_lower_generation_after_a_restart__is_bad_once_the_higher_was_reported() -> None:
    checker = Generations()
    checker.adopting("t1", 1, 5, A)
    checker.adopting("t1", 1, 6, B)
    checker.reported("t1", 6)
    assert "starts with generation 5" in str(checker.adopting("t1", 2, 5, A))


def test_report__of_less_than_before_or_of_a_table_that_nobody_has__is_bad() -> None:
    checker = Generations()
    checker.adopting("t1", 1, 6, B)
    checker.reported("t1", 6)
    assert "had reported 6" in str(checker.reported("t1", 5))
    assert "nobody adopted" in str(checker.reported("t2", 9))
