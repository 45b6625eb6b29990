"""replicast/wire/frame.py: one message in one ZeroMQ frame."""

from __future__ import annotations

import contextlib
import random

import pytest

from replicast.wire.chunk_messages import PayloadDone
from replicast.wire.codec import WireError
from replicast.wire.frame import HEADER, pack_frame, unpack_frame

DONE = PayloadDone(transfer_id=bytes(range(16)))


def test_round_trip() -> None:
    frame = pack_frame(DONE, b"o" * 16, 1 << 60)
    assert len(frame) == HEADER.size + 16
    assert unpack_frame(frame) == (DONE, b"o" * 16, 1 << 60)
    assert unpack_frame(memoryview(frame)) == (DONE, b"o" * 16, 1 << 60)


@pytest.mark.parametrize(
    ("frame", "reason"),
    [
        (b"", "truncated"),
        (pack_frame(DONE)[:20], "truncated"),
        (pack_frame(DONE)[:-1], "truncated"),
        (pack_frame(DONE) + b"x", "trailing"),
        (b"\xff" + pack_frame(DONE)[1:], "unknown_type"),
    ],
)
def test_unpack_frame__refuses_by_name(frame: bytes, reason: str) -> None:
    with pytest.raises(WireError) as caught:
        unpack_frame(frame)
    assert caught.value.reason == reason


def test_pack_frame__range() -> None:
    for operation_id, generation in ((b"short", 0), (bytes(16), 1 << 64), (bytes(16), -1)):
        with pytest.raises(WireError):
            pack_frame(DONE, operation_id, generation)


def test_unpack_frame__mutated_frames_raise_nothing_else() -> None:
    rng = random.Random(5)
    for _ in range(2000):
        frame = bytearray(pack_frame(DONE, rng.randbytes(16), rng.getrandbits(64)))
        for _ in range(rng.randrange(1, 4)):
            frame[rng.randrange(len(frame))] = rng.randrange(256)
        with contextlib.suppress(WireError):
            unpack_frame(bytes(frame[: rng.randrange(len(frame) + 1)]))
