"""The thread that writes flushes: both twins leave the same file, and say the same of what fails."""

from __future__ import annotations

import errno
import importlib
import mmap
import os
import random
import select
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replicast.native import PURE
from replicast.target.store import flush_writer_pure

FAST: Any = flush_writer_pure if PURE else importlib.import_module("replicast.native._flush_writer")
TWINS = [flush_writer_pure.FlushWriter, FAST.FlushWriter]
WAIT_MS = 60_000


class Bench:
    """A writer and its eventfd."""

    def __init__(self, twin: Any) -> None:
        self.notify_fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self.writer = twin(self.notify_fd)
        self._poll = select.poll()
        self._poll.register(self.notify_fd, select.POLLIN)

    def write(self, fd: int, offset: int, data: bytes) -> int:
        self.writer.submit(fd, offset, data)
        return self.wait()

    def wait(self) -> int:
        assert self._poll.poll(WAIT_MS)
        assert os.eventfd_read(self.notify_fd) == 1
        error = self.writer.take()
        assert isinstance(error, int)
        return error

    def close(self) -> None:
        self.writer.stop()
        os.close(self.notify_fd)


@contextmanager
def a_bench(twin: Any) -> Iterator[Bench]:
    bench = Bench(twin)
    try:
        yield bench
    finally:
        bench.close()


@pytest.fixture(params=TWINS, ids=["python", "fast"])
def bench(request: pytest.FixtureRequest) -> Iterator[Bench]:
    with a_bench(request.param) as bench:
        yield bench


def opened(kind: str, path: Path) -> int:
    """A descriptor on which a write does well, or not."""
    path.touch()
    if kind == "closed":
        return 1 << 20
    if kind == "pipe":
        reading, writing = os.pipe()
        os.close(reading)
        return writing
    flags = os.O_RDONLY if kind == "read-only" else os.O_RDWR
    return os.open("/dev/full" if kind == "full" else path, flags)


jobs = st.lists(
    st.tuples(
        st.sampled_from(["good", "good", "good", "closed", "read-only", "full", "pipe"]),
        st.integers(0, 20_000),
        st.sampled_from([1, 7, 4096, 70_000]),
    ),
    max_size=8,
)


@given(jobs)
def test_twins__write_the_same_and_fail_alike(
    tmp_path_factory: pytest.TempPathFactory, wanted: list[tuple[str, int, int]]
) -> None:
    found = []
    folder = tmp_path_factory.mktemp("writer")
    for twin in TWINS:
        path = folder / "file"
        path.write_bytes(b"")
        errors = []
        with a_bench(twin) as bench:
            for number, (kind, offset, size) in enumerate(wanted):
                fd = opened(kind, path)
                errors.append(bench.write(fd, offset, random.Random(number).randbytes(size)))
                if kind != "closed":
                    os.close(fd)
        found.append((errors, path.read_bytes()))
    assert found[0] == found[1]


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("good", 0),
        ("closed", errno.EBADF),
        ("read-only", errno.EBADF),
        ("full", errno.ENOSPC),
        ("pipe", errno.ESPIPE),
    ],
)
def test_take__says_how_it_ended_once(
    bench: Bench, tmp_path: Path, kind: str, expected: int
) -> None:
    fd = opened(kind, tmp_path / "file")
    assert bench.writer.take() is None
    assert bench.write(fd, 5, b"data") == expected
    assert bench.writer.take() is None
    assert (tmp_path / "file").read_bytes() == (b"\0\0\0\0\0data" if kind == "good" else b"")


def test_submit__one_at_a_time_and_only_bytes(bench: Bench, tmp_path: Path) -> None:
    fd = opened("good", tmp_path / "file")
    for wrong in (bytearray(b"x"), memoryview(b"x"), "x", None):
        with pytest.raises(TypeError):
            bench.writer.submit(fd, 0, wrong)
    bench.writer.submit(fd, 0, b"one")
    with pytest.raises(RuntimeError):  # also when it ended: nobody took it
        bench.writer.submit(fd, 0, b"two")
    assert bench.wait() == 0
    assert bench.write(fd, 0, b"three") == 0
    assert (tmp_path / "file").read_bytes() == b"three"


pieces_lists = st.lists(
    st.tuples(st.sampled_from([0, 1, 96, 4000, 4096, 8192, 20_480, 70_000]), st.booleans()),
    max_size=8,
)


