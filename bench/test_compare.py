"""bench/compare.py and bench/results.py: what is told apart, and what a file holds. No daemons."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import results
from compare import (
    DIFFERENT_RESULT,
    DIFFERENT_UNIT,
    ONE_RUN,
    WITHIN_NOISE,
    Comparison,
    Figure,
    main,
    read_figures,
)
from results import JSON_FILE, Result, digest_of, report, size_text

LOAD = {"size_bytes": 4096, "clients": 8, "operation": "put"}
ROUND = {"ops_per_second": 100.0, "server_per_1000": 2.0, "client_per_1000": 1.0}
MISSING_CODE = 2


def result(name: str, *runs: float, digest: str = "d") -> Result:
    return Result(name, "op/s", runs, 1.0, 2.0, digest)


@pytest.fixture
def write(tmp_path: Path) -> Any:
    def write(name: str, *rows: dict[str, Any]) -> Path:
        path = tmp_path / name
        path.write_text(json.dumps({"figures": rows}))
        return path

    return write


def notes(old: Figure, new: Figure) -> list[str]:
    return Comparison("name", old, new).notes


def test_ratio_is_of_the_medians() -> None:
    old, new = Figure("op/s", [10, 1, 11]), Figure("op/s", [20, 30, 1])
    assert Comparison("name", old, new).ratio == 2.0


def test_spread__larger_than_the_difference_is_noise() -> None:
    calm, wild = Figure("op/s", [100, 101, 102]), Figure("op/s", [90, 110, 150])
    faster = Figure("op/s", [200, 201, 202])
    assert notes(calm, wild) == notes(wild, calm) == [WITHIN_NOISE]
    assert notes(calm, faster) == []
    assert notes(calm, calm) == [WITHIN_NOISE]


def test_one_run__says_nothing_of_noise() -> None:
    assert notes(Figure("op/s", [100]), Figure("op/s", [100, 101])) == [ONE_RUN]


def test_nothing_to_divide_by__is_no_ratio() -> None:
    comparison = Comparison("name", Figure("op/s", [0, 0]), Figure("op/s", [1, 1]))
    assert comparison.ratio is None
    assert comparison.notes == []
    assert " - " in comparison.line()


@pytest.mark.parametrize(
    ("old", "new", "found"),
    [("a", "b", [DIFFERENT_RESULT]), ("a", "a", []), (None, "b", []), (None, None, [])],
)
def test_digests__differ_only_where_both_have_one(
    old: str | None, new: str | None, found: list[str]
) -> None:
    slow = Figure("op/s", [100, 100], digest=old)
    assert notes(slow, Figure("op/s", [200, 200], digest=new)) == found


def test_units_that_differ__have_no_ratio() -> None:
    comparison = Comparison("name", Figure("op/s", [1, 1]), Figure("MiB/s", [2, 2]))
    assert comparison.notes == [DIFFERENT_UNIT]
    assert "2.000" not in comparison.line()


def test_files_of_all_kinds_are_read(write: Any) -> None:
    path = write(
        "all.json",
        {"name": "bare", "unit": "op/s", "runs": [1.0]},
        {"name": "full", "unit": "op/s", "runs": [1.0], "client_cpu": 3, "server_cpu": None}
        | {"digest": "d"},
        {
            "name": "runs",
            "unit": "us",
            "runs": [1.0, 3.0],
            "client_cpu": [4, 6],
            "server_cpu": [5, 9],
        },
        LOAD | {"endpoint": "mine"} | ROUND,
    )
    assert read_figures(path) == {
        "bare": Figure("op/s", [1.0]),
        "full": Figure("op/s", [1.0], 3, None, "d"),
        "runs": Figure("us", [1.0, 3.0], 5, 7),
        "mine put 4 KiB x8": Figure("op/s", [100.0], 1.0, 2.0),
    }


def test_what_only_one_file_has__is_listed(write: Any, capsys: pytest.CaptureFixture[str]) -> None:
    row = {"unit": "op/s", "runs": [1.0, 1.0]}
    old = write("old.json", row | {"name": "gone"}, row | {"name": "both"})
    new = write("new.json", row | {"name": "both"}, row | {"name": "added"})
    assert main([str(old), str(new)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if line.startswith("only in")] == [
        "only in old: gone",
        "only in new: added",
    ]
    (compared,) = (line for line in lines if line.startswith("both "))
    assert compared.endswith("1.000        -       -")


def test_another_result__is_exit_code_1(write: Any, capsys: pytest.CaptureFixture[str]) -> None:
    row = {"name": "sum", "unit": "op/s", "runs": [1.0, 1.0]}
    files = [write(each, row | {"digest": each}) for each in ("old.json", "new.json")]
    assert main([str(path) for path in files]) == 1
    assert DIFFERENT_RESULT in capsys.readouterr().out


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"figures": [{"name": "a"}]}', '{"figures": 1}'])
def test_no_file_of_figures__is_exit_code_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str
) -> None:
    path = tmp_path / "figures.json"
    path.write_text(text)
    with pytest.raises(SystemExit) as ended:
        main([str(path), str(path)])
    assert ended.value.code == MISSING_CODE
    assert "no file of figures" in capsys.readouterr().err


@pytest.fixture
def nothing_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(results, "_reported", {})
    monkeypatch.delenv(JSON_FILE, raising=False)


@pytest.mark.usefixtures("nothing_reported")
def test_report__leaves_a_whole_file_after_each_figure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "figures.json"
    path.write_text("of an earlier run")
    monkeypatch.setenv(JSON_FILE, str(path))
    report(result("one", 1.0, 3.0, 2.0))
    assert list(read_figures(path)) == ["one"]
    report(result("two", 4.0))
    assert read_figures(path) == {
        "one": Figure("op/s", [1.0, 3.0, 2.0], 1.0, 2.0, "d"),
        "two": Figure("op/s", [4.0], 1.0, 2.0, "d"),
    }
    assert list(tmp_path.iterdir()) == [path]
    assert "2.00 op/s" in capsys.readouterr().out


@pytest.mark.usefixtures("nothing_reported")
def test_report__of_one_name_twice_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    report(result("one", 1.0))
    with pytest.raises(ValueError, match="two figures"):
        report(result("one", 1.0))
    assert capsys.readouterr().out.count("one") == 1


def test_digest__is_of_bytes_or_of_what_repr_shows() -> None:
    assert digest_of(b"abc") == digest_of(bytearray(b"abc")) == digest_of(memoryview(b"abc"))
    assert len({digest_of(each) for each in (b"abc", "abc", [1], (1,))}) == 4


@pytest.mark.parametrize(
    ("size_bytes", "text"), [(1400, "1400 B"), (4096, "4 KiB"), (1 << 20, "1 MiB"), (0, "0 B")]
)
def test_sizes(size_bytes: int, text: str) -> None:
    assert size_text(size_bytes) == text
