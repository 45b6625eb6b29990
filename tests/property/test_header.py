"""The 80-byte header: round trips, mutated headers, both twins alike."""

from __future__ import annotations

import importlib
import os
import random
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from replicast.native import PURE
from replicast.wire import header_pure
from replicast.wire.codec import WireError
from replicast.wire.header import HEADER_BYTES, Header

FAST: Any = header_pure if PURE else importlib.import_module("replicast.native._header")
FUZZ_COUNT = int(os.environ.get("REPLICAST_FUZZ_COUNT", "20000"))
REASONS = {"short", "magic", "bad_version", "flags", "truncated", "trailing", "fragment"}
WIDTHS = {
    "type": 8,
    "flags": 8,
    "key_epoch": 8,
    "generation": 64,
    "sender": 64,
    "session": 64,
    "counter": 64,
    "fragment_index": 16,
    "fragment_count": 16,
    "body_bytes": 32,
}
BODY_BYTES_MAX = 2000
EXAMPLE = Header(11, 2, 1, 1 << 63, b"o" * 16, 2, 3, 4, 0, 1, 40)


def outcome(call: Any, *arguments: object) -> object:
    try:
        return call(*arguments)
    except WireError as error:
        return error.reason


def headers() -> st.SearchStrategy[Header]:
    values: dict[str, Any] = {name: st.integers(0, (1 << w) - 1) for name, w in WIDTHS.items()}
    values["flags"] = st.sampled_from([0, 1, 2, 5, 6, 8])
    values["operation_id"] = st.binary(min_size=16, max_size=16)
    values["body_bytes"] = st.integers(0, BODY_BYTES_MAX)
    return st.builds(Header, **values).filter(lambda h: h.fragment_index < h.fragment_count)


@given(headers())
def test_round_trip__both_twins(header: Header) -> None:
    packed = header_pure.pack_header(*header)
    assert packed == FAST.pack_header(*header)
    datagram = packed + bytes(16 + header.body_bytes)
    assert FAST.parse_header(datagram) == header == header_pure.parse_header(datagram)


def test_pack_header__refuses_what_does_not_fit() -> None:
    for name, width in WIDTHS.items():
        for value in (-1, 1 << width, None, 1.5, "1"):
            changed: dict[str, Any] = {name: value}
            header = EXAMPLE._replace(**changed)
            assert outcome(header_pure.pack_header, *header) == "range"
            assert outcome(FAST.pack_header, *header) == "range"
    for operation_id in (b"", b"x" * 15, b"x" * 17):
        header = EXAMPLE._replace(operation_id=operation_id)
        assert outcome(header_pure.pack_header, *header) == "range"
        assert outcome(FAST.pack_header, *header) == "range"


def test_mutated_headers__twins_agree() -> None:
    rng = random.Random(5)
    good = header_pure.pack_header(*EXAMPLE) + bytes(16 + EXAMPLE.body_bytes)
    for _ in range(FUZZ_COUNT):
        datagram = bytearray(good)
        datagram[rng.randrange(HEADER_BYTES)] = rng.getrandbits(8)
        if rng.random() < 0.3:
            datagram = datagram[: rng.randrange(len(good) + 1)]
        parsed = outcome(FAST.parse_header, bytes(datagram))
        assert parsed == outcome(header_pure.parse_header, bytes(datagram))
        assert isinstance(parsed, Header) or parsed in REASONS
