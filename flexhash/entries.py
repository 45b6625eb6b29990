"""What a FlexHash table is made from: targets, VDEVs, policy, changes of rows.

Plain frozen values without behaviour. `check_inputs` refuses every combination
that the builder or the byte format cannot carry, by TableError with a sentence
that names the culprit; nothing later has to check again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

NO_VDEV = 0xFFFF  # fills unused cells; never a vdev_index

ALGORITHM_VERSION = 1
VDEV_ID_BYTES = 16
ROW_COUNT_MAX = 1 << 16
GROUP_SIZE_MAX = 64
COPIES_MAX = 16
TARGET_COUNT_MAX = 1 << 14
WEIGHT_MAX = (1 << 32) - 1
TEXT_BYTES_MAX = 255

Endpoint = tuple[str, int]


class TableError(Exception):
    """Inputs or bytes that are not a table; the text says which rule they break."""


class VdevState(IntEnum):
    """UP, DOWN and STOPPING keep their cells; DRAINING and OUT lose membership."""

    UP = 1
    DOWN = 2
    DRAINING = 3
    OUT = 4
    STOPPING = 5  # its target serves and is about to stop: leads nothing, leaves in-sync sets


class RowChangeKind(IntEnum):
    """One replica more or one less in the in-sync set, or one of it moved to its front."""

    ADD = 1
    REMOVE = 2
    LEAD = 3


@dataclass(frozen=True, slots=True)
class VdevEntry:
    """One disk. `index` stands for it in rows and never changes; `weight` follows capacity."""

    index: int
    vdev_id: bytes
    target: int
    weight: int
    state: VdevState
    open_count: int


@dataclass(frozen=True, slots=True)
class TargetEntry:
    """One target process: its failure domains and where to reach it."""

    node_id: int
    name: str
    host: str
    zone: str
    udp: Endpoint
    peer: Endpoint
    control: Endpoint
    public_key: str
    metrics: Endpoint


@dataclass(frozen=True, slots=True)
class Policy:
    """What the operator fixes at formation; `group_size` is an upper limit."""

    row_count: int = 4096
    group_size: int = 8
    copies: int = 3
    min_copies: int = 2
    algorithm: int = ALGORITHM_VERSION


@dataclass(frozen=True, slots=True)
class RowChange:
    """A change of one row's in-sync set; counts only while the row still is at `names_since`."""

    row: int
    vdev_index: int
    kind: RowChangeKind
    names_since: int


def check_inputs(
    targets: Sequence[TargetEntry], vdevs: Sequence[VdevEntry], policy: Policy
) -> None:
    """Raise TableError unless a table of these parts can be built, sent and read back."""
    _check_policy(policy)
    if len(targets) > TARGET_COUNT_MAX:
        raise TableError(f"{len(targets)} targets, at most {TARGET_COUNT_MAX}")
    node_ids = {target.node_id for target in targets}
    if len(node_ids) != len(targets):
        raise TableError("two targets with one node_id")
    for target in targets:
        _check_target(target)
    if len({vdev.index for vdev in vdevs}) != len(vdevs):
        raise TableError("two VDEVs with one index")
    if len({vdev.vdev_id for vdev in vdevs}) != len(vdevs):
        raise TableError("two VDEVs with one vdev_id")
    for vdev in vdevs:
        _check_vdev(vdev, vdev.target in node_ids)


def _check_policy(policy: Policy) -> None:
    rows = policy.row_count
    if not 1 <= rows <= ROW_COUNT_MAX or rows & (rows - 1):
        raise TableError(f"row_count {rows} is not a power of two up to {ROW_COUNT_MAX}")
    if not 1 <= policy.copies <= COPIES_MAX:
        raise TableError(f"copies {policy.copies} is not in 1..{COPIES_MAX}")
    if not 1 <= policy.min_copies <= policy.copies:
        raise TableError(f"min_copies {policy.min_copies} is not in 1..copies")
    if not policy.copies <= policy.group_size <= GROUP_SIZE_MAX:
        raise TableError(f"group_size {policy.group_size} is not in copies..{GROUP_SIZE_MAX}")
    if policy.algorithm != ALGORITHM_VERSION:
        raise TableError(f"placement algorithm {policy.algorithm} is not known here")


def _check_target(target: TargetEntry) -> None:
    if not 0 <= target.node_id < 1 << 64:
        raise TableError(f"node_id {target.node_id} is not a u64")
    endpoints = (target.udp, target.peer, target.control, target.metrics)
    texts = (target.name, target.host, target.zone, target.public_key)
    for text in (*texts, *(host for host, _ in endpoints)):
        try:
            size_bytes = len(text.encode("utf-8"))
        except UnicodeEncodeError:
            raise TableError(f"target {target.node_id:x}: a text is not Unicode") from None
        if size_bytes > TEXT_BYTES_MAX:
            raise TableError(f"target {target.node_id:x}: a text has over {TEXT_BYTES_MAX} bytes")
    for _, port in endpoints:
        if not 0 <= port < 1 << 16:
            raise TableError(f"target {target.node_id:x}: port {port}")


def _check_vdev(vdev: VdevEntry, target_known: bool) -> None:
    if not 0 <= vdev.index < NO_VDEV:
        raise TableError(f"vdev_index {vdev.index} is not in 0..{NO_VDEV - 1}")
    if len(vdev.vdev_id) != VDEV_ID_BYTES:
        raise TableError(f"VDEV {vdev.index}: vdev_id has {len(vdev.vdev_id)} bytes")
    if not target_known:
        raise TableError(f"VDEV {vdev.index}: no target {vdev.target:x}")
    if not 1 <= vdev.weight <= WEIGHT_MAX:
        raise TableError(f"VDEV {vdev.index}: weight {vdev.weight} is not in 1..{WEIGHT_MAX}")
    if not 0 <= vdev.open_count < 1 << 64:
        raise TableError(f"VDEV {vdev.index}: open_count {vdev.open_count} is not a u64")
