"""The canonical bytes of a table (docs/flexhash.md): little-endian, one form per table.

Reading trusts nothing: lengths are checked before anything is allocated, and
every rule that the rest of the program relies on (order, known VDEVs, no
doubles, padding at the end) is checked before a Table exists. What breaks a
rule raises TableError; a newer version is refused by name.
"""

from __future__ import annotations

import struct
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from replicast.flexhash.entries import (
    NO_VDEV,
    VDEV_ID_BYTES,
    Endpoint,
    Policy,
    TableError,
    TargetEntry,
    VdevEntry,
    VdevState,
    check_inputs,
)
from replicast.flexhash.table import Cells, Generations, Rows, Table

MAGIC = b"RCFH"
FORMAT_VERSION = 1

# magic, version, algorithm, generation, row_count, group_size, copies, min_copies, targets, vdevs
_HEADER = struct.Struct("<4sHHQIHBBHH")
_VDEV = struct.Struct(f"<H{VDEV_ID_BYTES}sQIBQ")  # index, id, target, weight, state, open_count


def names_width(policy: Policy) -> int:
    """Cells for in-sync replicas per row: the old ones and as many that replace them."""
    return 2 * policy.copies


def encode_table(table: Table) -> bytes:
    """The canonical bytes of a valid table."""
    policy = table.policy
    parts = [
        _HEADER.pack(
            MAGIC,
            FORMAT_VERSION,
            policy.algorithm,
            table.generation,
            policy.row_count,
            policy.group_size,
            policy.copies,
            policy.min_copies,
            len(table.targets),
            len(table.vdevs),
        )
    ]
    parts += [_target_bytes(target) for target in table.targets.values()]
    parts += [
        _VDEV.pack(v.index, v.vdev_id, v.target, v.weight, v.state, v.open_count)
        for v in table.vdevs.values()
    ]
    rows = table.rows
    parts += [cells.astype("<u2").tobytes() for cells in (rows.members, rows.draining, rows.names)]
    sinces = (rows.members_since, rows.names_since, rows.leader_since)
    parts += [since.astype("<u8").tobytes() for since in sinces]
    return b"".join(parts)


def decode_table(data: bytes) -> Table:
    """The table in `data`; raises TableError for anything that encode_table does not write."""
    reader = _Reader(data)
    magic, version, algorithm, generation, row_count, group_size, *rest = reader.unpack(_HEADER)
    if magic != MAGIC:
        raise TableError("not a FlexHash table")
    if version != FORMAT_VERSION:
        raise TableError(f"table format version {version}; this program reads {FORMAT_VERSION}")
    copies, min_copies, target_count, vdev_count = rest
    policy = Policy(row_count, group_size, copies, min_copies, algorithm)
    targets = [_read_target(reader) for _ in range(target_count)]
    vdevs = [_read_vdev(reader) for _ in range(vdev_count)]
    check_inputs(targets, vdevs, policy)
    _check_ascending("targets", [target.node_id for target in targets])
    _check_ascending("VDEVs", [vdev.index for vdev in vdevs])
    rows = _read_rows(reader, policy)
    _check_rows(rows, vdevs, generation)
    return Table(
        generation,
        policy,
        {target.node_id: target for target in targets},
        {vdev.index: vdev for vdev in vdevs},
        rows,
    )


