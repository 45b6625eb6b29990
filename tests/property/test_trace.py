"""The hash of a run: both twins hash the same bytes, and show the same to a reader."""

from __future__ import annotations

import importlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replicast.native import PURE
from replicast.sim import trace_pure

FAST: Any = trace_pure if PURE else importlib.import_module("replicast.native._simworld")
TWINS = [trace_pure] if PURE else [trace_pure, FAST]
words = st.text(st.characters(codec="utf-8"), max_size=20)
sizes = st.one_of(st.integers(0, 60), st.sampled_from([65_000, 65_535, 65_536, 65_537, 200_000]))
datas = st.builds(lambda byte, size: bytes([byte]) * size, st.integers(0, 255), sizes)
mores = st.dictionaries(words, st.one_of(st.integers(), words, st.binary(max_size=9)), max_size=3)
events = st.tuples(st.integers(0, (1 << 63) - 1), words, words, datas, mores)


class Unshown:
    def __repr__(self) -> str:
        raise LookupError("nothing to show")


def seen(twin: Any, kept: bool, each: list[Any]) -> list[object]:
    shown: list[object] = []

    class Kept(twin.TraceHash):  # type: ignore[misc]
        def show(self, *event: object) -> None:
            shown.append(event)

    trace = Kept(kept)
    prints = []
    for number, event in enumerate(each):
        trace.add(*(event if event[4] else event[:4]))
        if number % 3 == 0:
            prints.append(trace.fingerprint())
    return [trace.kept, trace.count, trace.fingerprint(), prints, shown]


@given(st.booleans(), st.lists(events, max_size=12))
def test_trace__both_twins_hash_the_same(kept: bool, each: list[Any]) -> None:
    assert seen(trace_pure, kept, each) == seen(FAST, kept, each)


@pytest.mark.parametrize("twin", TWINS)
def test_trace__an_event_that_cannot_be_shown_is_counted_and_not_hashed(twin: Any) -> None:
    trace, empty = twin.TraceHash(False), twin.TraceHash(False).fingerprint()
    with pytest.raises(LookupError):
        trace.add(1, "t1", "start", b"x", {"what": Unshown()})
    with pytest.raises(UnicodeEncodeError):
        trace.add(1, "\ud800", "start", b"x")
    assert (trace.count, trace.fingerprint()) == (2, empty)
    trace.add(1, "t1", "start")
    assert trace.fingerprint() != empty
