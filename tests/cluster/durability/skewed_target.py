"""replicast-target on a machine whose time of day is wrong, by as much as a file says.

    python -m skewed_target --config target.toml

The file `clock_ns` beside the settings holds the nanoseconds; it may change at any time. The
daemon takes time of day from its Runtime and from nowhere else, so the machine's own clock, which
belongs to everybody, is left alone.
"""

from __future__ import annotations

from pathlib import Path

from replicast.daemon import Work, run_daemon
from replicast.runtime import Runtime
from replicast.target.config import load_target
from replicast.target.daemon import TargetDaemon
from replicast.target.membership import load_membership

CLOCK_FILE = "clock_ns"


class SkewedRuntime(Runtime):
    """The operating system, but for its time of day."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def wall_ns(self) -> int:
        return super().wall_ns() + int(self._file.read_text())


def prepare(path: Path) -> tuple[str, Work]:
    config, places = load_target(path)
    runtime = SkewedRuntime(path.parent / CLOCK_FILE)

    async def work() -> None:
        membership = load_membership(path.parent.resolve() / config.directory)
        await TargetDaemon(config, places, membership, runtime).run()

    return config.log_level, work


if __name__ == "__main__":
    run_daemon("skewed-target", "A target with a wrong clock.", "target.toml", prepare, None)
