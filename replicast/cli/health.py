"""status, flexhash show, verify, repair."""

from __future__ import annotations

import json
from typing import Any

import click

from replicast.cli.run import gateway, run, split_target
from replicast.cli.text import size_text, table_text

EXIT_CODES = {"healthy": 0, "degraded": 1, "at_risk": 2}  # the verdicts of gateway/status.py


@click.command()
@click.option("--json", "as_json", is_flag=True, help="The whole report as one JSON object.")
@click.pass_context
def status(context: click.Context, as_json: bool) -> None:
    """Say whether data is at risk. Exit 0: healthy, 1: degraded, 2: data at risk, or no answer."""

    async def work() -> int:
        async with gateway(context) as api:
            report = await api.one("status")
        click.echo(json.dumps(report, indent=2) if as_json else status_text(report))
        return EXIT_CODES[report["verdict"]]

    run(work, failed=EXIT_CODES["at_risk"])


def status_text(report: dict[str, Any]) -> str:
    """One screen."""
    raft = report["raft"]
    rows = report["rows"]
    lines = [
        f"cluster is {report['verdict'].replace('_', ' ').upper()}",
        *(f"  ! {problem}" for problem in report["problems"]),
        *(f"  note: {note}" for note in report["notes"]),
        "",
        (
            f"generation {report['generation']}, {report['transport']}, {report['implementation']}; "
            f"{report['copies']} copies (at least {report['min_copies']})"
        ),
        (
            f"raft: leader {raft['leader'] or 'none'}, term {raft['term']}, "
            f"{'quorum' if raft['quorum'] else 'NO QUORUM'}, voters {', '.join(raft['voters_heard'])}"
        ),
        (
            f"rows: {rows['in_sync']} of {rows['total']} fully in sync; "
            f"chunks known below their copies: {report['chunks_below_copies']}"
        ),
        (
            f"capacity: {size_text(report['used_bytes'])} used of "
            f"{size_text(report['capacity_bytes'])}, {size_text(report['free_bytes'])} free"
        ),
        "",
        table_text(
            ("TARGET", "HOST", "ADDRESS", "STATE", "LEASE", "GENERATION", "ROWS LED"),
            [_target_row(target) for target in report["targets"]],
        ),
        "",
        table_text(
            ("VDEV", "TARGET", "STATE", "USED", "FREE", "CAPACITY"),
            [_vdev_row(vdev) for vdev in report["vdevs"]],
        ),
    ]
    return "\n".join(lines)


def _target_row(target: dict[str, Any]) -> tuple[str, ...]:
    if not target["up"]:
        return (target["name"], target["host"], target["address"], "DOWN", "-", "-", "-")
    lease = f"{target['lease_age_seconds']:.1f} s old" if target["lease"] else "NONE"
    return (
        target["name"],
        target["host"],
        target["address"],
        "up",
        lease,
        target["generation"],
        str(target["rows_led"]),
    )


def _vdev_row(vdev: dict[str, Any]) -> tuple[str, ...]:
    sizes = (vdev["used_bytes"], vdev["free_bytes"], vdev["capacity_bytes"])
    state = vdev["state"] if vdev["state"] == "up" else vdev["state"].upper()
    return (
        str(vdev["index"]),
        vdev["target"],
        state,
        *(size_text(size) for size in sizes),
    )


@click.group()
def flexhash() -> None:
    """Look at the FlexHash table."""


