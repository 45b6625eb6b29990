"""raft status, raft replace: who votes, and giving the place of a lost voter to another target."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Mapping, Sequence
from typing import Any

import click

from replicast.addresses import address_text
from replicast.cli.control import ControlPlane, control, folder_of
from replicast.cli.run import run
from replicast.cli.text import table_text
from replicast.errors import Conflict, InvalidRequest, ReplicastError, Unauthorized, Unavailable
from replicast.flexhash.commands import Code
from replicast.flexhash.voters import VoterEntry, VoterSet, info, voter_set
from replicast.formation import Formation, Member
from replicast.keys import Role
from replicast.machine import NodeId
from replicast.wire.control_messages import StatusData
from replicast.wire.voter_messages import ReplaceVoters

BEGIN_SECONDS = 60.0
POLL_SECONDS = 0.2


@click.group()
def raft() -> None:
    """Look after the voters, which agree on the FlexHash table."""


@raft.command("status")
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
@click.pass_context
def raft_status(context: click.Context, as_json: bool) -> None:
    """Show the voters. Exit 1 when one is missing, or there is no quorum."""

    async def work() -> int:
        async with control(folder_of(context)) as plane:
            report = report_of(plane.voters, await plane.statuses())
        click.echo(json.dumps(report, indent=2) if as_json else report_text(report))
        return int(not complete(report))

    run(work)


@raft.command("replace")
@click.argument("old")
@click.argument("new")
@click.option(
    "--wait", "wait_seconds", default=BEGIN_SECONDS, show_default=True, type=float,
    help="Seconds until all voters must have begun the new epoch.",
)  # fmt: skip
@click.pass_context
def raft_replace(context: click.Context, old: str, new: str, wait_seconds: float) -> None:
    """Let target NEW vote in the place of OLD, which may be lost or alive.

    Needs a majority of the voters, of which OLD may be one or not. Exit 0: all voters of the new
    list are there.
    """

    async def work() -> None:
        async with control(folder_of(context)) as plane:
            await plane.statuses()  # of later voters than those known here, too
            voters = chosen(plane.formation, plane.voters, old, new)
            await _replace(plane, voters, new)
            click.echo(f"voter epoch {voters.epoch}: {_labels(voters)}")
            await _begun(plane, voters.epoch, wait_seconds)

    run(work)


def chosen(formation: Formation, voters: VoterSet, old: str, new: str) -> VoterSet:
    """The next voters; raises InvalidRequest for names that cannot be meant."""
    targets = {m.name: m for m in formation.of_role(Role.TARGET)}
    for name in (old, new):
        if name not in targets:
            raise InvalidRequest(f"no target {name}; there are {', '.join(sorted(targets))}")
    if targets[old].node_id not in voters.node_ids:
        raise InvalidRequest(f"{old} is no voter; those are {_labels(voters)}")
    if targets[new].node_id in voters.node_ids:
        raise InvalidRequest(f"{new} is a voter already; those are {_labels(voters)}")
    kept = [formation.member(n) for n in voters.node_ids if n != targets[old].node_id]
    return voter_set(voters.epoch + 1, map(_entry, [*kept, targets[new]]))


def _entry(m: Member) -> VoterEntry:
    return VoterEntry(m.node_id, m.control, m.public_key, m.raft, m.name)


def _labels(voters: VoterSet) -> str:
    return ", ".join(sorted(voter.label for voter in voters.voters))


async def _replace(plane: ControlPlane, voters: VoterSet, new: str) -> None:
    command = ReplaceVoters(voter_epoch=voters.epoch - 1, voters=tuple(map(info, voters.voters)))
    result = await plane.client.command(command)
    error = refusal(result.code, new)
    if error is not None:
        raise error


def refusal(code: int, new: str) -> ReplicastError | None:
    """What the outcome of the command means."""
    if code == Code.OK:
        return None
    name = Code(code).name
    if code == Code.NOT_UP:
        return Unavailable(f"{new} holds no lease: start it and wait until it is up", reason=name)
    if code in (Code.CONFLICT, Code.EXISTS):
        return Conflict("another replacement was faster: see `replicast raft status`", reason=name)
    if code == Code.FORBIDDEN:
        return Unauthorized("this key is not an administrator's", reason=name)
    return InvalidRequest(
        f"the cluster knows {new} by another key or address than this folder", reason=name
    )


async def _begun(plane: ControlPlane, epoch: int, wait_seconds: float) -> None:
    """Until all voters of that epoch, or a later one, are there."""
    end = time.monotonic() + wait_seconds
    while True:
        answers = await plane.statuses()
        report = report_of(plane.voters, answers)
        if plane.voters.epoch >= epoch and complete(report):
            click.echo(f"all of them vote; {report['leader']} leads")
            return
        if time.monotonic() >= end:
            missing = [v["name"] for v in report["voters"] if v["state"] not in PRESENT]
            raise Unavailable(
                f"replaced, but not all voters are there after {wait_seconds:g} s: "
                f"{', '.join(missing) or 'no leader'}; see `replicast raft status`",
                reason="NOT_THERE",
            )
        await asyncio.sleep(POLL_SECONDS)


# -- the report -------------------------------------------------------------------------

PRESENT = ("leader", "follower")


def report_of(voters: VoterSet, answers: Mapping[NodeId, StatusData | None]) -> dict[str, Any]:
    """JSON-ready. A voter is leader, follower, behind (in an epoch that is over) or missing."""
    now = [a for a in answers.values() if a is not None and a.voter_epoch == voters.epoch]
    best = max(now, key=lambda a: (a.term, a.has_quorum), default=None)
    labels = {voter.node_id: voter.label for voter in voters.voters}
    leader = best.leader if best else 0
    return {
        "voter_epoch": voters.epoch,
        "leader": labels.get(leader),
        "term": best.term if best else 0,
        "quorum": leader in labels and any(a.has_quorum for a in now),
        "voters": [
            {
                "name": voter.label,
                "node_id": f"{voter.node_id:016x}",
                "address": address_text(voter.control),
                "state": _state(answers.get(voter.node_id), voters.epoch, leader),
            }
            for voter in voters.voters
        ],
    }


def _state(answer: StatusData | None, epoch: int, leader: NodeId) -> str:
    if answer is None:
        return "missing"
    if answer.voter_epoch != epoch or not answer.voters:
        return "behind"
    return "leader" if answer.node_id == leader else "follower"


def complete(report: dict[str, Any]) -> bool:
    """Nothing is missing."""
    return bool(report["quorum"]) and all(v["state"] in PRESENT for v in report["voters"])


def report_text(report: dict[str, Any]) -> str:
    """One screen."""
    rows: Sequence[Sequence[str]] = [
        (
            v["name"],
            v["address"],
            v["state"] if v["state"] in PRESENT else v["state"].upper(),
        )
        for v in report["voters"]
    ]
    return "\n".join(
        [
            f"voter epoch {report['voter_epoch']}, leader {report['leader'] or 'none'}, "
            f"term {report['term']}, {'quorum' if report['quorum'] else 'NO QUORUM'}",
            "",
            table_text(("VOTER", "ADDRESS", "STATE"), rows),
        ]
    )


COMMANDS = (raft,)
