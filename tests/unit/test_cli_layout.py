"""replicast/cli/layout.py and members.py: the data folder, its files, VDEVs made once."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from replicast.cli.layout import (
    Local,
    LocalDaemon,
    link_user_file,
    load_local,
    locked,
    save_local,
    socket_path,
)
from replicast.cli.members import (
    VdevPlan,
    add_api_socket,
    endpoint_ports,
    make_gateway,
    make_target,
    parse_vdev_option,
    target_joiner,
)
from replicast.config import load
from replicast.disks import RealDisk
from replicast.errors import InvalidRequest, Unavailable
from replicast.gateway.config import GatewayConfig
from replicast.target.config import TargetConfig, parse_vdevs
from replicast.target.store.errors import VdevError
from replicast.target.store.format import read_header

CLUSTER = bytes(range(16))


def test_local__there_and_back(tmp_path: Path) -> None:
    local = Local(
        (
            LocalDaemon("t1", "target", "127.0.0.1:7004", "t1"),
            LocalDaemon("here", "gateway", "127.0.0.1:7014", "."),
        ),
        {"targets": 1, "capacity": "10 GiB", "target_ports": [1, 2, 3]},
    )
    save_local(tmp_path, local)
    assert load_local(tmp_path) == local
    target, gateway = local.all(tmp_path)
    assert target.config == tmp_path / "t1" / "target.toml"
    assert gateway.config == tmp_path / "gateway.toml"
    assert target.module == "replicast.target.daemon"


@pytest.mark.parametrize(
    "text", ["", "format = 2", "format = 1\n[[daemons]]\nname = 't1'", "\0", "format ="]
)
def test_load_local__damaged(tmp_path: Path, text: str) -> None:
    (tmp_path / "local.toml").write_text(text)
    with pytest.raises(InvalidRequest, match=r"local\.toml"):
        load_local(tmp_path)


def test_load_local__none(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match="no local cluster in"):
        load_local(tmp_path)


def test_locked__one_at_a_time(tmp_path: Path) -> None:
    with locked(tmp_path), pytest.raises(Unavailable, match="at work"), locked(tmp_path):
        pass
    with locked(tmp_path):
        pass


def test_socket_path__short_or_derived(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    assert socket_path(Path("/data/gw1")) == Path("/data/gw1/api.sock")
    deep = Path("/data") / ("x" * 100) / "gw1"
    short = socket_path(deep)
    assert short.parent == tmp_path / "replicast" and short == socket_path(deep)
    assert short != socket_path(deep.with_name("gw2"))
    short.parent.chmod(0o755)
    with pytest.raises(InvalidRequest, match="yours alone"):
        socket_path(deep)


def test_link_user_file(tmp_path: Path) -> None:
    user_file = tmp_path / "home" / "cluster.toml"
    first, second, same = tmp_path / "a.toml", tmp_path / "b.toml", tmp_path / "c.toml"
    first.write_text('cluster_id = "aa"')
    second.write_text('cluster_id = "bb"\napi_socket = "x"')
    same.write_text('cluster_id = "aa"\napi_socket = "x"')
    assert link_user_file(first, user_file) and user_file.readlink() == first
    assert not link_user_file(second, user_file) and user_file.readlink() == first
    assert link_user_file(same, user_file) and user_file.readlink() == same
    assert link_user_file(first, user_file) and user_file.readlink() == same
    same.unlink()  # that cluster has gone
    assert link_user_file(second, user_file) and user_file.readlink() == second


def test_make_target__formats_once(tmp_path: Path) -> None:
    folder = tmp_path / "t1"
    folder.mkdir()
    vdevs = [VdevPlan(folder / "v1", "10 GiB"), VdevPlan(tmp_path / "disk")]
    (folder / "v1.new").mkdir()
    (folder / "v1.new" / "left by an interrupted format").touch()
    assert make_target(folder, CLUSTER, vdevs)
    settings = load(TargetConfig, path=folder / "target.toml", environ={})
    places = parse_vdevs(settings.vdevs, folder)
    assert [place.path for place in places] == [folder / "v1", tmp_path / "disk"]
    assert [place.capacity_bytes for place in places] == [10 << 30, 0]
    ids = [read_header(RealDisk(), place.path).vdev_id for place in places]
    assert len(set(ids)) == 2
    (folder / "v1" / "vdev").unlink()
    assert not make_target(folder, CLUSTER, vdevs)
    assert not (folder / "v1" / "vdev").exists()  # lost is lost: never a new, empty one
    assert sorted(os.listdir(folder)) == ["target.toml", "v1"]


def test_make_target__goes_on_after_an_interruption(tmp_path: Path) -> None:
    vdevs = [VdevPlan(tmp_path / "v1")]
    make_target(tmp_path, CLUSTER, vdevs)
    before = read_header(RealDisk(), tmp_path / "v1")
    (tmp_path / "target.toml").unlink()
    assert make_target(tmp_path, CLUSTER, vdevs)
    assert read_header(RealDisk(), tmp_path / "v1") == before


def test_make_target__refuses_what_is_not_empty_or_another_clusters(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "disk" / "photos").touch()
    with pytest.raises(VdevError, match="not empty"):
        make_target(tmp_path, CLUSTER, [VdevPlan(tmp_path / "disk")])
    make_target(tmp_path, CLUSTER, [VdevPlan(tmp_path / "v1")])
    (tmp_path / "target.toml").unlink()
    with pytest.raises(InvalidRequest, match="another cluster"):
        make_target(tmp_path, bytes(16), [VdevPlan(tmp_path / "v1")])


def test_make_gateway(tmp_path: Path) -> None:
    (tmp_path / "cluster.toml").write_text("format = 1\n\n[[voters]]\nname = 't1'\n")
    assert make_gateway(tmp_path, ("127.0.0.1", 7044))
    assert not make_gateway(tmp_path, ("127.0.0.1", 9999))
    settings = load(GatewayConfig, path=tmp_path / "gateway.toml", environ={})
    assert (settings.metrics_port, settings.directory) == (7044, ".")
    text = (tmp_path / "cluster.toml").read_text()
    assert text.startswith("api_socket = ")
    add_api_socket(tmp_path / "cluster.toml", tmp_path / "other.sock")
    assert (tmp_path / "cluster.toml").read_text() == text


def test_parse_vdev_option(tmp_path: Path) -> None:
    assert parse_vdev_option("/disk1", tmp_path) == VdevPlan(Path("/disk1"))
    assert parse_vdev_option("d; capacity = 5GiB", tmp_path) == VdevPlan(tmp_path / "d", "5GiB")
    for wrong in ("", "a,b", "/disk1;capacity=lots", "/disk1;size=5GiB"):
        with pytest.raises(InvalidRequest):
            parse_vdev_option(wrong, tmp_path)


def test_target_joiner() -> None:
    joiner = target_joiner("t1", "h1", "z1", 2, "10.0.0.1", endpoint_ports(7000))
    assert joiner.addresses["udp"] == ("10.0.0.1", 7000)
    assert joiner.addresses["metrics"] == ("10.0.0.1", 7004)
