"""The ordered key/value space against a plain dictionary, on LMDB and in memory."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from replicast.target.store.lmdb_checkpoint import LONG_KEY_BYTES, LmdbCheckpoint
from replicast.target.store.overlay import Checkpoint, MemoryCheckpoint, Overlay

SHORT = st.binary(min_size=1, max_size=3)
# Keys around the longest that LMDB is given whole, with few differences among them.
LONG = st.builds(
    lambda base, extra, tail: (b"n" * (base + LONG_KEY_BYTES - 2))[: LONG_KEY_BYTES + extra] + tail,
    st.integers(0, 4),
    st.integers(-2, 3),
    st.binary(max_size=2),
)
# On both sides of where the keys of one group end and those of the next begin.
GROUPED = st.builds(
    lambda kind, same, tail: kind + b"\1" * same + tail,
    st.sampled_from([b"c", b"i", b"r", b"s", b"v", b"w"]),
    st.sampled_from([0, 3, 4, 11, 12]),
    st.lists(st.sampled_from([b"\0", b"\1", b"\2"]), max_size=2).map(b"".join),
)
KEYS = SHORT | LONG | GROUPED
CHANGES = st.lists(
    st.tuples(KEYS, st.none() | st.binary(max_size=4))
    | st.sampled_from(["freeze", "commit", "fail"]),
    max_size=40,
)


def check(kv: Overlay, model: dict[bytes, bytes], start: bytes, end: bytes, limit: int) -> None:
    wanted = [(k, model[k]) for k in sorted(model) if start <= k < end][:limit]
    assert kv.scan(start, end, limit) == wanted
    assert kv.first(start, end) == (wanted[0] if wanted else None)
    for key in model:
        assert kv.get(key) == model[key]


@pytest.mark.parametrize("kind", ["lmdb", "memory"])
def test_overlay__behaves_like_a_sorted_dictionary(kind: str) -> None:
    @settings(max_examples=50 if kind == "lmdb" else 150)
    @given(CHANGES, KEYS, KEYS, st.integers(1, 6))
    def inner(changes: list[object], start: bytes, end: bytes, limit: int) -> None:
        with tempfile.TemporaryDirectory() as directory:
            make: Callable[[], Checkpoint] = MemoryCheckpoint
            if kind == "lmdb":
                make = lambda: LmdbCheckpoint(Path(directory))  # noqa: E731
            run(make(), changes, start, end, limit)

    inner()


def run(
    checkpoint: Checkpoint, changes: list[object], start: bytes, end: bytes, limit: int
) -> None:
    kv, model = Overlay(checkpoint), dict[bytes, bytes]()
    keys = {change[0] for change in changes if isinstance(change, tuple)}
    frozen = False
    for change in changes:
        if not isinstance(change, tuple) and not frozen:
            kv.freeze()
            frozen = True
            check(kv, model, start, end, limit)
        if change in ("commit", "fail"):
            kv.commit() if change == "commit" else kv._thaw(False)
            frozen = False
        elif isinstance(change, tuple):
            key, value = change
            if value is None:
                kv.delete(key)
                model.pop(key, None)
            else:
                kv.put(key, value)
                model[key] = value
        check(kv, model, start, end, limit)
        assert all(kv.get(key) == model.get(key) for key in keys)
        for key in keys:
            assert kv.first(key, b"\xff") == min(
                (p for p in model.items() if p[0] >= key), default=None
            )
    check(kv, model, b"", b"\xff" * 600, 1000)
    kv.close()
