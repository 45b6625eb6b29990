"""The simulated disk's file content is what a plain bytearray of the whole file would be."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replicast.memory_disk import Content

OFFSETS = st.integers(0, 40)
STEPS = st.one_of(
    st.tuples(st.just("put"), OFFSETS, st.binary(max_size=20)),
    st.tuples(st.just("resize"), OFFSETS, st.none()),
    st.tuples(st.just("flip"), OFFSETS, st.integers(0, 7)),
    st.tuples(st.just("read"), OFFSETS, OFFSETS),
    st.tuples(st.just("copy"), OFFSETS, st.none()),
)


@given(st.lists(STEPS, max_size=30))
def test_content__is_as_if_it_were_all_there(steps: list[tuple[str, int, Any]]) -> None:
    content, plain = Content(), bytearray()
    for what, offset, value in steps:
        if what == "put":
            content.put(offset, value)
            plain.extend(bytes(max(0, offset - len(plain))))
            plain[offset : offset + len(value)] = value
        elif what == "resize":
            content.resize(offset)
            del plain[offset:]
            plain.extend(bytes(offset - len(plain)))
        elif what == "flip" and offset < len(plain):
            content.flip_bit(offset, value)
            plain[offset] ^= 1 << value
        elif what == "read":
            assert content.read(offset, value) == plain[offset : offset + value]
        elif what == "copy":
            last, content = content, content.copy()
            last.put(offset, b"not in the copy")
        assert content.size == len(plain) and content.whole() == plain


def test_content__has_no_bit_behind_its_end() -> None:
    content = Content()
    content.resize(8)
    with pytest.raises(IndexError):
        content.flip_bit(8, 0)
