"""One member's folder: its ports, its VDEVs, its settings file. For `up` and for `join`.

A settings file is written once, last, and then belongs to the operator: a folder that has one
is never formatted or rewritten again, so a VDEV that is missing later is an error and not a
new, empty VDEV.
"""

from __future__ import annotations

import os
import random
import shutil
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from replicast.cli.layout import relative_to, socket_path
from replicast.disks import RealDisk
from replicast.errors import InvalidRequest
from replicast.formation import CLUSTER_FILE, ENDPOINTS, PUBLIC_MODE, Parameters, toml_pairs
from replicast.joining import Joiner
from replicast.keys import write_private
from replicast.machine import Address
from replicast.target.config import parse_size
from replicast.target.store.format import HEADER_NAME, format_vdev, read_header

PORTS_PER_MEMBER = 10  # of a --port-base; ENDPOINTS takes the first ones
METRICS_OFFSET = ENDPOINTS.index("metrics")
S3_OFFSET = 0  # a gateway has no endpoint that members need, so its first port is for clients

Settings = dict[str, str | int]


@dataclass(frozen=True, slots=True)
class VdevPlan:
    """A VDEV to make: its folder and its capacity setting ("" shares the file system)."""

    path: Path
    capacity: str = ""


def endpoint_ports(base: int) -> list[int]:
    """A target's ports when they are counted from `base`, in the order of ENDPOINTS."""
    return [base + offset for offset in range(len(ENDPOINTS))]


def target_joiner(
    name: str, host: str, zone: str, vdev_count: int, address: str, ports: Sequence[int]
) -> Joiner:
    """What a target says of itself when it joins."""
    addresses = {what: (address, port) for what, port in zip(ENDPOINTS, ports, strict=True)}
    return Joiner(name=name, host=host, zone=zone, vdev_count=vdev_count, addresses=addresses)


def parse_vdev_option(text: str, base: Path) -> VdevPlan:
    """PATH or PATH;capacity=SIZE; raises InvalidRequest."""
    path, _, option = text.partition(";")
    key, _, capacity = option.partition("=")
    if not path or "," in path or (option and key.strip() != "capacity"):
        raise InvalidRequest(f"--vdev {text!r}: give PATH or 'PATH;capacity=500 GiB'")
    check_capacity(capacity.strip())
    return VdevPlan(base / path, capacity.strip())


def check_capacity(text: str) -> None:
    """Raise InvalidRequest unless `text` is empty or a size."""
    try:
        if text:
            parse_size(text)
    except ValueError as error:
        raise InvalidRequest(f"capacity: {error}") from None


def check_copies(copies: int, min_copies: int, targets: int) -> None:
    """Raise InvalidRequest unless a cluster can be formed so, and something be stored in it."""
    most = Parameters().group_size
    if not 1 <= min_copies <= copies <= most:
        raise InvalidRequest(f"--copies: 1 to {most}, and --min-copies from 1 to --copies")
    if targets < min_copies:
        raise InvalidRequest(
            f"--targets {targets}: nothing could be stored with --min-copies {min_copies}, "
            "each on another target: give fewer --min-copies and --copies"
        )


def check_vdev_folder(vdev: VdevPlan) -> None:
    """Raise InvalidRequest when the folder can never become a VDEV: said before a host joins."""
    path = vdev.path
    if not path.exists() or (path / HEADER_NAME).exists():
        return  # a header's cluster is looked at when it is known
    if not path.is_dir() or any(path.iterdir()):
        raise InvalidRequest(f"--vdev {path}: give an empty folder, or one that does not exist")


def make_target(directory: Path, cluster_id: bytes, vdevs: Sequence[VdevPlan]) -> bool:
    """Format the VDEVs and write target.toml; False when that was done before."""
    path = directory / "target.toml"
    if path.exists():
        return False
    for vdev in vdevs:
        _format(vdev, cluster_id)
    values: Settings = {"directory": "."}
    values["vdevs"] = ",".join(_vdev_text(vdev, directory) for vdev in vdevs)
    _write_settings(path, "replicast-target", values)
    return True


def make_gateway(
    directory: Path,
    metrics: Address,
    s3: Address | None = None,
    certificate: tuple[Path, Path] | None = None,
) -> bool:
    """Write gateway.toml; False when that was done before. `s3`: None for none that is served;
    `certificate`: it and its key, for HTTPS in place of HTTP."""
    path = directory / "gateway.toml"
    if path.exists():
        return False
    values: Settings = {
        "directory": ".",
        "api_socket": relative_to(socket_path(directory), directory),
        "metrics_host": metrics[0],
        "metrics_port": metrics[1],
    }
    if s3 is not None:
        values |= {"s3_host": s3[0], "s3_port" if certificate is None else "s3_tls_port": s3[1]}
    if certificate is not None:
        public, key = (os.path.relpath(path, directory) for path in certificate)
        values |= {"s3_tls_certificate": public, "s3_tls_key": key}
    add_api_socket(directory / CLUSTER_FILE, socket_path(directory))
    _write_settings(path, "replicast-gw", values)
    return True


def add_api_socket(cluster_file: Path, socket: Path) -> None:
    """Say in a cluster.toml where this host's gateway listens, so that clients find it."""
    text = cluster_file.read_text(encoding="utf-8")
    if "api_socket" not in tomllib.loads(text):
        lines = toml_pairs({"api_socket": relative_to(socket, cluster_file.parent)})
        # Before the first table of the file: TOML gives what follows one to that table.
        write_private(cluster_file, "\n".join([*lines, text]), mode=PUBLIC_MODE)


def _format(vdev: VdevPlan, cluster_id: bytes) -> None:
    """Under another name first: a format cut short leaves nothing that looks like a VDEV.

    A folder that exists already (a mount point) cannot be renamed over; it is formatted in
    place and must be empty.
    """
    disk, rng = RealDisk(), random.SystemRandom()
    if (vdev.path / HEADER_NAME).exists():
        # Made by an earlier start that did not get as far as target.toml, or another cluster's.
        if read_header(disk, vdev.path).cluster_id != cluster_id:
            raise InvalidRequest(f"{vdev.path}: a VDEV of another cluster is there")
        return
    if vdev.path.exists():
        format_vdev(disk, vdev.path, cluster_id, None, rng)
        return
    vdev.path.parent.mkdir(parents=True, exist_ok=True)
    draft = vdev.path.with_name(vdev.path.name + ".new")
    shutil.rmtree(draft, ignore_errors=True)
    format_vdev(disk, draft, cluster_id, None, rng)
    disk.rename(draft, vdev.path)
    disk.sync_directory(vdev.path.parent)


def _vdev_text(vdev: VdevPlan, directory: Path) -> str:
    path = vdev.path.relative_to(directory) if vdev.path.is_relative_to(directory) else vdev.path
    return str(path) + (f";capacity={vdev.capacity}" if vdev.capacity else "")


def _write_settings(path: Path, daemon: str, values: Settings) -> None:
    head = f"# Settings of {daemon}; all of them, with their ranges: docs/operations.md."
    write_private(path, "\n".join([head, *toml_pairs(values)]) + "\n", mode=PUBLIC_MODE)
