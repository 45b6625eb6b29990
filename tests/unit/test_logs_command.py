"""replicast/cli/logs_command.py: growing and rotated files, lines merged by time."""

from __future__ import annotations

import json
from pathlib import Path

from replicast.cli.logs_command import Tail, merged


def line(time: str, message: str) -> str:
    return json.dumps({"time": time, "message": message})


def test_tail__whole_lines_only_and_rotation(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    tail = Tail(path)
    assert tail.read() == []
    path.write_text("one\ntw")
    assert tail.read() == ["one"]
    with open(path, "a") as file:
        file.write("o\nthree\n")
    assert tail.read() == ["two", "three"]
    path.rename(tmp_path / "log.old.jsonl")
    path.write_text("four\n")
    assert tail.read() == ["four"]
    path.write_text("")
    assert tail.read() == []


def test_merged__by_time__lines_without_one_stay_behind_their_own() -> None:
    first = [line("1", "a"), "Traceback:", "  of a", line("4", "d")]
    second = [line("2", "b"), line("3", "c"), '{"time": 7}']
    assert merged([first, second]) == [*first[:3], *second, first[3]]
