"""Both disks behave alike until power is lost; then the forgetful one keeps what was synced."""

from __future__ import annotations

import errno
import mmap
import os
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from replicast import disks, file_io
from replicast.disks import (
    DirectoryLock,
    ForgetfulDisk,
    LockableDisk,
    RealDisk,
    disk_named,
)
from replicast.fast_file_io import map_cached, read_cached, write_synced
from replicast.file_io import BLOCK_BYTES, MAP_FROM_BYTES, write_fully

ReadCached = Callable[[int, int, int], bytes | None]
MapCached = Callable[[int, int, int], Any]
WriteSynced = Callable[[int, int, bytes], None]

BOTH = pytest.mark.parametrize("disk", [RealDisk(), ForgetfulDisk()], ids=["real", "forgetful"])


@BOTH
def test_file__reads_back_what_was_written_in_pieces(disk: LockableDisk, tmp_path: Path) -> None:
    data = random.Random(1).randbytes(20_000)
    file = disk.open(tmp_path / "a", create=True)
    file.write(100, [data[:5000], memoryview(data)[5000:5001], b"", data[5001:]])
    assert file.size() == 20_100
    assert file.read(0, 30_000) == bytes(100) + data
    file.sync()
    file.write(4090, [b"across blocks"])
    assert (
        file.read(4085, 20)
        == (bytes(100) + data)[4085:4090] + b"across blocks" + ((bytes(100) + data)[4103:4105])
    )


@BOTH
def test_file__truncate_and_allocate(disk: LockableDisk, tmp_path: Path) -> None:
    file = disk.open(tmp_path / "a", create=True)
    file.write(0, [b"x" * 10_000])
    file.truncate(5000)
    file.allocate(12_000)
    file.sync()
    assert file.size() == 12_000
    assert file.read(0, 12_000) == b"x" * 5000 + bytes(7000)


@BOTH
def test_disk__names(disk: LockableDisk, tmp_path: Path) -> None:
    disk.make_directory(tmp_path / "d")
    for name in ("a", "b"):
        disk.open(tmp_path / "d" / name, create=True).sync()
    disk.rename(tmp_path / "d" / "a", tmp_path / "d" / "c")
    disk.remove(tmp_path / "d" / "b")
    disk.sync_directory(tmp_path / "d")
    assert disk.list(tmp_path / "d") == ["c"]
    assert [path.name for path in (tmp_path / "d").iterdir()] == ["c"]
    with pytest.raises(FileNotFoundError):
        disk.open(tmp_path / "d" / "a")
    assert disk.free_bytes(tmp_path) > 0


@BOTH
def test_lock__second_opener_is_refused(disk: LockableDisk, tmp_path: Path) -> None:
    lock = disk.lock(tmp_path)
    with pytest.raises(BlockingIOError):
        DirectoryLock(tmp_path)
    lock.close()
    disk.lock(tmp_path).close()


@BOTH
def test_file__grows_with_zeros_after_truncate(disk: LockableDisk, tmp_path: Path) -> None:
    file = disk.open(tmp_path / "a", create=True)
    file.write(0, [b"x" * 20_000])
    file.sync()
    file.truncate(6000)
    file.write(15_000, [b"y"])
    want = b"x" * 6000 + bytes(9000) + b"y"
    assert file.read(0, 30_000) == want
    file.sync()
    disk.sync_directory(tmp_path)
    assert file.read(0, 30_000) == want == (tmp_path / "a").read_bytes()


def test_power_loss__keeps_exactly_what_was_synced(tmp_path: Path) -> None:
    disk = ForgetfulDisk()
    kept = disk.open(tmp_path / "kept", create=True)
    kept.write(0, [b"synced"])
    kept.sync()
    disk.sync_directory(tmp_path)
    kept.write(0, [b"unsync"])
    kept.write(9000, [b"far"])
    disk.open(tmp_path / "unborn", create=True).sync()  # its directory was not synced
    disk.power_loss()
    with pytest.raises(OSError):
        kept.read(0, 1)
    assert disk.list(tmp_path) == ["kept"]
    assert disk.open(tmp_path / "kept").read(0, 100) == b"synced"
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]


def test_power_loss__rename_without_directory_sync_is_undone(tmp_path: Path) -> None:
    disk = ForgetfulDisk()
    for name, text in (("old", b"1"), ("new", b"2")):
        file = disk.open(tmp_path / name, create=True)
        file.write(0, [text])
        file.sync()
    disk.sync_directory(tmp_path)
    disk.rename(tmp_path / "new", tmp_path / "old")
    assert disk.open(tmp_path / "old").read(0, 1) == b"2"
    disk.power_loss()
    assert disk.list(tmp_path) == ["new", "old"]
    assert disk.open(tmp_path / "old").read(0, 1) == b"1"