@flexhash.command("show")
@click.option("--object", "name", help="BUCKET/NAME: where its chunks lie now.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
@click.pass_context
def flexhash_show(context: click.Context, name: str | None, as_json: bool) -> None:
    """Rows and negotiating groups, or where each chunk of one object lies now."""

    async def work() -> None:
        async with gateway(context) as api:
            if name is None:
                answers = api.request("flexhash")
            else:
                bucket, object_name = split_target(name)
                answers = api.request("locate", bucket=bucket, name=object_name)
            async for answer in answers:
                assert isinstance(answer, dict)
                click.echo(json.dumps(answer) if as_json else _row_text(answer))

    run(work)


def _row_text(answer: dict[str, Any]) -> str:
    group = f"group {_vdevs(answer['negotiating_group'])}"
    if answer["draining"]:
        group += f" draining {_vdevs(answer['draining'])}"
    names = f"names {_vdevs(answer['name_replicas'])} led by {answer['row_leader']}"
    if "chid" in answer:
        return (
            f"{answer['kind']} {answer['chid']}  offset {answer['offset']}  "
            f"{answer['size_bytes']} bytes  row {answer['row']}  {group}  "
            f"held by {_vdevs(answer['held_by'])}"
        )
    if "name" in answer:
        inline = ", bytes inline in the manifest" if answer["inline"] else ""
        info = answer["name"]
        return f"name {info['bucket']}/{info['name']}  row {answer['row']}  {names}{inline}"
    return f"row {answer['row']:>5}  {group}  {names}"


def _vdevs(indexes: list[int]) -> str:
    return "[" + " ".join(str(index) for index in indexes) + "]"


@click.command()
@click.argument("target", required=False, default="")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
@click.pass_context
def verify(context: click.Context, target: str, as_json: bool) -> None:
    """Read every copy under TARGET (BUCKET/PREFIX; default: all) from disk and check its hash.

    Exit 1 when a copy is bad or a chunk has fewer copies than it should; each
    is named with its VDEV and CHID.
    """
    _walk(context, "verify", target, as_json)


@click.command()
@click.argument("target", required=False, default="")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
@click.pass_context
def repair(context: click.Context, target: str, as_json: bool) -> None:
    """Check every copy under TARGET (default: all) and restore missing or damaged ones.

    Exit 1 when a chunk could not be brought back to its copies.
    """
    _walk(context, "repair", target, as_json)


def _walk(context: click.Context, operation: str, target: str, as_json: bool) -> None:
    async def work() -> int:
        bucket, prefix = split_target(target, need_name=False) if target else ("", "")
        bad = 0
        async with gateway(context) as api:
            async for answer in api.request(operation, bucket=bucket, prefix=prefix):
                assert isinstance(answer, dict)
                bad += _is_bad(operation, answer)
                click.echo(json.dumps(answer) if as_json else _finding_text(answer))
        return 1 if bad else 0

    run(work)


def _is_bad(operation: str, answer: dict[str, Any]) -> bool:
    if "error" in answer:
        return True
    if operation == "repair":
        return bool(answer.get("repair", "restored") != "restored")
    return "bad_copy" in answer or "below_copies" in answer


def _finding_text(answer: dict[str, Any]) -> str:
    if "bad_copy" in answer:
        return (
            f"{answer['bad_copy'].upper()}: {_what(answer)} on VDEV {answer['vdev']} "
            f"({answer['vdev_id']}) of {answer['target']}: {answer['object']} {answer['detail']}"
        ).rstrip()
    if "below_copies" in answer:
        return (
            f"BELOW COPIES: chunk {answer['below_copies']} has {answer['copies']} good copies "
            f"of {answer['wanted']}: {answer['object']}"
        )
    if "repair" in answer:
        return (
            f"{answer['repair']}: {_what(answer)} of {answer['object']}, "
            f"{answer['copies_before']} -> {answer['copies_now']} copies {answer['detail']}"
        ).rstrip()
    if "error" in answer:
        return f"ERROR: {answer['object']}: {answer['error']}"
    return (
        f"looked at {answer['walked_versions']} versions, {answer['walked_chunks']} chunks, "
        f"{answer['copies_read']} copies"
        + (f"; {answer['errors']} versions could not be read" if answer["errors"] else "")
    )


def _what(answer: dict[str, Any]) -> str:
    return f"chunk {answer['chid']}" if answer["chid"] else "version entry"


COMMANDS = (status, flexhash, verify, repair)
