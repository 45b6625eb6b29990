"""The model of bench/s3_soak.py sees wrong answers."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).resolve().parents[2] / "bench"))

from contents import Content
from s3_soak_model import (
    NULL,
    Body,
    Chain,
    Key,
    Mode,
    Races,
    Shared,
    Version,
    WrongAnswer,
)

ONE, TWO, THREE = (Body((Content(number, 100),)) for number in (1, 2, 3))


def version(id: str, body: Body | None) -> Version:
    return Version(id, body, "" if body is None else body.etag())


def key(mode: Mode, *versions: Version) -> Key:
    return Key("b", "k", mode, list(versions))


def test_shared__what_was_overwritten_before_the_read_began() -> None:
    shared = Shared("b", "k")
    first, second = shared.begin(ONE, 1), shared.begin(TWO, 1)
    shared.acknowledged(first, 3)
    assert shared.read(TWO.etag(), 2, 4) is TWO, "it is under way"
    shared.acknowledged(second, 5)
    assert shared.read(ONE.etag(), 6, 7) is ONE, "both orders may be"
    third = shared.begin(THREE, 8)
    assert shared.read(TWO.etag(), 6, 9) is TWO
    shared.acknowledged(third, 10)
    for etag in (ONE.etag(), "", '"never put"'):
        with pytest.raises(WrongAnswer):
            shared.read(etag, 11, 12)
    gone = shared.begin(None, 13)
    assert shared.read("", 14, 15) is None and shared.read(THREE.etag(), 14, 15) is THREE
    shared.acknowledged(gone, 16)
    with pytest.raises(WrongAnswer):
        shared.read(THREE.etag(), 17, 18)


def test_shared__what_one_read_has_shown_the_next_one_may_not_undo() -> None:
    shared = Shared("b", "k")
    shared.acknowledged(shared.begin(ONE, 1), 2)
    shared.begin(TWO, 3)  # and is never acknowledged
    assert shared.read(TWO.etag(), 4, 5) is TWO
    with pytest.raises(WrongAnswer):
        shared.read(ONE.etag(), 6, 7)


def test_chain__a_link_is_lost_or_a_read_is_old() -> None:
    chain = Chain("b", "k")
    chain.won("a", "b")
    with pytest.raises(WrongAnswer):
        chain.won("a", "c")
    chain.read("a", 0)  # the read began before
    with pytest.raises(WrongAnswer):
        chain.read("a", 1)
    chain.refused("d")
    with pytest.raises(WrongAnswer):
        chain.read("d", 1)


def test_race__two_winners() -> None:
    races = Races("b", 3)
    assert {races.enter(), races.enter()} == {"race/00000"}
    races.won("race/00000", ONE)
    with pytest.raises(WrongAnswer):
        races.won("race/00000", TWO)


def test_key__as_buckets_keep_versions() -> None:
    one = key(Mode.SUSPENDED, version("v1", ONE))
    one.put(version(NULL, TWO))
    one.put(version(NULL, None))
    assert [v.id for v in one.versions] == [NULL, "v1"] and one.newest is None
    one.remove(NULL)
    assert one.newest == version("v1", ONE)


def test_settle__nothing_but_what_may_be() -> None:
    first, second = version("v1", ONE), version("v2", TWO)
    listed = [Version(v.id, Body(()), v.etag) for v in (second, first)]
    key(Mode.ENABLED, second, first).settle(listed)
    for wrong in (listed[:1], listed[::-1], [Version("v3", Body(()), THREE.etag()), *listed]):
        with pytest.raises(WrongAnswer):
            key(Mode.ENABLED, second, first).settle(wrong)


def test_settle__what_is_unclear_is_taken_as_it_is() -> None:
    one = key(Mode.ENABLED, version("v1", ONE))
    one.perhaps(version("", TWO))
    one.perhaps_gone("v1")
    one.settle([Version("v2", Body(()), TWO.etag())])
    assert one.versions == [Version("v2", TWO, TWO.etag())] and not one.unclear
    replaced = key(Mode.OFF, version(NULL, ONE))
    replaced.perhaps(version("", TWO))
    replaced.settle([Version(NULL, Body(()), TWO.etag())])
    assert replaced.newest is not None and replaced.newest.body is TWO