def test_forgetful__another_process_sees_only_what_was_synced(tmp_path: Path) -> None:
    disk = ForgetfulDisk()
    file = disk.open(tmp_path / "a", create=True)
    file.write(0, [b"data"])
    assert not (tmp_path / "a").exists()
    file.sync()
    disk.sync_directory(tmp_path)
    assert (tmp_path / "a").read_bytes() == b"data"


def test_write_fully__carries_on_after_short_writes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.pwritev
    monkeypatch.setattr(
        os, "pwritev", lambda fd, pieces, at: real(fd, [memoryview(pieces[0])[:7]], at)
    )
    data = random.Random(2).randbytes(100)
    with open(tmp_path / "a", "wb") as file:
        write_fully(file.fileno(), 3, [data[:33], data[33:]])
    assert (tmp_path / "a").read_bytes() == bytes(3) + data


@BOTH
@pytest.mark.parametrize("sizes", [[5], [4096], [300, 4000], [disks.DIRECT_ABOVE_BYTES]], ids=str)
def test_write_synced__is_write_and_sync(
    disk: LockableDisk, tmp_path: Path, sizes: list[int]
) -> None:
    pieces: list[bytes | memoryview] = [random.Random(3).randbytes(size) for size in sizes]
    file = disk.open(tmp_path / "a", create=True)
    disk.sync_directory(tmp_path)
    file.write_synced(4096, pieces)
    if isinstance(disk, ForgetfulDisk):
        disk.power_loss()
    assert (tmp_path / "a").read_bytes() == bytes(4096) + b"".join(pieces)


@pytest.mark.parametrize("twin", [file_io.write_synced, write_synced], ids=["pure", "chosen"])
def test_write_synced__fails_as_the_system_says(twin: WriteSynced, tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"data")
    fd = os.open(path, os.O_RDONLY)
    with pytest.raises(OSError) as caught:
        twin(fd, 0, b"new")
    os.close(fd)
    assert caught.value.errno == errno.EBADF
    assert path.read_bytes() == b"data"


@pytest.mark.parametrize("twin", [file_io.write_synced, write_synced], ids=["pure", "chosen"])
def test_write_synced__carries_on_after_a_short_write(twin: WriteSynced, tmp_path: Path) -> None:
    """A file size limit ends a write short; the rest is told why."""
    script = (
        "import errno, os, resource, signal, sys\n"
        f"from {twin.__module__} import write_synced\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))\n"
        "fd = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT)\n"
        "try:\n    write_synced(fd, 0, bytes(8192))\n"
        "except OSError as error:\n    sys.exit(error.errno != errno.EFBIG)\n"
        "sys.exit(2)\n"
    )
    run = subprocess.run([sys.executable, "-c", script, str(tmp_path / "a")], check=False)
    assert run.returncode == 0
    assert (tmp_path / "a").read_bytes() == bytes(5000)


@pytest.mark.parametrize("twin", [file_io.read_cached, read_cached], ids=["pure", "chosen"])
def test_read_cached__all_or_nothing(twin: ReadCached, tmp_path: Path) -> None:
    path, data = tmp_path / "a", random.Random(9).randbytes(3 * BLOCK_BYTES + 700)
    path.write_bytes(data)  # and thereby in the page cache, if the file system can tell at all
    fd = os.open(path, os.O_RDWR)
    assert twin(fd, 5, 9000) in (data[5:9005], None)
    assert twin(fd, len(data) - 10, 11) is None
    assert twin(fd, len(data) + 1, 1) is None
    assert twin(fd, 0, 0) in (b"", None)
    os.close(fd)
    with pytest.raises(OSError) as caught:
        twin(fd, 0, 10)
    assert caught.value.errno == errno.EBADF


@pytest.mark.parametrize("twin", [file_io.map_cached, map_cached], ids=["pure", "chosen"])
def test_map_cached__all_or_nothing(twin: MapCached, tmp_path: Path) -> None:
    path, data = tmp_path / "a", random.Random(9).randbytes(MAP_FROM_BYTES + 3 * BLOCK_BYTES + 700)
    path.write_bytes(data)  # and thereby in the page cache, if the file system can tell at all
    fd = os.open(path, os.O_RDWR)
    size = len(data)
    places = ((0, size), (5, size - 5), (4096, MAP_FROM_BYTES), (9, MAP_FROM_BYTES - 1), (0, 0))
    for offset, length in places:
        found = twin(fd, offset, length)
        assert found is None or memoryview(found).readonly
        assert found is None or bytes(found) == data[offset : offset + length]
    assert twin(fd, 1, size) is None
    assert twin(fd, size + 1, MAP_FROM_BYTES) is None
    kept = twin(fd, 700, MAP_FROM_BYTES)
    os.close(fd)
    path.unlink()
    assert kept is None or bytes(kept) == data[700 : 700 + MAP_FROM_BYTES], "it needs no file"
    with pytest.raises(OSError) as caught:
        twin(fd, 0, MAP_FROM_BYTES)
    assert caught.value.errno == errno.EBADF


