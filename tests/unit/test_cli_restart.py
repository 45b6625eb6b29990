"""`replicast target restart`: which targets, in which order, and when it ends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from replicast.cli import restart as command
from replicast.cli.layout import Local, LocalDaemon
from replicast.cli.processes import Daemon
from replicast.errors import InvalidRequest, Unavailable

LOCAL = Local(
    (
        *(LocalDaemon(name, "target", "127.0.0.1:1", name) for name in ("t1", "t2", "t3")),
        LocalDaemon("gw1", "gateway", "127.0.0.1:1", "gw1"),
    ),
    {},
)


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def running(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """The names of daemons that run."""
    names = {"t1", "t2", "t3", "gw1"}
    monkeypatch.setattr(Daemon, "pid", lambda self: 1 if self.name in names else None)
    return names


@pytest.fixture
def done(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is done to processes, in order."""
    calls: list[str] = []

    def note(what: str, result: Any = None) -> Any:
        def call(daemons: list[Daemon], *more: Any) -> Any:
            calls.append(f"{what} {' '.join(daemon.name for daemon in daemons)}")
            return result

        return call

    monkeypatch.setattr(command, "stop_all", note("stop", []))
    monkeypatch.setattr(command, "wait_ready", note("ready"))
    monkeypatch.setattr(Daemon, "start", lambda self: calls.append(f"start {self.name}"))
    return calls


@pytest.mark.usefixtures("running")
def test_choose__in_the_order_of_the_cluster() -> None:
    def names(*given: str, everyone: bool = False) -> list[str]:
        return [each.name for each in command.choose(LOCAL, Path("d"), given, everyone)]

    assert names(everyone=True) == ["t1", "t2", "t3"]
    assert names("t3", "t1") == ["t1", "t3"]


@pytest.mark.parametrize(
    ("given", "everyone", "says"),
    [
        ((), False, "give NAMEs, or --all"),
        (("t1",), True, "give NAMEs, or --all"),
        (("t9",), False, "no target t9 here; there are: t1, t2, t3"),
        (("gw1",), False, "no target gw1 here"),
        (("t1", "t2"), False, "t2: not running here.*systemctl restart"),
        ((), True, "t2: not running here"),
    ],
)
def test_choose__refuses(
    running: set[str], given: tuple[str, ...], everyone: bool, says: str
) -> None:
    running.remove("t2")
    with pytest.raises(InvalidRequest, match=says):
        command.choose(LOCAL, Path("d"), given, everyone)


@pytest.mark.usefixtures("running")
def test_together__all_stop_before_one_starts(done: list[str], said: list[str]) -> None:
    command.restart_together(command.choose(LOCAL, Path("d"), (), True), said.append)
    assert done == ["stop t1 t2 t3", "start t1", "start t2", "start t3", "ready t1 t2 t3"]
    assert said[0] == "restarting t1, t2 and t3"


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "cluster.toml").write_text('api_socket = "gw1/api.sock"\n')
    return tmp_path


@pytest.mark.usefixtures("running")
def test_rolling__healthy_before_each_and_at_the_end(
    done: list[str], said: list[str], place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def healthy(socket: Path, wait_seconds: float, otherwise: str) -> None:
        done.append(f"healthy, else {otherwise}")

    monkeypatch.setattr(command, "wait_healthy", healthy)
    chosen = command.choose(LOCAL, place, ("t1", "t2"), False)
    command.restart_rolling(place, chosen, 5.0, said.append)
    assert done == [
        "healthy, else nothing was restarted",
        "stop t1", "start t1", "ready t1", "healthy, else not restarted: t2",
        "stop t2", "start t2", "ready t2", "healthy, else all restarted",
    ]  # fmt: skip
    assert [line.partition(":")[0] for line in said] == [
        "t1 restarted (1 of 2)",
        "t2 restarted (2 of 2)",
    ]


class Gateway:
    """Answers `status` with one report after the other, the last one for good."""

    def __init__(self, *reports: dict[str, Any]) -> None:
        self.reports = list(reports)

    @asynccontextmanager
    async def connect(self, path: Path) -> AsyncIterator[Gateway]:
        yield self

    async def one(self, operation: str) -> dict[str, Any]:
        assert operation == "status"
        return self.reports.pop(0) if len(self.reports) > 1 else self.reports[0]


BAD = {"verdict": "degraded", "problems": ["3 rows have fewer than 3 name replicas up"]}
GOOD = {"verdict": "healthy", "problems": []}


def test_wait_healthy__as_long_as_it_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    gateway = Gateway(BAD, BAD, GOOD)
    monkeypatch.setattr(command, "connect_api", gateway.connect)
    monkeypatch.setattr(command, "POLL_SECONDS", 0.0)
    command.wait_healthy(Path("s"), 60.0, "nothing was restarted")
    assert gateway.reports == [GOOD]


def test_hindrances__chunks_wait_for_a_repair_and_nobody_for_them() -> None:
    short = "4 chunks below their copies: run `replicast repair`"
    assert command.hindrances({"problems": [short]}) == []
    assert command.hindrances({"problems": ["target t2 has no lease", short]}) == [
        "target t2 has no lease"
    ]


def test_wait_healthy__says_what_is_wrong_when_time_is_over(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(command, "connect_api", Gateway(BAD).connect)
    says = "not healthy after 0 s: 3 rows have fewer .* not restarted: t2 and t3"
    with pytest.raises(Unavailable, match=says) as raised:
        command.wait_healthy(Path("s"), 0.0, "not restarted: t2 and t3")
    assert raised.value.reason == "NOT_HEALTHY"


def test_wait_healthy__without_a_gateway(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="no gateway answers"):
        command.wait_healthy(tmp_path / "no.sock", 0.0, "nothing was restarted")
    assert asyncio.run(command._problems_left(tmp_path / "no.sock", 0.0))
