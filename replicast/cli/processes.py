"""Daemons of a local cluster: started detached, found again by pid file, stopped by pid.

A pid file holds pid and start time of the process, so that a number that the
system gave to somebody else since then is never signalled.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from replicast.errors import Unavailable
from replicast.logs import readable

STOP_SECONDS = 25.0
POLL_SECONDS = 0.05
LOG_BYTES_MAX = 64 << 20


@dataclass(frozen=True, slots=True)
class Daemon:
    """One process of a local cluster: `module` is run with `--config config`."""

    name: str
    module: str
    config: Path
    metrics: str  # host:port of /metrics, /healthz, /readyz

    @property
    def folder(self) -> Path:
        return self.config.parent

    @property
    def pid_file(self) -> Path:
        return self.folder / "pid"

    @property
    def log_file(self) -> Path:
        return self.folder / "log.jsonl"

    def pid(self) -> int | None:
        """The pid while it runs, else None."""
        try:
            pid, started = (int(part) for part in self.pid_file.read_text().split())
        except (OSError, ValueError):
            return None
        return pid if _start_time(pid) == started else None

    def start(self, environ: Mapping[str, str] | None = None) -> int:
        """Start it in a session of its own, logs appended to its folder."""
        _rotate(self.log_file)
        with open(self.log_file, "ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", self.module, "--config", str(self.config)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                env=dict(os.environ if environ is None else environ),
            )
        started = _start_time(process.pid)
        temporary = self.pid_file.with_suffix(".new")
        temporary.write_text(f"{process.pid} {started}\n")
        temporary.replace(self.pid_file)
        return process.pid

    def ready(self) -> bool:
        """Does /readyz say yes?"""
        try:
            with urllib.request.urlopen(f"http://{self.metrics}/readyz", timeout=2) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False

    def last_words(self) -> str:
        """The last log lines, for the message about a daemon that died."""
        try:
            lines = self.log_file.read_text(errors="replace").splitlines()[-3:]
        except OSError:
            return ""
        return "\n".join(readable(line) for line in lines)

    def kill(self) -> None:
        """SIGKILL, and wait until it is gone."""
        pid = self.pid()
        while pid is not None and self.pid() == pid:
            _signal(pid, signal.SIGKILL)
            _reap([pid])
            time.sleep(POLL_SECONDS / 10)


def wait_ready(daemons: Sequence[Daemon], timeout_seconds: float) -> None:
    """Until all are ready; raises Unavailable naming the one that died or is late."""
    end = time.monotonic() + timeout_seconds
    waiting = list(daemons)
    while waiting := [daemon for daemon in waiting if not daemon.ready()]:
        # Any of them: one that died may be what the others wait for.
        for daemon in daemons:
            if daemon.pid() is None:
                raise Unavailable(f"{daemon.name} ended:\n{daemon.last_words()}")
        if time.monotonic() > end:
            late = waiting[0]
            raise Unavailable(f"{late.name} is not ready; see {late.log_file}")
        time.sleep(POLL_SECONDS)


def stop_all(
    daemons: Iterable[Daemon], timeout_seconds: float = STOP_SECONDS, *, at_once: bool = False
) -> list[str]:
    """SIGTERM to all, SIGKILL to those that stay; returns the names that had to be killed.

    `at_once`: they hand nothing over, as when all of them stop. SIGTERM ends one that has not
    begun, too; one that runs takes SIGINT as haste.
    """
    running = {daemon: pid for daemon in daemons if (pid := daemon.pid()) is not None}
    for pid in running.values():
        _signal(pid, signal.SIGTERM)
        if at_once:
            _signal(pid, signal.SIGINT)
    end = time.monotonic() + timeout_seconds
    while any(daemon.pid() is not None for daemon in running) and time.monotonic() < end:
        _reap(running.values())
        time.sleep(POLL_SECONDS)
    late = [daemon for daemon in running if daemon.pid() is not None]
    for daemon in late:
        _signal(running[daemon], signal.SIGKILL)
    for daemon in running:
        daemon.pid_file.unlink(missing_ok=True)
    return [daemon.name for daemon in late]


def _signal(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return


def _reap(pids: Iterable[int]) -> None:
    """Collect children of ours, which otherwise stay as zombies that look alive."""
    for pid in pids:
        try:
            os.waitpid(pid, os.WNOHANG)
        except ChildProcessError:
            continue


def _start_time(pid: int) -> int | None:
    """Clock ticks since boot at which it started; None when gone or a zombie.

    A process whose main thread is dead lives on, ports and all, until its last thread has
    come back from the disk.
    """
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        threads = len(os.listdir(f"/proc/{pid}/task"))
    except OSError:
        return None
    return None if fields[0] in ("Z", "X") and threads <= 1 else int(fields[19])


def _rotate(path: Path) -> None:
    if path.exists() and path.stat().st_size > LOG_BYTES_MAX:
        path.replace(path.with_suffix(".old.jsonl"))
