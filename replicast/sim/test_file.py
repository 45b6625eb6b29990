"""Tests of the simulator as TOML files: workloads, faults against them, and how long.

seconds = 20                      virtual time with workloads and faults
messages_per_operation = 200      optional: what the faults may cost (bounds.py)
operation_seconds = 10            optional: what an operation may take, during the faults, too (C7);
                                  twice that with fault points
answered = true                   optional: no operation may fail or stay without an outcome
checks = ["writes"]               optional: what is checked of histories (checkers.HISTORY_CHECKS)
buggify = true                    optional: fault points in every run, or (false) in none
[cluster]                         optional: fixes what the seed would draw (cluster.Shape)
targets = 5
[[workload]]                      all run at the same time, each in every client
kind = "register"                 workload_kinds.PROGRAMS
names = 4
[[fault]]
kind = "attrition"                faults.KINDS
every_seconds = 4
seconds = 8
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

from replicast.errors import InvalidRequest
from replicast.sim.bounds import OPERATION_MESSAGES_MAX
from replicast.sim.checkers import HISTORY_CHECKS
from replicast.sim.cluster import Shape
from replicast.sim.faults import KINDS, FaultPlan
from replicast.sim.workload_kinds import PROGRAMS
from replicast.sim.workloads import WorkloadPlan

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Test:
    """One test file."""

    name: str
    seconds: float
    shape: dict[str, Any]
    workloads: tuple[WorkloadPlan, ...]
    faults: tuple[FaultPlan, ...]
    checks: tuple[str, ...] = ("linearizable",)
    messages_per_operation: float = OPERATION_MESSAGES_MAX
    operation_seconds: float | None = None  # None: only the last ones have a bound
    buggify: bool | None = None  # None: the seed decides
    answered: bool = False  # whatever happens, every operation succeeds


def load_test(path: Path) -> Test:
    """Read a test file; raises InvalidRequest that names file and key."""
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InvalidRequest(f"{path}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InvalidRequest(f"{path}: not valid TOML: {error}") from None
    try:
        return parse_test(values, path.stem, str(path))
    except (TypeError, ValueError, AttributeError) as error:
        raise InvalidRequest(f"{path}: {error}") from None


def parse_test(values: dict[str, Any], name: str, where: str) -> Test:
    """A test from parsed TOML; raises InvalidRequest."""
    unknown = set(values) - {
        "seconds",
        "buggify",
        "cluster",
        "workload",
        "fault",
        "checks",
        "answered",
        "messages_per_operation",
        "operation_seconds",
    }
    if unknown:
        raise InvalidRequest(f"{where}: unknown key {sorted(unknown)[0]}")
    shape = values.get("cluster", {})
    _make(Shape, shape, f"{where}: cluster")
    workloads = tuple(
        _make(WorkloadPlan, each, f"{where}: workload") for each in values.get("workload", ())
    )
    faults = tuple(_make(FaultPlan, each, f"{where}: fault") for each in values.get("fault", ()))
    for plan in workloads:
        _known(plan.kind, PROGRAMS, f"{where}: workload")
    for fault in faults:
        _known(fault.kind, KINDS, f"{where}: fault")
    checks = tuple(values.get("checks", ("linearizable",)))
    for check in checks:
        _known(check, HISTORY_CHECKS, f"{where}: checks")
    if not checks:
        raise InvalidRequest(f"{where}: checks: name at least one")
    if not workloads:
        raise InvalidRequest(f"{where}: no workload")
    buggify = values.get("buggify")
    if buggify not in (None, True, False):
        raise InvalidRequest(f"{where}: buggify is true or false")
    answered = values.get("answered", False)
    if answered not in (True, False):
        raise InvalidRequest(f"{where}: answered is true or false")
    operation_seconds = values.get("operation_seconds")
    if operation_seconds is not None and not float(operation_seconds) > 0:
        raise InvalidRequest(f"{where}: operation_seconds is more than 0")
    return Test(
        name,
        float(values.get("seconds", 20)),
        dict(shape),
        workloads,
        faults,
        checks,
        float(values.get("messages_per_operation", OPERATION_MESSAGES_MAX)),
        None if operation_seconds is None else float(operation_seconds),
        buggify,
        answered,
    )


def _known(kind: str, kinds: dict[str, Any], where: str) -> None:
    if kind not in kinds:
        raise InvalidRequest(f"{where}: kind {kind!r}; known: {', '.join(kinds)}")


def _make(kind: type[T], values: dict[str, Any], where: str) -> T:
    known = {f.name for f in fields(kind)}  # type: ignore[arg-type]
    for key, value in values.items():
        if key not in known:
            raise InvalidRequest(f"{where}: unknown key {key}; known: {', '.join(sorted(known))}")
        if isinstance(value, list):
            values = values | {key: tuple(value)}
    try:
        return kind(**values)
    except TypeError as error:
        raise InvalidRequest(f"{where}: {error}") from None
