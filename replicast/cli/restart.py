"""`replicast target restart`: targets of this host stop, hand over what they lead, and start again.

    replicast target restart t2                  one
    replicast target restart --all --rolling     all, one after the other: clients notice nothing

Rolling, each target waits for a cluster that is healthy: all targets up, all rows fully in sync
(what else `status` may call degraded, chunks below their copies, no restart makes worse or better).
A restart of one more would else take what some row still needs. When that takes too long nothing
more is restarted. Processes are found by pid file; what systemd has started, systemd restarts.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click

from replicast.cli.find import find_cluster
from replicast.cli.layout import Local, load_local, locked, names_of
from replicast.cli.local import FOLDER, data_folder
from replicast.cli.processes import Daemon, stop_all, wait_ready
from replicast.cli.run import run_plain
from replicast.errors import InvalidRequest, ReplicastError, Unavailable
from replicast.gateway.api_client import connect_api

READY_SECONDS = 60.0
HEALTHY_SECONDS = 120.0
POLL_SECONDS = 0.2

Say = Callable[[str], None]


@click.group()
def target() -> None:
    """Look after the targets of this host."""


@target.command("restart")
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("--all", "everyone", is_flag=True, help="All targets of this host.")
@click.option(
    "--rolling", is_flag=True, help="One after the other, each when the cluster is healthy."
)
@click.option(
    "--wait", "wait_seconds", type=click.FloatRange(min=0), default=HEALTHY_SECONDS,
    show_default=True, help="Seconds that a healthy cluster is waited for, each time.",
)  # fmt: skip
@click.option("--data", type=FOLDER, help="Folder of the cluster. Default: the one in use.")
@click.pass_context
def restart(
    context: click.Context,
    names: tuple[str, ...],
    everyone: bool,
    rolling: bool,
    wait_seconds: float,
    data: Path | None,
) -> None:
    """Restart the targets NAMEd (t1, t2, ...), or all. They hand over what they lead first.

    Exit 1: one did not come back, or the cluster did not get healthy in time; what was not
    restarted by then runs as before.
    """

    def work() -> None:
        folder = data.resolve() if data else data_folder(context)
        load_local(folder)  # a folder without a cluster is not even made
        with locked(folder):
            chosen = choose(load_local(folder), folder, names, everyone)
            if rolling:
                restart_rolling(folder, chosen, wait_seconds, click.echo)
            else:
                restart_together(chosen, click.echo)

    run_plain(work)


def choose(local: Local, data: Path, names: Sequence[str], everyone: bool) -> list[Daemon]:
    """The targets that are meant; raises InvalidRequest unless each is one that runs here."""
    if bool(names) == everyone:
        raise InvalidRequest("target restart: give NAMEs, or --all")
    targets = {daemon.name: daemon for daemon in local.of_kind("target", data)}
    for name in names:
        if name not in targets:
            raise InvalidRequest(
                f"no target {name} here; there are: {', '.join(targets) or 'none'}"
            )
    chosen = [daemon for name, daemon in targets.items() if everyone or name in names]
    stopped = [daemon for daemon in chosen if daemon.pid() is None]
    if stopped or not chosen:
        what = f"{names_of(stopped)}: not running" if stopped else "no target"
        raise InvalidRequest(
            f"{what} here, as far as `replicast up` and `join` know: start with `replicast up`; "
            "what systemd runs: systemctl restart replicast-target"
        )
    return chosen


def restart_together(targets: list[Daemon], say: Say) -> None:
    """All at the same time: what only they hold cannot be reached meanwhile."""
    say(f"restarting {names_of(targets)}")
    began = time.monotonic()
    _stop_and_start(targets, say)
    say(f"ready after {time.monotonic() - began:.1f} s")


def restart_rolling(data: Path, targets: list[Daemon], wait_seconds: float, say: Say) -> None:
    """One after the other; raises Unavailable with what keeps the cluster from being healthy."""
    socket = find_cluster(str(data)).api_socket
    wait_healthy(socket, wait_seconds, "nothing was restarted")
    for number, daemon in enumerate(targets, 1):
        began = time.monotonic()
        _stop_and_start([daemon], say)
        ready = time.monotonic() - began
        rest = names_of(targets[number:])
        wait_healthy(socket, wait_seconds, f"not restarted: {rest}" if rest else "all restarted")
        healthy = time.monotonic() - began
        say(
            f"{daemon.name} restarted ({number} of {len(targets)}): "
            f"ready after {ready:.1f} s, cluster healthy after {healthy:.1f} s"
        )


def _stop_and_start(targets: list[Daemon], say: Say) -> None:
    killed = stop_all(targets)
    if killed:
        say(f"did not stop in time and had to be killed: {', '.join(killed)}")
    for daemon in targets:
        daemon.start()
    wait_ready(targets, READY_SECONDS)


def wait_healthy(socket: Path, wait_seconds: float, otherwise: str) -> None:
    """Until the gateway calls the cluster healthy; raises Unavailable when time is over."""
    problems = asyncio.run(_problems_left(socket, wait_seconds))
    if problems:
        raise Unavailable(
            f"the cluster is not healthy after {wait_seconds:g} s: {problems[0]} "
            f"(`replicast status` says more); {otherwise}",
            reason="NOT_HEALTHY",
        )


async def _problems_left(socket: Path, wait_seconds: float) -> list[str]:
    end = time.monotonic() + wait_seconds
    while True:
        problems = await _problems(socket)
        if not problems or time.monotonic() >= end:
            return problems
        await asyncio.sleep(POLL_SECONDS)


async def _problems(socket: Path) -> list[str]:
    try:
        async with connect_api(socket) as api:
            report: dict[str, Any] = await api.one("status")
    except ReplicastError as error:
        return [str(error)]
    return hindrances(report)


def hindrances(report: dict[str, Any]) -> list[str]:
    """Why no target should be restarted now. Chunks that were put with fewer copies while one was
    away do not get them before a `repair`, and a restart takes nothing from disks."""
    return [each for each in report["problems"] if "chunks below their copies" not in each]


COMMANDS = (target,)