@given(pieces_lists, st.sampled_from([0, 4096, 4104]), st.booleans())
def test_pieces__are_written_alike(
    tmp_path_factory: pytest.TempPathFactory,
    wanted: list[tuple[int, bool]],
    offset: int,
    direct: bool,
) -> None:
    """With O_DIRECT too where it must be refused: what is not whole blocks, or not at one."""
    path = tmp_path_factory.mktemp("pieces") / "file"
    pieces: list[bytes | memoryview] = []
    for number, (size, is_aligned) in enumerate(wanted):
        data = random.Random(number).randbytes(size)
        memory = memoryview(mmap.mmap(-1, max(1, size)))[:size]
        memory[:] = data
        pieces.append(memory if is_aligned else data)
    for twin in TWINS:
        path.write_bytes(b"")
        fd = os.open(path, os.O_RDWR)
        direct_fd = os.open(path, os.O_WRONLY | os.O_DIRECT) if direct else -1
        with a_bench(twin) as bench:
            bench.writer.submit_pieces(fd, direct_fd, offset, pieces)
            assert bench.wait() == 0
        written = b"".join(pieces)
        assert path.read_bytes() == (bytes(offset) + written if written else b"")
        os.close(fd)
        if direct:
            os.close(direct_fd)


@pytest.mark.parametrize("count", [999, 1000, 1001, 2500])
def test_pieces__more_than_one_call_takes(bench: Bench, tmp_path: Path, count: int) -> None:
    fd = opened("good", tmp_path / "file")
    direct_fd = os.open(tmp_path / "file", os.O_WRONLY | os.O_DIRECT)
    for descriptor in (-1, direct_fd):
        pieces: list[bytes | memoryview] = [bytes([i % 251]) * 8 for i in range(count)]
        pieces.append(bytes(-8 * count % 4096))
        bench.writer.submit_pieces(fd, descriptor, 0, pieces)
        assert bench.wait() == 0
        assert (tmp_path / "file").read_bytes() == b"".join(pieces)


@pytest.mark.parametrize(("kind", "expected"), [("closed", errno.EBADF), ("full", errno.ENOSPC)])
def test_pieces__that_cannot_be_written(
    bench: Bench, tmp_path: Path, kind: str, expected: int
) -> None:
    fd = opened(kind, tmp_path / "file")
    for direct_fd in (fd, -1):
        bench.writer.submit_pieces(fd, direct_fd, 0, [bytes(4096)])
        assert bench.wait() == expected


def test_pieces__are_pinned_until_they_were_taken(bench: Bench, tmp_path: Path) -> None:
    piece = bytearray(b"data")
    bench.writer.submit_pieces(opened("good", tmp_path / "file"), -1, 0, [memoryview(piece)])
    with pytest.raises(BufferError):
        piece.clear()
    with pytest.raises(RuntimeError):
        bench.writer.submit_pieces(0, -1, 0, [])
    assert bench.wait() == 0


def test_stop__waits_for_what_was_submitted(bench: Bench, tmp_path: Path) -> None:
    fd = opened("good", tmp_path / "file")
    bench.writer.submit(fd, 0, b"last" * 10_000)
    bench.writer.stop()
    assert bench.writer.take() == 0
    assert (tmp_path / "file").read_bytes() == b"last" * 10_000
    bench.writer.stop()
    with pytest.raises(RuntimeError):
        bench.writer.submit(fd, 0, b"more")


def test_data__is_kept_until_it_was_taken(bench: Bench, tmp_path: Path) -> None:
    fd = opened("good", tmp_path / "file")

    def make(number: int) -> bytes:
        return bytes([number]) * 100_000

    for number in range(50):
        bench.writer.submit(fd, 0, make(number))
        assert make(255 - number)  # would be put where it was
        assert bench.wait() == 0
        assert (tmp_path / "file").read_bytes() == make(number)


def test_eventfd__may_be_shared(tmp_path: Path) -> None:
    notify_fd = os.eventfd(0, os.EFD_CLOEXEC)
    writers = [twin(notify_fd) for twin in TWINS for _ in range(3)]
    for number, writer in enumerate(writers):
        writer.submit(opened("good", tmp_path / str(number)), 0, bytes([number]))
    seen = 0
    while seen < len(writers):
        seen += os.eventfd_read(notify_fd)  # waits
    assert [writer.take() for writer in writers] == [0] * len(writers)
    for number, writer in enumerate(writers):
        writer.stop()
        assert (tmp_path / str(number)).read_bytes() == bytes([number])
    os.close(notify_fd)
