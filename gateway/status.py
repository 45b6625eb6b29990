"""`replicast status`: the table and what every target says of itself, folded into one verdict.

Pure: facts in, a JSON-ready dictionary out. The verdict is healthy (exit 0),
degraded (1: everything is readable and an acknowledged write has more than one
copy left) or at_risk (2: some data may hang on one copy, or cannot be reached).
Data in a cluster that is meant to keep one copy is not at risk by that alone.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from replicast.addresses import address_text
from replicast.flexhash.table import Table, VdevState
from replicast.generation import format_generation
from replicast.machine import NodeId
from replicast.wire.schema import Message
from replicast.wire.status_messages import TargetStatus, VdevStatusEntry

HEALTHY, DEGRADED, AT_RISK = "healthy", "degraded", "at_risk"
GOING = (VdevState.DOWN, VdevState.STOPPING)  # no replica of such a VDEV is counted on
VOTER_FAILED, VOTER_LOST = "failed", "lost"  # flexhash/raft/node.py, target/voter.py
WHY_DOWN = ("faulted", "read_only", "damaged")  # say more than that it is not vouched for
TAKES_PAYLOAD = ("ok", "slow")  # unless it is full
GOOD_STATES = ("up", "out")  # out: given up for good, its data is elsewhere or being restored


@dataclass(frozen=True, slots=True)
class _Facts:
    """What the verdict and the problems are judged by."""

    table: Table
    targets: list[dict[str, Any]]
    vdevs: list[dict[str, Any]]
    rows: dict[str, int]
    raft: dict[str, Any]
    short_chunks: int
    hosts: int

    def copies_possible(self) -> int:
        """On distinct hosts."""
        return min(self.table.policy.copies, self.hosts)

    def copies_fewest(self) -> int:
        """That any acknowledged chunk was stored with, as far as is known."""
        policy = self.table.policy
        return policy.min_copies if self.short_chunks else self.copies_possible()

    def bad_hosts(self) -> set[str]:
        """Hosts whose copies cannot be counted on."""
        by_name = {entry.name: entry.host for entry in self.table.targets.values()}
        gone = ("down", "stopping", "missing", "faulted", "damaged")
        bad = {by_name[v["target"]] for v in self.vdevs if v["state"] in gone}
        return bad | {t["host"] for t in self.targets if not t["up"]}


def status_report(
    table: Table, answers: Mapping[NodeId, Message], *, transport: str, implementation: str
) -> dict[str, Any]:
    """The whole report; `answers` lacks the targets that stayed silent."""
    heard = {n: a for n, a in answers.items() if isinstance(a, TargetStatus)}
    nodes = sorted(table.targets, key=lambda node_id: _natural(table.targets[node_id].name))
    facts = _Facts(
        table=table,
        targets=[_target(table, node_id, heard.get(node_id)) for node_id in nodes],
        vdevs=[_vdev(table, index, heard) for index in table.vdevs],
        rows=_rows(table),
        raft=_raft(table, heard),
        short_chunks=sum(a.short_chunks for a in heard.values()),
        hosts=len({table.host_of(i) for i, v in table.vdevs.items() if v.state != VdevState.OUT}),
    )
    problems = _problems(facts)
    return {
        "verdict": _verdict(facts, problems),
        "problems": problems,
        "notes": _notes(facts),
        "generation": format_generation(table.generation),
        "transport": transport,
        "implementation": implementation,
        "copies": table.policy.copies,
        "min_copies": table.policy.min_copies,
        "raft": facts.raft,
        "targets": facts.targets,
        "vdevs": facts.vdevs,
        "rows": facts.rows,
        "chunks_below_copies": facts.short_chunks,
        **_capacity(table, heard),
    }


def _capacity(table: Table, heard: Mapping[NodeId, TargetStatus]) -> dict[str, int]:
    """Of all VDEVs that answer; what several on one file system may still take counts once."""
    used, free = 0, 0
    shared: dict[bytes, list[VdevStatusEntry]] = {}
    for entry in table.vdevs.values():
        said = _said(heard.get(entry.target), entry.vdev_id)
        if said is None:
            continue
        used += said.used_bytes
        if any(said.file_system):
            shared.setdefault(said.file_system, []).append(said)
        else:
            free += said.free_bytes
    for sharing in shared.values():
        limit = max(said.file_system_free_bytes for said in sharing)
        free += min(limit, sum(said.free_bytes for said in sharing))
    return {"capacity_bytes": used + free, "used_bytes": used, "free_bytes": free}


def _natural(name: str) -> list[Any]:
    """t2 before t10."""
    return [int(part) if part.isdecimal() else part for part in re.split(r"([0-9]+)", name)]


def _target(table: Table, node_id: NodeId, answer: TargetStatus | None) -> dict[str, Any]:
    entry = table.targets[node_id]
    report: dict[str, Any] = {
        "name": entry.name,
        "node_id": f"{node_id:016x}",
        "host": entry.host,
        "zone": entry.zone,
        "address": address_text(entry.udp),
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
    return {
        "index": index,
        "vdev_id": entry.vdev_id.hex(),
        "target": table.target_of(index).name,
        "state": _vdev_state(entry.state, answer is not None, said),
        "capacity_bytes": said.capacity_bytes if said else 0,
        "used_bytes": said.used_bytes if said else 0,
        "free_bytes": said.free_bytes if said else 0,
        "file_system": said.file_system.hex() if said else "",
    }


def _vdev_state(listed: VdevState, heard: bool, said: VdevStatusEntry | None) -> str:
    """In one word: what the table decided, what its target says of it, the graver first."""
    if listed == VdevState.OUT:
        return "out"
    if said is None:
        return "missing" if heard else "down"  # its target runs, without it
    if listed == VdevState.DOWN and said.state not in WHY_DOWN:
        return "down"
    if said.state in TAKES_PAYLOAD and said.full:
        return "full"
    return listed.name.lower() if said.state == "ok" else said.state


def _said(answer: TargetStatus | None, vdev_id: bytes) -> VdevStatusEntry | None:
    if answer is None:
        return None
    return next((v for v in answer.vdevs if v.vdev_id == vdev_id), None)


def _rows(table: Table) -> dict[str, int]:
    copies = table.policy.copies
    counts: Counter[str] = Counter()
    for row in range(table.policy.row_count):
        replicas = table.name_replicas(row)
        up = sum(table.vdevs[i].state not in GOING for i in replicas if i in table.vdevs)
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
    def names(nodes: Iterable[NodeId]) -> list[str]:
        return sorted(table.targets[n].name for n in nodes if n in table.targets)

    def of_state(state: str) -> list[str]:
        return names(n for n, a in heard.items() if a.raft.voter and a.raft.state == state)

    # Who has not heard yet that its voter epoch is over says nothing that counts.
    epoch = max((a.raft.voter_epoch for a in heard.values()), default=0)
    voters = {
        n: a
        for n, a in heard.items()
        if a.raft.voter
        and a.raft.voter_epoch == epoch
        and a.raft.state not in (VOTER_FAILED, VOTER_LOST)
    }
    # The voter of the highest term knows best who leads.
    best = max(voters.values(), key=lambda a: (a.raft.term, a.raft.has_quorum), default=None)
    leader = best.raft.leader if best else 0
    name = table.targets[leader].name if leader in table.targets else None
    return {
        "leader": name,
        "term": best.raft.term if best else 0,
        "voter_epoch": epoch,
        "quorum": name is not None and any(a.raft.has_quorum for a in voters.values()),
        "voters_heard": names(voters),
        "voters_failed": of_state(VOTER_FAILED),
        "voters_lost": of_state(VOTER_LOST),
    }


def _problems(facts: _Facts) -> list[str]:
    targets, vdevs, rows = facts.targets, facts.vdevs, facts.rows
    problems = [f"target {t['name']} does not answer" for t in targets if not t["up"]]
    problems += [f"target {t['name']} has no lease" for t in targets if t["up"] and not t["lease"]]
    problems += [
        f"VDEV {v['index']} of {v['target']} is {v['state']}"
        for v in vdevs
        if v["state"] not in GOOD_STATES
    ]
    texts = {
        "without_leader": "rows cannot be reached",
        "not_writable": "rows are readable, not writable",
        "below_copies": f"rows have fewer than {facts.copies_possible()} name replicas up",
    }
    problems += [f"{rows[key]} {text}" for key, text in texts.items() if rows[key]]
    if facts.short_chunks:
        problems.append(f"{facts.short_chunks} chunks below their copies: {_advice(facts)}")
    problems += [
        f"the voter of {name} has stopped: its disk failed; restart {name} when that works again"
        for name in facts.raft["voters_failed"]
    ]
    problems += [
        f"the voter of {name} has lost its files and must not vote: `replicast raft replace {name} NEW`"
        for name in facts.raft["voters_lost"]
    ]
    if not facts.raft["quorum"]:
        problems.append("the Raft group has no leader with a quorum")
    return problems


def _advice(facts: _Facts) -> str:
    if facts.hosts < facts.table.policy.copies:
        return f"{facts.hosts} hosts cannot hold {facts.table.policy.copies} copies"
    return "run `replicast repair`"


def _verdict(facts: _Facts, problems: list[str]) -> str:
    unreachable = facts.rows["without_leader"] or facts.rows["not_writable"]
    bad = len(facts.bad_hosts())
    hang_on_one = bad >= max(1, facts.copies_possible() - 1) or (
        facts.short_chunks > 0 and bad >= facts.copies_fewest() - 1
    )
    if unreachable or not facts.raft["quorum"] or hang_on_one:
        return AT_RISK
    return DEGRADED if problems else HEALTHY


def _notes(facts: _Facts) -> list[str]:
    notes = []
    table = facts.table
    addresses = {entry.udp[0] for entry in table.targets.values()}
    if len(table.targets) > 1 and len(addresses) == 1:
        notes.append("all failure domains share one machine")
    systems = Counter(v["file_system"] for v in facts.vdevs if v["file_system"].strip("0"))
    notes += [
        f"the free space of one file system is shared by {count} of the VDEVs"
        for count in systems.values()
        if count > 1
    ]
    if facts.hosts < table.policy.copies:
        notes.append(f"{facts.hosts} hosts for {table.policy.copies} copies")
    return notes
