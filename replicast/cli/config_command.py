"""`replicast config`: is every settings file of this host usable; which settings are there?"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import MISSING, fields
from pathlib import Path

import click

from replicast.cli.find import find_cluster
from replicast.cli.layout import load_local
from replicast.cli.run import run_plain
from replicast.config import ConfigError, Settings, allowed, load
from replicast.disks import RealDisk
from replicast.errors import InvalidRequest
from replicast.formation import CLUSTER_FILE, load_cluster_file, load_formation
from replicast.gateway.config import GatewayConfig
from replicast.gateway.s3.domains import read_domains
from replicast.gateway.s3.regions import read_regions
from replicast.gateway.s3.tls import read_certificate
from replicast.keys import load_cluster_keys, load_key_pair
from replicast.metrics import Counters
from replicast.target.config import TargetConfig, load_target
from replicast.target.store.errors import VdevError
from replicast.target.store.format import read_header

SETTINGS: dict[str, type[Settings]] = {"target": TargetConfig, "gateway": GatewayConfig}
PROBLEMS = (InvalidRequest, VdevError)


@click.group()
def config() -> None:
    """Look after settings."""


@config.command("list")
def list_settings() -> None:
    """All settings of the daemons: what is allowed, the default, what they do."""
    for kind, cls in SETTINGS.items():
        click.echo(f"{kind}.toml\n\n{settings_table(cls)}\n")


def settings_table(cls: type[Settings]) -> str:
    """One settings class as a Markdown table; docs/operations.md holds both."""
    lines = ["| setting | allowed | default | what |", "|---|---|---|---|"]
    for each in sorted(fields(cls), key=lambda f: f.name):
        default = "required" if each.default is MISSING else f"`{json.dumps(each.default)}`"
        help_text = each.metadata["help"]
        lines.append(f"| `{each.name}` | {allowed(each)} | {default} | {help_text} |")
    return "\n".join(lines)


@config.command("check")
@click.argument("file", required=False, type=click.Path(path_type=Path))
@click.pass_context
def check(context: click.Context, file: Path | None) -> None:
    """Check FILE (a target.toml, gateway.toml or cluster.toml); default: all of this host.

    Environment variables count as they do for the daemons. Exit 2 when something is wrong.
    """

    def work() -> int:
        if file is not None:
            return _report([file])
        given = context.find_root().params.get("cluster")
        return _report(_files(find_cluster(given).path))

    run_plain(work)


def _files(cluster_file: Path) -> Iterator[Path]:
    yield cluster_file
    for daemon in load_local(cluster_file.parent).all(cluster_file.parent):
        yield daemon.config


def _report(paths: Iterator[Path] | list[Path]) -> int:
    wrong = 0
    for path in paths:
        try:
            check_file(path)
        except PROBLEMS as error:
            wrong += 1
            click.echo(f"wrong: {error}", err=True)
        else:
            click.echo(f"ok: {path}")
    return 2 if wrong else 0


def check_file(path: Path) -> None:
    """Raise one of PROBLEMS unless the daemon or client that reads the file could start with all of it."""
    if path.is_dir():
        path = path / CLUSTER_FILE
    kinds = {"target.toml": _check_target, "gateway.toml": _check_gateway}
    kind = kinds.get(path.name)
    if kind is not None:
        kind(path)
    elif path.name == CLUSTER_FILE:
        _check_client(path)
    else:
        _check_unnamed(path)


def _check_unnamed(path: Path) -> None:
    """Only the values: a file under another name says nothing of what lies around it."""
    try:
        load(TargetConfig, path=path)
    except ConfigError as as_target:
        try:
            load(GatewayConfig, path=path)
        except ConfigError as as_gateway:
            text = path.read_text(errors="replace") if path.is_file() else ""
            raise (as_target if "vdevs" in text else as_gateway) from None


def _check_target(path: Path) -> None:
    settings, places = load_target(path)
    directory = _member(path, settings.directory)
    formation = load_formation(directory)
    for place in places:
        header = read_header(RealDisk(), place.path)
        if header.cluster_id != formation.cluster_id:
            raise InvalidRequest(f"{path}: vdevs: {place.path} is a VDEV of another cluster")


def _check_gateway(path: Path) -> None:
    settings = load(GatewayConfig, path=path)
    _member(path, settings.directory)
    read_domains(settings)
    read_regions(settings)
    read_certificate(settings, path.parent.resolve(), Counters())


def _member(path: Path, directory: str) -> Path:
    found = path.parent.resolve() / directory
    if not (found / CLUSTER_FILE).exists():
        raise InvalidRequest(f"{path}: directory = {directory!r}: no {CLUSTER_FILE} there")
    _check_client(found / CLUSTER_FILE)
    return found


def _check_client(path: Path) -> None:
    cluster = load_cluster_file(path)
    load_key_pair(cluster.node_key)
    load_cluster_keys(cluster.cluster_key)
