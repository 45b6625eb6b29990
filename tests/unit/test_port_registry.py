"""replicast/cli/port_registry.py: what one cluster has drawn, no other draws, running or not."""

from __future__ import annotations

import json
import os
import random
import shutil
import threading
from collections.abc import Callable, Set
from pathlib import Path

import pytest

from replicast.cli import up
from replicast.cli.layout import Local, load_local, runtime_folder, save_local
from replicast.cli.port_registry import PORT_LISTS, REGISTRY_FILE, reserving
from replicast.cli.up import UpRequest
from replicast.errors import InvalidRequest

ONE = UpRequest(targets=1, copies=1, min_copies=1)
PORTS_OF_ONE = 7


@pytest.fixture(autouse=True)
def runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The runtime folder of these tests. Every `up` draws in the same order: ports are different only
    when the later one was told what the earlier one has."""
    (tmp_path / "run").mkdir()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "run"))
    monkeypatch.setattr(up.random, "SystemRandom", lambda: random.Random(5))
    return tmp_path / "run" / "replicast"


def plan_in(data: Path) -> set[int]:
    """As `up` does, up to where daemons would bind; the ports."""
    data.mkdir(exist_ok=True)
    with reserving(data) as reserved:
        local = up._planned(data, ONE, lambda text: None, reserved)
    return {port for key in PORT_LISTS for port in local.plan[key]}


def reserved_for(data: Path) -> Set[int]:
    with reserving(data) as reserved:
        return reserved


def test_reserving__what_another_has_drawn_is_not_drawn(tmp_path: Path) -> None:
    first, second, third = (plan_in(tmp_path / name) for name in "abc")
    assert len(first | second | third) == 3 * PORTS_OF_ONE
    assert reserved_for(tmp_path / "b") == first | third  # never its own


def test_reserving__at_the_same_moment(tmp_path: Path) -> None:
    names = [f"c{n}" for n in range(6)]
    together, drawn = threading.Barrier(len(names)), []

    def work(data: Path) -> None:
        together.wait()
        drawn.append(plan_in(data))

    threads = [threading.Thread(target=work, args=(tmp_path / name,)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(drawn) == len(names) and len(set().union(*drawn)) == len(names) * PORTS_OF_ONE


def test_reserving__a_cluster_that_has_gone(tmp_path: Path, runtime: Path) -> None:
    ports = plan_in(tmp_path / "a")
    assert reserved_for(tmp_path / "other") == ports
    shutil.rmtree(tmp_path / "a")
    assert plan_in(tmp_path / "b") == ports
    assert json.loads((runtime / REGISTRY_FILE).read_text()) == [str(tmp_path / "b")]


def test_reserving__a_folder_that_was_made_anew_or_moved(tmp_path: Path) -> None:
    ports = plan_in(tmp_path / "a")
    local = load_local(tmp_path / "a")
    save_local(tmp_path / "a", Local(local.daemons, {**local.plan, "s3_ports": [9999]}))
    assert reserved_for(tmp_path / "b") == ports - set(local.plan["s3_ports"]) | {9999}
    (tmp_path / "a").rename(tmp_path / "moved")
    assert reserved_for(tmp_path / "b") == set()
    assert 9999 in plan_in(tmp_path / "moved")
    assert 9999 in reserved_for(tmp_path / "b")


def test_reserving__a_request_that_fails_reserves_nothing(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest), reserving(tmp_path):
        raise InvalidRequest("no")
    assert reserved_for(tmp_path / "b") == set()


@pytest.mark.parametrize(
    "damage", [b"", b"[", b"\xff\x00", b"{}", b"7", b'[7, null, [], "\\u0000", "\\ud800"]']
)
def test_reserving__a_damaged_list_is_an_empty_one(
    tmp_path: Path, runtime: Path, damage: bytes
) -> None:
    ports = plan_in(tmp_path / "a")
    (runtime / REGISTRY_FILE).write_bytes(damage)
    assert plan_in(tmp_path / "b") == ports
    assert json.loads((runtime / REGISTRY_FILE).read_text()) == [str(tmp_path / "b")]


@pytest.mark.parametrize(
    "plan", ["target_ports = 5", 's3_ports = ["a", [7], 8]', "[plan]", "[[", "plan = 7"]
)
def test_reserving__a_damaged_plan_of_another(tmp_path: Path, plan: str) -> None:
    plan_in(tmp_path / "a")
    text = plan if plan.startswith(("[", "plan")) else f"[plan]\n{plan}"
    (tmp_path / "a" / "local.toml").write_text(f"format = 1\n{text}\n")
    assert reserved_for(tmp_path / "b") <= {8}


def test_reserving__a_name_that_is_no_text(tmp_path: Path) -> None:
    data = tmp_path / os.fsdecode(b"\xff\n")
    assert plan_in(data) == reserved_for(tmp_path / "b")


def _link(runtime: Path) -> None:
    runtime.with_name("elsewhere").mkdir(mode=0o700)
    runtime.symlink_to("elsewhere")


def _file(runtime: Path) -> None:
    runtime.touch()


def _open_to_others(runtime: Path) -> None:
    runtime.mkdir()
    runtime.chmod(0o777)


def _in_the_way(runtime: Path) -> None:
    (runtime / (REGISTRY_FILE + ".new")).mkdir(parents=True)
    runtime.chmod(0o700)


@pytest.mark.parametrize("spoil", [_link, _file, _open_to_others, _in_the_way])
def test_reserving__draws_without_a_list_that_cannot_be_kept(
    tmp_path: Path, runtime: Path, spoil: Callable[[Path], None]
) -> None:
    spoil(runtime)
    assert plan_in(tmp_path / "a") == plan_in(tmp_path / "b")
    assert not list(tmp_path.rglob(REGISTRY_FILE))


def test_reserving__a_list_that_cannot_be_written_is_still_read(
    tmp_path: Path, runtime: Path
) -> None:
    ports = plan_in(tmp_path / "a")
    _in_the_way(runtime)
    assert not plan_in(tmp_path / "b") & ports


def test_reserving__errors_of_the_caller_are_the_callers(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="disk"), reserving(tmp_path):
        raise OSError("disk")


def test_runtime_folder__is_never_a_link(runtime: Path) -> None:
    _link(runtime)
    with pytest.raises(InvalidRequest, match="yours alone"):
        runtime_folder()
