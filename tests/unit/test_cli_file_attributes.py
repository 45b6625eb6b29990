"""replicast/cli/file_attributes.py: mode and time of change as metadata."""

from __future__ import annotations

import os
import stat

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replicast.cli.file_attributes import attributes_of, mode_in, mtime_ns_in
from replicast.cli.files import writing


@given(st.integers(0, 0o777), st.integers(-9_999_999_999_999_999_999, 9_999_999_999_999_999_999))
def test_attributes__come_back(mode: int, time_ns: int) -> None:
    state = [0] * 10
    state[stat.ST_MODE] = stat.S_IFREG | stat.S_ISUID | mode
    found = attributes_of(os.stat_result(state, {"st_mtime_ns": time_ns}))
    assert mode_in(found) == mode
    assert mtime_ns_in(found) == time_ns


@pytest.mark.parametrize(
    ("text", "mode"),
    [("0644", 0o644), ("755", 0o755), ("0100644", None), ("4755", None), ("rw-", None), ("", None)],
)
def test_mode__only_permission_bits_are_read(text: str, mode: int | None) -> None:
    assert mode_in({"mode": text}) == mode


@pytest.mark.parametrize(
    ("text", "time_ns"),
    [
        ("1700000000", 1_700_000_000_000_000_000),
        ("1700000000.25", 1_700_000_000_250_000_000),
        ("-1.5", -1_500_000_000),
        ("1e9", None),
        ("2026-01-01T00:00:00Z", None),
        ("99999999999", None),
        ("1700000000.", None),
    ],
)
def test_mtime__what_is_no_number_of_seconds_is_left_alone(text: str, time_ns: int | None) -> None:
    assert mtime_ns_in({"mtime": text}) == time_ns


def test_writing__gives_mode_and_time_when_all_is_written(tmp_path) -> None:
    path = tmp_path / "script"
    metadata: dict[str, str] = {}
    with writing(path, metadata) as file:
        file.write(b"#!/bin/sh\n" * 100_000)
        metadata |= {"mode": "0510", "mtime": "1234567890.123456789", "owner": "0"}
    state = path.stat()
    assert (stat.S_IMODE(state.st_mode), state.st_mtime_ns) == (0o510, 1234567890123456789)
    assert path.read_bytes() == b"#!/bin/sh\n" * 100_000


def test_writing__metadata_of_other_programs_changes_nothing(tmp_path) -> None:
    plain, odd = tmp_path / "plain", tmp_path / "odd"
    with writing(plain):
        pass
    with writing(odd, {"mode": "unix", "mtime": "yesterday"}):
        pass
    assert plain.stat().st_mode == odd.stat().st_mode
    assert odd.stat().st_mtime_ns >= plain.stat().st_mtime_ns
