"""`replicast status`: the table and what every target says of itself, folded into one verdict.

Pure: facts in, a JSON-ready dictionary out. The verdict is healthy (exit 0),
degraded (1: everything is readable and an acknowledged write has more than one
copy left) or at_risk (2: some data may hang on one copy, or cannot be reached).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from replicast.flexhash.table import Table, VdevState
from replicast.generation import format_generation
from replicast.machine import NodeId
from replicast.wire.schema import Message
from replicast.wire.status_messages import TargetStatus, VdevStatusEntry

HEALTHY, DEGRADED, AT_RISK = "healthy", "degraded", "at_risk"


def status_report(
    table: Table, answers: Mapping[NodeId, Message], *, transport: str, implementation: str
) -> dict[str, Any]:
    """The whole report; `answers` lacks the targets that stayed silent."""
    heard = {n: a for n, a in answers.items() if isinstance(a, TargetStatus)}
    targets = [_target(table, node_id, heard.get(node_id)) for node_id in table.targets]
    vdevs = [_vdev(table, index, heard) for index in table.vdevs]
    rows = _rows(table)
    raft = _raft(table, heard)
    short = sum(a.short_chunks for a in heard.values())
    problems = _problems(table, targets, vdevs, rows, raft, short)
    return {
        "verdict": _verdict(table, targets, vdevs, rows, raft, problems),
        "problems": problems,
        "notes": _notes(table),
        "generation": format_generation(table.generation),
        "transport": transport,
        "implementation": implementation,
        "copies": table.policy.copies,
        "min_copies": table.policy.min_copies,
        "raft": raft,
        "targets": targets,
        "vdevs": vdevs,
        "rows": rows,
        "chunks_below_copies": short,
        "capacity_bytes": sum(v["capacity_bytes"] for v in vdevs),
        "used_bytes": sum(v["used_bytes"] for v in vdevs),
        "free_bytes": sum(v["free_bytes"] for v in vdevs),
    }


def _target(table: Table, node_id: NodeId, answer: TargetStatus | None) -> dict[str, Any]:
    entry = table.targets[node_id]
    report: dict[str, Any] = {
        "name": entry.name,
        "node_id": f"{node_id:016x}",
        "host": entry.host,
        "zone": entry.zone,
        "address": f"{entry.udp[0]}:{entry.udp[1]}",
        "up": answer is not None,
    }
    if answer is not None:
        report |= {
            "generation": format_generation(answer.generation),
            "lease": answer.lease_remaining_ns > 0,
            "lease_age_seconds": round(answer.lease_age_ns / 1e9, 3),
            "rows_led": answer.rows_led,
            "rows_not_ready": answer.rows_not_ready,
            "implementation": answer.implementation,
            "version": answer.version,
        }
    return report


def _vdev(table: Table, index: int, heard: Mapping[NodeId, TargetStatus]) -> dict[str, Any]:
    entry = table.vdevs[index]
    answer = heard.get(entry.target)
    said = _said(answer, entry.vdev_id)
    state = "down" if said is None or entry.state == VdevState.DOWN else said.state
    if state == "ok":
        state = "full" if said is not None and said.full else entry.state.name.lower()
    return {
        "index": index,
        "vdev_id": entry.vdev_id.hex(),
        "target": table.target_of(index).name,
        "state": state,
        "capacity_bytes": said.capacity_bytes if said else 0,
        "used_bytes": said.used_bytes if said else 0,
        "free_bytes": said.free_bytes if said else 0,
    }


def _said(answer: TargetStatus | None, vdev_id: bytes) -> VdevStatusEntry | None:
    if answer is None:
        return None
    return next((v for v in answer.vdevs if v.vdev_id == vdev_id), None)


def _rows(table: Table) -> dict[str, int]:
    copies = table.policy.copies
    counts: Counter[str] = Counter()
    for row in range(table.policy.row_count):
        replicas = table.name_replicas(row)
        up = sum(table.vdevs[i].state != VdevState.DOWN for i in replicas if i in table.vdevs)
        if table.row_leader(row) is None:
            counts["without_leader"] += 1
        elif up < table.policy.min_copies:
            counts["not_writable"] += 1
        elif up < min(copies, len(table.name_candidates(row))):
            counts["below_copies"] += 1
        else:
            counts["in_sync"] += 1
    keys = ("in_sync", "below_copies", "not_writable", "without_leader")
    return {"total": table.policy.row_count, **{key: counts[key] for key in keys}}


def _raft(table: Table, heard: Mapping[NodeId, TargetStatus]) -> dict[str, Any]:
    voters = {n: a for n, a in heard.items() if a.raft.voter}
    # The voter of the highest term knows best who leads.
    best = max(voters.values(), key=lambda a: (a.raft.term, a.raft.has_quorum), default=None)
    leader = best.raft.leader if best else 0
    name = table.targets[leader].name if leader in table.targets else None
    return {
        "leader": name,
        "term": best.raft.term if best else 0,
        "quorum": name is not None and any(a.raft.has_quorum for a in voters.values()),
        "voters_heard": sorted(table.targets[n].name for n in voters if n in table.targets),
    }


def _problems(
    table: Table,
    targets: list[dict[str, Any]],
    vdevs: list[dict[str, Any]],
    rows: dict[str, int],
    raft: dict[str, Any],
    short: int,
) -> list[str]:
    problems = [f"target {t['name']} does not answer" for t in targets if not t["up"]]
    problems += [f"target {t['name']} has no lease" for t in targets if t["up"] and not t["lease"]]
    problems += [
        f"VDEV {v['index']} of {v['target']} is {v['state']}" for v in vdevs if v["state"] != "up"
    ]
    texts = {
        "without_leader": "rows cannot be reached",
        "not_writable": "rows are readable, not writable",
        "below_copies": f"rows have fewer than {table.policy.copies} name replicas up",
    }
    problems += [f"{rows[key]} {text}" for key, text in texts.items() if rows[key]]
    if short:
        problems.append(f"{short} chunks below their copies: run `replicast repair`")
    if not raft["quorum"]:
        problems.append("the Raft group has no leader with a quorum")
    return problems


def _verdict(
    table: Table,
    targets: list[dict[str, Any]],
    vdevs: list[dict[str, Any]],
    rows: dict[str, int],
    raft: dict[str, Any],
    problems: list[str],
) -> str:
    by_name = {entry.name: entry.host for entry in table.targets.values()}
    bad = {by_name[v["target"]] for v in vdevs if v["state"] in ("down", "faulted", "damaged")}
    bad |= {t["host"] for t in targets if not t["up"]}
    unreachable = rows["without_leader"] or rows["not_writable"] or not raft["quorum"]
    if unreachable or len(bad) >= max(1, table.policy.copies - 1):
        return AT_RISK
    return DEGRADED if problems else HEALTHY


def _notes(table: Table) -> list[str]:
    notes = []
    addresses = {entry.udp[0] for entry in table.targets.values()}
    if len(table.targets) > 1 and len(addresses) == 1:
        notes.append("all failure domains share one machine")
    hosts = {table.host_of(index) for index in table.vdevs}
    if len(hosts) < table.policy.copies:
        notes.append(f"{len(hosts)} hosts for {table.policy.copies} copies")
    return notes
