"""target/opening.py: with which VDEVs a target starts, and when it does not start."""

from __future__ import annotations

import asyncio
import errno
import random
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, cast

import pytest

from replicast.disks import RealDisk
from replicast.metrics import Counters
from replicast.target.config import VdevPlace
from replicast.target.daemon import open_vdev
from replicast.target.opening import open_vdevs
from replicast.target.store.errors import (
    BadVersion,
    NotAVdev,
    VdevBusy,
    VdevError,
    WrongCluster,
)
from replicast.target.store.format import HEADER_NAME, LOG_NAME, format_vdev
from replicast.target.store.segment import BLOCK_BYTES
from replicast.target.store.vdev import Vdev

CLUSTER = b"cluster-16-bytes"
GONE = NotAVdev("no VDEV here")
EIO = OSError(errno.EIO, "Input/output error")


def opened(found: dict[str, Any], counters: Counters | None = None) -> list[Any]:
    """What comes of places of which each gives an object, or raises its error."""

    def open_one(place: VdevPlace) -> Vdev:
        each = found[place.path.name]
        if isinstance(each, Exception):
            raise each
        return cast(Vdev, each)

    places = [VdevPlace(Path(name)) for name in found]
    return asyncio.run(open_vdevs(places, open_one, counters or Counters()))


@pytest.mark.parametrize("error", [GONE, VdevError("the index cannot be opened"), EIO])
def test_one_that_does_not_open__is_left_out_counted_and_named(
    error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    counters = Counters()
    assert opened({"v1": "first", "v2": error, "v3": "third"}, counters) == ["first", "third"]
    assert counters.values["vdevs_left_out", ()] == 1
    (record,) = caplog.records
    said = record.getMessage()
    assert record.levelname == "ERROR" and "in v2 is left out" in said and str(error) in said
    assert "restart the target" in said


def test_all_open__and_that_is_said_too(caplog: pytest.LogCaptureFixture) -> None:
    counters = Counters()
    assert opened({"v1": "first", "v2": "second"}, counters) == ["first", "second"]
    assert counters.values["vdevs_left_out", ()] == 0 and caplog.records == []


@pytest.mark.parametrize("kind", [VdevBusy, WrongCluster, BadVersion])
def test_a_wrong_disk_or_somebody_else_at_work__is_fatal(kind: type[VdevError]) -> None:
    with pytest.raises(kind):
        opened({"v1": "first", "v2": GONE, "v3": kind("v3")})


def test_not_one_opens__the_first_says_why() -> None:
    with pytest.raises(NotAVdev):
        opened({"v1": GONE, "v2": EIO})
    with pytest.raises(OSError):
        opened({"v1": EIO})


class Folders:
    """Two VDEVs on disk."""

    def __init__(self, base: Path, undo: ExitStack) -> None:
        self._base, self._undo = base, undo
        for number in (1, 2):
            format_vdev(RealDisk(), base / f"v{number}", CLUSTER, None, random.Random(number))

    def __truediv__(self, name: str) -> Path:
        return self._base / name

    def open(self) -> list[str]:
        """The names of those that a target would start with."""
        disk, places = RealDisk(), [VdevPlace(self._base / name) for name in ("v1", "v2")]
        found = asyncio.run(
            open_vdevs(places, lambda place: open_vdev(disk, place, CLUSTER), Counters())
        )
        for vdev in found:
            self._undo.callback(vdev.close)
        return [vdev.path.name for vdev in found]


@pytest.fixture
def folders(tmp_path: Path) -> Iterator[Folders]:
    with ExitStack() as undo:
        yield Folders(tmp_path, undo)


def test_folder__gone(folders: Folders) -> None:
    (folders / "v2").rename(folders / "elsewhere")
    assert folders.open() == ["v1"]


def test_folder__empty_as_where_nothing_is_mounted(folders: Folders) -> None:
    (folders / "v2").rename(folders / "elsewhere")
    (folders / "v2").mkdir()
    assert folders.open() == ["v1"]


def test_header__damaged_in_both_copies(folders: Folders) -> None:
    (folders / "v2" / HEADER_NAME).write_bytes(bytes(2 * BLOCK_BYTES))
    assert folders.open() == ["v1"]


def test_log__that_cannot_be_listed(folders: Folders) -> None:
    """Its open was counted already: the next one, with the log there, is one more."""
    (folders / "v2" / LOG_NAME).rename(folders / "log")
    assert folders.open() == ["v1"]


def test_both_sound(folders: Folders) -> None:
    assert folders.open() == ["v1", "v2"]


def test_open_elsewhere__is_fatal_though_another_one_is_only_left_out(folders: Folders) -> None:
    (folders / "v1").rename(folders / "elsewhere")
    lock = RealDisk().lock(folders / "v2")
    with pytest.raises(VdevBusy):
        folders.open()
    lock.close()
    assert folders.open() == ["v2"]
