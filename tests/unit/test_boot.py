"""Boot numbers only grow, whatever the clock and the file say."""

from __future__ import annotations

from pathlib import Path

import pytest

from replicast.auth.boot import NS_PER_SECOND, next_boot_number
from replicast.disks import RealDisk


def test_next_boot_number__grows_when_the_clock_stands_or_goes_back(tmp_path: Path) -> None:
    path = tmp_path / "boot"
    clock = [1000, 1000, 500, 2000]
    numbers = [next_boot_number(RealDisk(), path, s * NS_PER_SECOND) for s in clock]
    assert numbers == [1000, 1001, 1002, 2000]


@pytest.mark.parametrize("damage", [b"", b"garbage", b"-5", b"99999999999", b"\xff\xfe"])
def test_next_boot_number__a_damaged_file_costs_nothing(tmp_path: Path, damage: bytes) -> None:
    path = tmp_path / "boot"
    path.write_bytes(damage)
    assert next_boot_number(RealDisk(), path, 3000 * NS_PER_SECOND) == 3000
    assert next_boot_number(RealDisk(), path, 0) == 3001
