"""One cell of two native clients: processes that bench/load_jobs.py describes, and the meters of a phase."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from figures import Figures, Usage
from native_client import Limits, written_bytes
from results import size_text
from s3 import Clients, Meter
from s3_endpoints import Endpoint

from replicast.units import MIB


class LoadFailed(Exception):
    """A wrong byte, or an operation that failed."""


class DiskMeter(Meter):
    """Bytes that the servers wrote to the disk, too."""

    def __init__(self, endpoint: Endpoint) -> None:
        super().__init__(endpoint)
        self.written = 0

    def start(self) -> None:
        super().start()
        self.written = written_bytes(self.endpoint)

    def stop(self) -> None:
        super().stop()
        self.written = written_bytes(self.endpoint) - self.written


@dataclass(frozen=True, slots=True)
class NativeClient:
    """Of one system. `name` is in front of its figures' names; `others`: the share of all cores
    that neither servers nor client used, of each of their phases."""

    name: str
    endpoint: Endpoint
    process: Clients
    others: list[float] = field(default_factory=list)

    def measure(self, figures: Figures | None, size: int, clients: int, limits: Limits) -> None:
        """PUT, then GET of what was put; without figures: just to warm up. Raises LoadFailed."""
        for operation in ("put", "get"):
            job = {
                "do": operation,
                "size": size,
                "clients": clients,
                "count": limits.count(size, clients),
                "seconds": limits.seconds,
            }
            meter = DiskMeter(self.endpoint)
            (answer,) = self.process.run([job], meter)
            name = f"{self.name} native {operation.upper()} {size_text(size)} x{clients}"
            if answer["errors"] or not answer["taken"]:
                raise LoadFailed(f"{name}: {answer['errors']} failed, as {answer['first_error']}")
            if figures is not None:
                self.others.append(meter.others(answer["cpu"]))
                add(figures, name, size, answer, meter.servers, meter.written)


def connect(name: str, endpoint: Endpoint, command: Sequence[str]) -> NativeClient:
    """Start its process."""
    return NativeClient(name, endpoint, Clients(1, command))


def add(
    figures: Figures,
    name: str,
    size_bytes: int,
    answer: dict[str, Any],
    server_seconds: float,
    written: int,
) -> None:
    """Small objects in op/s, from 1 MiB on in MiB/s."""
    taken = sorted(answer["taken"])
    count = len(taken)
    usage = Usage(answer["wall"], answer["cpu"], server_seconds)
    more = {
        "p50_ms": statistics.median(taken) * 1e3,
        "p99_ms": taken[min(count - 1, count * 99 // 100)] * 1e3,
        "written": written / (count * size_bytes),
    }
    if size_bytes < MIB:
        figures.add(name, "op/s", usage.of_operations(count, **more))
    else:
        figures.add(name, "MiB/s", usage.of_bytes(count * size_bytes, **more))
