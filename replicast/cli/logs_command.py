"""`replicast logs`: the log lines of all daemons on this host, merged by time, for people.

Bounds: the last LOG_READ_BYTES of each file are looked at; -f then reads what is appended
and follows a file that was rotated.
"""

from __future__ import annotations

import heapq
import json
import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import click

from replicast.cli.find import find_cluster
from replicast.cli.layout import load_local
from replicast.cli.processes import Daemon
from replicast.cli.run import run_plain
from replicast.errors import InvalidRequest
from replicast.logs import readable

LOG_READ_BYTES = 16 << 20
FOLLOW_SECONDS = 0.2
SHOWN_DEFAULT = 200


@click.command()
@click.argument("names", nargs=-1)
@click.option("-f", "--follow", is_flag=True, help="Go on with what is written from now on.")
@click.option(
    "-n", "--lines", type=click.IntRange(min=0), default=SHOWN_DEFAULT, show_default=True,
    help="How many at most.",
)  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="The lines as they were written.")
@click.pass_context
def logs(
    context: click.Context, names: tuple[str, ...], follow: bool, lines: int, as_json: bool
) -> None:
    """Show the logs of this host's daemons (all, or those NAMEd: t1, gw1), oldest first."""

    def work() -> None:
        data = find_cluster(context.find_root().params.get("cluster")).path.parent
        chosen = _choose(load_local(data).all(data), names)
        tails = [Tail(daemon.log_file) for daemon in chosen]
        found = merged([tail.read() for tail in tails])
        _show(found[max(0, len(found) - lines) :], as_json)
        while follow:
            time.sleep(FOLLOW_SECONDS)
            _show(merged([tail.read() for tail in tails]), as_json)

    run_plain(work)


def _show(lines: Sequence[str], as_json: bool) -> None:
    for line in lines:
        click.echo(line if as_json else readable(line))


def _choose(daemons: Sequence[Daemon], names: Sequence[str]) -> list[Daemon]:
    known = {daemon.name: daemon for daemon in daemons}
    for name in names:
        if name not in known:
            raise InvalidRequest(f"no daemon {name} here; there are {', '.join(known)}")
    return [known[name] for name in names] if names else list(daemons)


class Tail:
    """Whole lines of a growing file, from its last LOG_READ_BYTES on."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = -1
        self._inode = 0
        self._rest = b""

    def read(self) -> list[str]:
        """The complete lines that were added since the last call."""
        try:
            with open(self._path, "rb") as file:
                state = os.fstat(file.fileno())
                self._place(state.st_ino, state.st_size)
                file.seek(self._offset)
                data = self._rest + file.read(LOG_READ_BYTES)
        except FileNotFoundError:
            return []
        self._offset += len(data) - len(self._rest)
        *lines, self._rest = data.split(b"\n")
        return [line.decode("utf-8", "replace") for line in lines if line]

    def _place(self, inode: int, size: int) -> None:
        if self._offset < 0:
            self._offset = max(0, size - LOG_READ_BYTES)
        elif inode != self._inode or size < self._offset:
            self._offset, self._rest = 0, b""
        self._inode = inode


def merged(files: Sequence[Sequence[str]]) -> list[str]:
    """By time; a line without one (a traceback's) stays behind the one it follows."""
    return [line for _, line in heapq.merge(*(list(_timed(lines)) for lines in files), key=_time)]


def _time(entry: tuple[str, str]) -> str:
    return entry[0]


def _timed(lines: Sequence[str]) -> Iterator[tuple[str, str]]:
    last = ""
    for line in lines:
        try:
            found = json.loads(line)["time"]
        except (ValueError, KeyError, TypeError):
            found = last
        last = max(last, found) if isinstance(found, str) else last
        yield last, line