class _Reader:
    """A cursor over bytes that never reads past their end."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def take(self, size_bytes: int) -> bytes:
        end = self._at + size_bytes
        if end > len(self._data):
            raise TableError("table is cut short")
        piece = self._data[self._at : end]
        self._at = end
        return piece

    def unpack(self, layout: struct.Struct) -> tuple[Any, ...]:
        return layout.unpack(self.take(layout.size))

    def text(self) -> str:
        try:
            return self.take(self.take(1)[0]).decode("utf-8")
        except UnicodeDecodeError:
            raise TableError("a text is not UTF-8") from None

    def endpoint(self) -> Endpoint:
        host = self.text()
        return host, int.from_bytes(self.take(2), "little")

    def left_bytes(self) -> int:
        return len(self._data) - self._at


def _target_bytes(target: TargetEntry) -> bytes:
    parts = [target.node_id.to_bytes(8, "little")]
    parts += [_text_bytes(text) for text in (target.name, target.host, target.zone)]
    parts += [_endpoint_bytes(address) for address in (target.udp, target.peer, target.control)]
    parts += [_text_bytes(target.public_key), _endpoint_bytes(target.metrics)]
    return b"".join(parts)


def _text_bytes(text: str) -> bytes:
    raw = text.encode("utf-8")
    return bytes([len(raw)]) + raw


def _endpoint_bytes(endpoint: Endpoint) -> bytes:
    host, port = endpoint
    return _text_bytes(host) + port.to_bytes(2, "little")


def _read_target(reader: _Reader) -> TargetEntry:
    return TargetEntry(
        node_id=int.from_bytes(reader.take(8), "little"),
        name=reader.text(),
        host=reader.text(),
        zone=reader.text(),
        udp=reader.endpoint(),
        peer=reader.endpoint(),
        control=reader.endpoint(),
        public_key=reader.text(),
        metrics=reader.endpoint(),
    )


def _read_vdev(reader: _Reader) -> VdevEntry:
    index, vdev_id, target, weight, state, open_count = reader.unpack(_VDEV)
    try:
        return VdevEntry(index, vdev_id, target, weight, VdevState(state), open_count)
    except ValueError:
        raise TableError(f"VDEV {index}: no state {state}") from None


def _read_rows(reader: _Reader, policy: Policy) -> Rows:
    widths = (policy.group_size, policy.group_size, names_width(policy))
    wanted_bytes = policy.row_count * (2 * sum(widths) + 3 * 8)
    if reader.left_bytes() != wanted_bytes:
        raise TableError(f"rows take {reader.left_bytes()} bytes, not {wanted_bytes}")
    cells = [_read_cells(reader, policy.row_count, width) for width in widths]
    sinces = [_read_generations(reader, policy.row_count) for _ in range(3)]
    return Rows(
        members=cells[0],
        draining=cells[1],
        names=cells[2],
        members_since=sinces[0],
        names_since=sinces[1],
        leader_since=sinces[2],
    )


def _read_cells(reader: _Reader, row_count: int, width: int) -> Cells:
    flat = np.frombuffer(reader.take(2 * row_count * width), dtype="<u2")
    return flat.reshape(row_count, width).astype(np.uint16)


def _read_generations(reader: _Reader, row_count: int) -> Generations:
    return np.frombuffer(reader.take(8 * row_count), dtype="<u8").astype(np.uint64)


def _check_ascending(what: str, keys: list[int]) -> None:
    if any(left >= right for left, right in pairwise(keys)):
        raise TableError(f"{what} are not in ascending order")


def _check_rows(rows: Rows, vdevs: list[VdevEntry], generation: int) -> None:
    known = np.zeros(NO_VDEV + 1, dtype=np.bool_)
    known[[vdev.index for vdev in vdevs] + [NO_VDEV]] = True
    for what, cells in (
        ("members", rows.members),
        ("draining", rows.draining),
        ("name_replicas", rows.names),
    ):
        if not known[cells].all():
            raise TableError(f"{what} lists an unknown VDEV")
        empty = cells == NO_VDEV
        if (empty[:, :-1] & ~empty[:, 1:]).any():
            raise TableError(f"{what} has a gap")
    if _has_doubles(np.hstack((rows.members, rows.draining))) or _has_doubles(rows.names):
        raise TableError("a row lists a VDEV twice")
    for since in (rows.members_since, rows.names_since, rows.leader_since):
        if (since > np.uint64(generation)).any():
            raise TableError("a row changed after the table's own generation")


def _has_doubles(cells: npt.NDArray[np.uint16]) -> bool:
    ordered = np.sort(cells, axis=1)
    same = ordered[:, :-1] == ordered[:, 1:]
    return bool((same & (ordered[:, 1:] != NO_VDEV)).any())
