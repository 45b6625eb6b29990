"""`replicast sim`: how a sweep ends."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from replicast.cli import sim
from replicast.sim.run import Result


def ending(results: list[Result], end: BaseException | None) -> Any:
    def some(*_: object) -> Iterator[tuple[Path, Result]]:
        for result in results:
            yield Path("a.toml"), result
        if end is not None:
            raise end

    return some


def result(seed: int, verdict: str = "ok") -> Result:
    made = Result("a", seed)
    made.verdict, made.virtual_ns, made.operations = verdict, 20_000_000_000, 7
    return made


def swept(monkeypatch: pytest.MonkeyPatch, *ran: Result, end: BaseException | None = None) -> int:
    monkeypatch.setattr(sim, "_results", ending(list(ran), end))
    return sim.sweep({}, [(Path("a.toml"), seed) for seed in range(5)], 1, None, "")


def test_interrupted_sweep__sums_up_what_ran(monkeypatch, capsys):
    assert swept(monkeypatch, result(0), result(1), end=KeyboardInterrupt()) == 130
    assert "2 runs of 5, 0 failed: 40 virtual seconds, 14 operations" in capsys.readouterr().out


def test_interrupted_sweep__that_failed_has_failed(monkeypatch, capsys):
    assert swept(monkeypatch, result(0, "bad"), end=KeyboardInterrupt()) == 1
    assert "replicast sim --test a.toml --seed 0" in capsys.readouterr().out


def test_interrupted_before_any_run__is_an_interrupt(monkeypatch):
    with pytest.raises(KeyboardInterrupt):
        swept(monkeypatch, end=KeyboardInterrupt())


def test_whole_sweep__says_so(monkeypatch, capsys):
    assert swept(monkeypatch, *map(result, range(5))) == 0
    assert "5 runs, 0 failed: 100 virtual seconds" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ((), ""),
        (("--seconds", "17"), " --seconds 17"),
        (("--seconds", "2.5", "--no-buggify"), " --seconds 2.5 --no-buggify"),
        (("--buggify",), " --buggify"),
    ],
)
def test_failure__names_the_command_that_replays_it(monkeypatch, options, told):
    monkeypatch.setattr(sim, "_results", ending([result(42, "bad")], None))
    mixed = str(Path(__file__).parents[1] / "sim" / "mixed.toml")
    done = CliRunner().invoke(sim.sim, ["--test", mixed, "--seeds", "1", *options])
    assert done.exit_code == 1
    assert done.output.splitlines()[0] == f"bad: replicast sim --test a.toml --seed 42{told}"
