"""The control state as canonical bytes, for Raft's snapshots and its journal's compaction.

The field names of StateSnapshot are those of ControlState; dictionaries travel as the
list of their values. Order is kept: some of the dictionaries evict their oldest.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any

from replicast.wire import control_messages as cm
from replicast.wire.codec import WireError, decode, encode

SNAPSHOT_VERSION = 6
KEYED: dict[str, Callable[[Any], Any]] = {
    "targets": lambda t: t.node_id,
    "vdevs": lambda v: v.index,
    "history": lambda h: h.generation,
    "buckets": lambda b: (b.tenant, b.bucket),
    "users": lambda u: u.name,
    "keys": lambda k: k.public_key,
    "tokens": lambda t: t.token_hash,
    "clients": lambda c: c.client,
}
SETS = ("edits", "emptied", "damaged")
FIELDS = tuple(f.name for f in fields(cm.StateSnapshot) if f.name != "version")


def pack(values: Mapping[str, Any]) -> bytes:
    """The snapshot of the named fields."""
    flat = {name: _flat(name, values[name]) for name in FIELDS}
    return encode(cm.StateSnapshot(version=SNAPSHOT_VERSION, **flat))


def unpack(data: bytes) -> dict[str, Any]:
    """The fields in `data`; raises WireError when it is no snapshot of this version."""
    snapshot = decode(cm.StateSnapshot.TYPE, data)
    if not isinstance(snapshot, cm.StateSnapshot) or snapshot.version != SNAPSHOT_VERSION:
        raise WireError("bad_version")
    return {name: _keyed(name, getattr(snapshot, name)) for name in FIELDS}


def _flat(name: str, value: Any) -> Any:
    if name == "settings":
        return tuple(cm.Setting(key=k, value=v) for k, v in value.items())
    if name in SETS:
        return tuple(value)
    return tuple(value.values()) if name in KEYED else value


def _keyed(name: str, value: Any) -> Any:
    if name == "settings":
        return {s.key: s.value for s in value}
    if name in SETS:
        return dict.fromkeys(value)
    return {KEYED[name](item): item for item in value} if name in KEYED else value