def test_disk_named__unknown() -> None:
    assert isinstance(disk_named("forgetful"), ForgetfulDisk)
    with pytest.raises(ValueError):
        disk_named("floppy")


@pytest.mark.parametrize("direct", [True, False])
def test_large_writes__from_aligned_and_ragged_pieces(tmp_path: Path, direct: bool) -> None:
    file = RealDisk(direct=direct).open(tmp_path / "a", create=True)
    rng = random.Random(3)
    aligned = memoryview(mmap.mmap(-1, 300_000))
    aligned[:] = rng.randbytes(300_000)
    odd = memoryview(bytearray(rng.randbytes(100_001)))
    head, small = rng.randbytes(BLOCK_BYTES), rng.randbytes(77)
    gap = bytes(-(300_000 + 77) % BLOCK_BYTES)
    end = bytes(-100_001 % BLOCK_BYTES)
    pieces: list[bytes | memoryview] = [
        head,
        aligned,
        small,
        gap,
        odd[:50_000],
        odd[50_000:],
        end,
        b"",
    ]
    for offset in (0, 10 * BLOCK_BYTES, 5):
        file.write(offset, pieces)
        file.sync()
        want = b"".join(pieces)
        assert file.read(offset, len(want)) == want
    assert file.size() == 10 * BLOCK_BYTES + len(want)


def device_reads() -> int:
    for line in Path("/proc/self/io").read_text().splitlines():
        if line.startswith("read_bytes:"):
            return int(line.split()[1])
    raise AssertionError("no read_bytes")


@pytest.mark.parametrize("direct", [True, False])
def test_read_device__reads_the_device_although_the_page_is_cached(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, direct: bool
) -> None:
    """A few bytes in the middle of a page: dropping just them from the cache drops nothing."""
    data = random.Random(4).randbytes(3 * BLOCK_BYTES)
    file = RealDisk().open(tmp_path / "a", create=True)
    file.write(0, [data])
    file.sync()
    if not direct:
        monkeypatch.setattr(disks, "read_direct", no_direct)
    with open(tmp_path / "a", "rb") as other:
        os.posix_fadvise(other.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    before = device_reads()
    assert file.read(0, len(data)) == data
    if device_reads() == before:
        pytest.skip("no device is read for files of this file system")
    before = device_reads()
    assert file.read_device(100, 50) == data[100:150]
    assert device_reads() >= before + BLOCK_BYTES


def no_direct(fd: int, offset: int, size: int) -> bytes:
    raise OSError(errno.EINVAL, "no O_DIRECT here")


@BOTH
@pytest.mark.parametrize(("offset", "size"), [(0, 1), (4095, 2), (5000, 9000), (9000, 9000)])
def test_read_device__any_range(disk: LockableDisk, tmp_path: Path, offset: int, size: int) -> None:
    data = random.Random(5).randbytes(10_000)
    file = disk.open(tmp_path / "a", create=True)
    file.write(0, [data])  # not synced yet: what is on its way counts
    assert file.read_device(offset, size) == data[offset : offset + size]
    file.sync()
    assert file.read_device(offset, size) == data[offset : offset + size]
    assert file.read_device(20_000, 10) == b""


def test_make_directory__each_new_name_is_durable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[str] = []
    real = os.fsync

    def fsync(fd: int) -> None:
        synced.append(os.readlink(f"/proc/self/fd/{fd}"))
        real(fd)

    monkeypatch.setattr(os, "fsync", fsync)
    RealDisk().make_directory(tmp_path / "a" / "b" / "c")
    assert synced == [str(tmp_path), str(tmp_path / "a"), str(tmp_path / "a" / "b")]
    RealDisk().make_directory(tmp_path / "a" / "b" / "c")
    assert len(synced) == 3


def test_write__to_a_file_that_could_only_be_opened_for_reading(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after a remount: the VDEV is read-only then, not broken."""
    (tmp_path / "a").write_bytes(b"data")
    monkeypatch.setattr(disks, "open_fd", lambda path, create: os.open(path, os.O_RDONLY))
    file = RealDisk().open(tmp_path / "a")
    for write in (file.write, file.write_synced):
        with pytest.raises(OSError) as caught:
            write(0, [b"new"])
        assert caught.value.errno == errno.EROFS
    assert file.read(0, 4) == b"data"
