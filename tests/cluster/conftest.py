"""Real daemons on loopback, made by the very functions of `replicast up`.

`make_cluster` gives a test clusters of its own; `cluster` is one that the tests of a module
share. Everything lies in pytest's temporary folder, takes free ports, knows no HOME, and is
stopped by pid whatever happened.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import subprocess
import sys
import time
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from replicast.cli.layout import LOCAL_FILE, load_local
from replicast.cli.ports import free_ports, require_free
from replicast.cli.processes import Daemon
from replicast.cli.up import UpRequest, bring_down, bring_up
from replicast.errors import InvalidRequest

COMMAND_SECONDS = 120
SETTLE_SECONDS, POLL_SECONDS = 90.0, 0.2


@dataclass
class Cluster:
    """A cluster in `data`, and the command line pointed at it."""

    data: Path
    home: Path
    said: list[str] = field(default_factory=list)

    def up(self, **request: Any) -> None:
        """What `replicast up` does."""
        bring_up(self.data, UpRequest(**request), self.said.append)

    def down(self) -> None:
        """What `replicast down` does."""
        bring_down(self.data, self.said.append)

    def end(self) -> None:
        """Down for good: what was stored goes at once, or a run would fill the disk; settings and logs
        stay, but no ports reserved."""
        if (self.data / LOCAL_FILE).exists():
            self.kill()
            (self.data / LOCAL_FILE).rename(self.data / "ended.toml")
        for vdev in self.data.glob("*/v*"):
            shutil.rmtree(vdev, ignore_errors=True)

    @property
    def environ(self) -> dict[str, str]:
        """For processes that use this cluster."""
        kept = {k: v for k, v in os.environ.items() if not k.startswith("REPLICAST_CLUSTER")}
        return kept | {"HOME": str(self.home), "REPLICAST_CLUSTER": str(self.data)}

    def run(
        self, *arguments: str | Path, stdin: bytes = b"", code: int = 0
    ) -> subprocess.CompletedProcess[bytes]:
        """Run the command; its exit code must be `code`."""
        done = subprocess.run(
            [sys.executable, "-m", "replicast.cli", *map(str, arguments)],
            input=stdin,
            capture_output=True,
            timeout=COMMAND_SECONDS,
            env=self.environ,
            check=False,
        )
        assert done.returncode == code, (arguments, done.returncode, done.stdout, done.stderr)
        return done

    def out(self, *arguments: str | Path, stdin: bytes = b"") -> bytes:
        """Its standard output."""
        return self.run(*arguments, stdin=stdin).stdout

    def error(self, *arguments: str | Path, code: int) -> str:
        """Its standard error: one line, never a traceback."""
        text = self.run(*arguments, code=code).stderr.decode()
        assert text.startswith("replicast: ") and text.count("\n") == 1, text
        return text

    def status(self) -> dict[str, Any]:
        """The report of `replicast status --json`, whatever its exit code."""
        done = subprocess.run(
            [sys.executable, "-m", "replicast.cli", "status", "--json"],
            capture_output=True,
            timeout=COMMAND_SECONDS,
            env=self.environ,
            check=False,
        )
        report: dict[str, Any] = json.loads(done.stdout)
        return report | {"exit": done.returncode}

    def wait_status(self, wanted: Callable[[dict[str, Any]], Any]) -> dict[str, Any]:
        """The first status report that `wanted` accepts."""
        end = time.monotonic() + SETTLE_SECONDS
        while not wanted(report := self.status()):
            assert time.monotonic() < end, ("never came to this", report["problems"], report)
            time.sleep(POLL_SECONDS)
        return report

    def wait_healthy(self) -> dict[str, Any]:
        """Until everything is up and in sync: `up` returns when all is served, which is less."""
        return self.wait_status(lambda report: report["exit"] == 0)

    def daemons(self) -> dict[str, Daemon]:
        """By name."""
        return {daemon.name: daemon for daemon in load_local(self.data).all(self.data)}

    def kill(self, *names: str) -> None:
        """SIGKILL, all at once as far as a loop can; all daemons when none is named."""
        known = self.daemons()
        for name in names or known:
            known[name].kill()


@pytest.fixture(scope="session")
def cluster_factory(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Callable[..., Cluster]]:
    """Makes clusters; all of them are gone at the end."""
    made: list[Cluster] = []

    def make(*, start: bool = True, **request: Any) -> Cluster:
        base = tmp_path_factory.mktemp("cluster")
        cluster = Cluster(base / "data", base / "home")
        made.append(cluster)
        if start:
            cluster.up(**request)
        return cluster

    yield make
    for cluster in made:
        cluster.end()


@pytest.fixture
def make_cluster(cluster_factory: Callable[..., Cluster]) -> Iterator[Callable[..., Cluster]]:
    """Clusters of one test."""
    mine: list[Cluster] = []

    def make(**request: Any) -> Cluster:
        mine.append(cluster_factory(**request))
        return mine[-1]

    yield make
    for cluster in mine:
        cluster.end()


@pytest.fixture(scope="module")
def cluster(cluster_factory: Callable[..., Cluster]) -> Iterator[Cluster]:
    """One running cluster for all tests of a module; they must leave it whole."""
    made = cluster_factory()
    yield made
    made.end()


@pytest.fixture
def bucket(cluster: Cluster, request: pytest.FixtureRequest) -> str:
    """A bucket of the test's own."""
    name = f"b{zlib.crc32(request.node.nodeid.encode())}"
    cluster.run("bucket", "create", name)
    return name


@pytest.fixture(scope="session")
def free_base() -> Callable[[int], int]:
    """free_base(count): the first of `count` free ports in a row, never given to connections."""
    rng = random.SystemRandom()

    def find(count: int) -> int:
        while True:
            base = free_ports("127.0.0.1", 1, rng)[0]
            with contextlib.suppress(InvalidRequest):
                require_free("127.0.0.1", range(base, base + count), "")
                return base

    return find


@pytest.fixture
def data() -> Callable[[int], bytes]:
    """Distinct, incompressible bytes: no call's chunks deduplicate with another's."""
    rng = random.Random(os.environ.get("PYTEST_CURRENT_TEST", ""))
    return rng.randbytes
