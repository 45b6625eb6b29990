"""`replicast sim`: whole clusters in one thread on virtual time, by seed; and what a trace says.

replicast sim --test tests/sim/attrition.toml --seed 42
replicast sim --test tests/sim/*.toml --seeds 1000 -j2
replicast sim explain out.jsonl --object bucket/name
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import click

from replicast.cli.run import run_plain
from replicast.errors import InvalidRequest
from replicast.sim.cluster import COUNTED
from replicast.sim.explain import explain as explain_trace
from replicast.sim.fault_points import reached
from replicast.sim.forks import forked
from replicast.sim.run import Result, run_test
from replicast.sim.test_file import Test, load_test

PROBLEMS_SHOWN = 5
INTERRUPTED = 130  # exit status


class _Sim(click.Group):
    """A group whose first word may be left out: it runs tests then."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if args and args[0] not in self.commands and args[0] not in ("-h", "--help"):
            args = ["run", *args]
        return super().parse_args(ctx, args)


@click.group(cls=_Sim)
def sim() -> None:
    """Run a whole cluster in one thread on virtual time; every failure replays from its seed."""


@sim.command("run")
@click.option("--test", "named", multiple=True, metavar="FILE...", help="Test files (TOML).")
@click.argument("more", nargs=-1, metavar="[FILE]...")
@click.option("--seed", type=int, help="One run with this seed.")
@click.option("--seeds", type=click.IntRange(1), help="That many runs, spread over the tests.")
@click.option("--first", type=click.IntRange(0), default=1, help="First seed of --seeds (1).")
@click.option(
    "--seconds", type=click.FloatRange(0.1), help="Of workloads and faults, not the test's own."
)
@click.option("-j", "jobs", type=click.IntRange(1, 64), default=1, help="Processes side by side.")
@click.option(
    "--buggify/--no-buggify",
    default=None,
    help="Fault points in every run or in none, whatever test and seed say.",
)
@click.option("--trace", type=click.Path(path_type=Path), help="Write the run's trace (one seed).")
def run_command(
    named: tuple[str, ...],
    more: tuple[str, ...],
    seed: int | None,
    seeds: int | None,
    first: int,
    seconds: float | None,
    jobs: int,
    buggify: bool | None,
    trace: Path | None,
) -> None:
    """Run tests. Exit 0: all ok; 1: a verdict was bad or unknown; 2: no such test."""

    def work() -> int:
        files = [Path(each) for each in (*named, *more)]
        if not files:
            raise InvalidRequest("name a test file with --test")
        if trace is not None and (seed is None or len(files) > 1):
            raise InvalidRequest("--trace needs one --test and one --seed")
        tests = {file: load_test(file) for file in files}
        if seconds is not None:
            tests = {file: replace(test, seconds=seconds) for file, test in tests.items()}
        if buggify is not None:
            tests = {f: replace(t, buggify=buggify) for f, t in tests.items()}
        if seed is not None or seeds is None:
            chosen = [(file, 1 if seed is None else seed) for file in files]
        else:
            chosen = [(files[n % len(files)], first + n) for n in range(seeds)]
        return sweep(tests, chosen, jobs, trace, _options(seconds, buggify))

    run_plain(work)


def _options(seconds: float | None, buggify: bool | None) -> str:
    """What a replay has to be told, too."""
    text = "" if seconds is None else f" --seconds {seconds:g}"
    return text + {None: "", True: " --buggify", False: " --no-buggify"}[buggify]


def sweep(
    tests: dict[Path, Test],
    chosen: list[tuple[Path, int]],
    jobs: int,
    trace: Path | None,
    options: str,
) -> int:
    """Run (file, seed) pairs; print what failed and how to replay it: the same `options`. Ctrl-C
    ends it early: what ran until then is summed up."""
    done = failed = 0
    totals = [0.0] * 7
    taken: dict[str, int] = {}
    interrupted = False
    try:
        for done, (file, result) in enumerate(_results(tests, chosen, jobs, trace), 1):
            totals = [a + b for a, b in zip(totals, _figures(result), strict=True)]
            for name, count in result.points.items():
                taken[name] = taken.get(name, 0) + count
            if result.verdict != "ok":
                failed += 1
                _tell_failure(file, result, options)
            elif len(chosen) == 1:
                click.echo(f"{result.fingerprint}  {result.shape}")
            _tell_progress(done, len(chosen), failed)
    except KeyboardInterrupt:
        if not done:
            raise
        interrupted = True
    seconds, operations, refused, faults, cpu_seconds, cuts, installs = totals
    click.echo(
        f"{done} runs{f' of {len(chosen)}' if interrupted else ''}, {failed} failed: "
        f"{seconds:.0f} virtual seconds, "
        f"{operations:.0f} operations, {refused:.0f} without an answer, {faults:.0f} faults, "
        f"{cuts:.0f} logs cut, {installs:.0f} replicas installed; "
        f"{cpu_seconds:.0f} CPU seconds, {seconds / max(cpu_seconds, 0.001):.1f} times real time"
    )
    if taken and len(chosen) > 1:
        _tell_points(taken)
    return 1 if failed else INTERRUPTED if interrupted else 0


def _figures(result: Result) -> tuple[float, ...]:
    seconds = result.virtual_ns / 1e9
    happened = [result.counted.get(name, 0) for name in COUNTED]
    figures = seconds, result.operations, result.refused, result.faults, result.cpu_seconds
    return *figures, *happened


def _results(
    tests: dict[Path, Test], chosen: list[tuple[Path, int]], jobs: int, trace: Path | None
) -> Iterator[tuple[Path, Result]]:
    if len(chosen) == 1:
        [(path, seed)] = chosen
        with contextlib.ExitStack() as stack:
            file = stack.enter_context(trace.open("w")) if trace is not None else None
            yield path, run_test(tests[path], seed, file)
        return
    yield from forked([(path, tests[path], seed) for path, seed in chosen], jobs)


def _tell_failure(file: Path, result: Result, options: str) -> None:
    click.echo(f"{result.verdict}: replicast sim --test {file} --seed {result.seed}{options}")
    for problem in result.problems[:PROBLEMS_SHOWN]:
        click.echo(f"    {problem}")
    if len(result.problems) > PROBLEMS_SHOWN:
        click.echo(f"    and {len(result.problems) - PROBLEMS_SHOWN} more")


def _tell_points(taken: dict[str, int]) -> None:
    count, never = reached(taken)
    text = f"fault points reached: {count} of {count + len(never)}"
    click.echo(f"{text}; never: {', '.join(never)}" if never else text)


def _tell_progress(done: int, total: int, failed: int) -> None:
    if sys.stderr.isatty() and total > 1:
        width = 40 * done // total
        bar = "#" * width + "." * (40 - width)
        end = "\n" if done == total else ""
        click.echo(f"\r{bar} {done}/{total}, {failed} failed", nl=False, err=True)
        click.echo(end, nl=False, err=True)


@sim.command()
@click.argument("trace", type=click.Path(path_type=Path))
@click.option("--object", "name", required=True, metavar="BUCKET/NAME", help="Whose story.")
def explain(trace: Path, name: str) -> None:
    """The readable history of one object in a trace: who did what when, across all processes."""

    def work() -> int:
        with trace.open(encoding="utf-8", errors="replace") as file:
            for line in explain_trace(file, name):
                click.echo(line)
        return 0

    run_plain(work)


COMMANDS = (sim,)
