"""target/names/position.py: positions are ordered as their fields are, and sent as they are."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from replicast.target.names.position import Position
from replicast.wire.codec import decode, encode
from replicast.wire.row_messages import RowApplied

U64_MAX = (1 << 64) - 1
FIELDS = st.tuples(*[st.integers(0, 2) | st.sampled_from((U64_MAX - 1, U64_MAX))] * 3)


@given(FIELDS, FIELDS)
def test_positions__are_ordered_field_by_field(
    first: tuple[int, int, int], second: tuple[int, int, int]
) -> None:
    one, other = Position(*first), Position(*second)
    assert (one < other, one <= other) == (first < second, first <= second)
    assert (one > other, one >= other) == (first > second, first >= second)
    assert (one == other, one != other) == (first == second, first != second)
    assert max(one, other) == Position(*max(first, second))
    assert first != second or hash(one) == hash(other)


@given(FIELDS)
def test_positions__are_sent_as_they_are(fields: tuple[int, int, int]) -> None:
    mark = RowApplied(time_ns=1, position=Position(*fields))
    assert decode(RowApplied.TYPE, encode(mark)) == mark
