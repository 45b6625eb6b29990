"""Every setting of replicast-target, once."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from replicast.config import ConfigError, Settings, load, option
from replicast.scheduling import BATCH, CPU_SCHEDULING
from replicast.units import GIB, KIB, MIB, MS

SIZES = {"": 1, "KiB": KIB, "MiB": MIB, "GiB": GIB, "TiB": GIB * 1024}
SIZE = re.compile(r"([0-9]+)\s*(KiB|MiB|GiB|TiB|)")


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetConfig(Settings):
    """Settings of one target daemon."""

    PREFIX: ClassVar[str] = "TARGET"

    directory: str = option("Folder of this member: formation.toml, keys, Raft and table files.")
    vdevs: str = option(
        "Comma-separated VDEV folders; each may be followed by ;capacity=SIZE (default: shares "
        "the free space of its file system) and, for tests of slow disks, "
        ";write_delay_ms=N and ;read_delay_ms=N."
    )
    log_level: str = option(
        "What is logged.", default="info", choices=("debug", "info", "warning", "error")
    )
    cpu_scheduling: str = option(
        "batch: other processes are not interrupted for the target's (SCHED_BATCH); normal: they may be, for "
        "shorter waits where other work keeps all CPUs busy.",
        default=BATCH,
        choices=CPU_SCHEDULING,
    )
    disk: str = option(
        "real, or forgetful: unsynced writes are lost with the process (for tests).",
        default="real",
        choices=("real", "forgetful"),
    )
    buffer_bytes: int = option(
        "Memory for payloads that are arriving.", default=64 * MIB, minimum=4 * MIB
    )
    multicast_groups: int = option(
        "Negotiating groups of the cluster.", default=16, minimum=1, maximum=4096
    )
    rendezvous_groups: int = option(
        "Rendezvous groups of the cluster.", default=64, minimum=1, maximum=4096
    )
    hand_over_seconds: float = option(
        "How long a target that is told to stop may take to hand over what it leads; then it "
        "stops all the same.",
        default=10.0,
        minimum=0.0,
        maximum=20.0,
    )


@dataclass(frozen=True, slots=True)
class VdevPlace:
    """One VDEV of the `vdevs` setting. capacity_bytes 0: shared free space."""

    path: Path
    capacity_bytes: int = 0
    write_delay_ns: int = 0
    read_delay_ns: int = 0


def parse_size(text: str) -> int:
    """Bytes in `10 GiB`, `4096`, ...; raises ValueError."""
    found = SIZE.fullmatch(text.strip())
    if found is None:
        raise ValueError(f"{text!r} is not a size such as 500 GiB")
    return int(found[1]) * SIZES[found[2]]


def load_target(path: Path) -> tuple[TargetConfig, list[VdevPlace]]:
    """The settings in a file and the VDEVs that they name; raises ConfigError that names it."""
    config = load(TargetConfig, path=path)
    try:
        return config, parse_vdevs(config.vdevs, path.parent.resolve())
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None


def parse_vdevs(text: str, base: Path) -> list[VdevPlace]:
    """The places in a `vdevs` setting, relative ones under `base`; raises ConfigError."""
    places = [_parse_vdev(part, base) for part in text.split(",") if part.strip()]
    if not places:
        raise ConfigError("vdevs: name at least one VDEV folder")
    if len({place.path for place in places}) != len(places):
        raise ConfigError("vdevs: a folder is named twice")
    return places


def _parse_vdev(text: str, base: Path) -> VdevPlace:
    path, *options = (part.strip() for part in text.split(";"))
    values = {"capacity": 0, "write_delay_ms": 0, "read_delay_ms": 0}
    for each in options:
        key, _, value = each.partition("=")
        if key not in values:
            raise ConfigError(f"vdevs: {path}: unknown option {key}; known: {', '.join(values)}")
        try:
            values[key] = parse_size(value)
        except ValueError as error:
            raise ConfigError(f"vdevs: {path}: {key}: {error}") from None
    delays_ns = (values["write_delay_ms"] * MS, values["read_delay_ms"] * MS)
    return VdevPlace(base / path, values["capacity"], *delays_ns)
