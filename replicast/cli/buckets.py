"""bucket create, list, delete."""

from __future__ import annotations

import json
from typing import Any

import click

from replicast.cli.run import gateway, run
from replicast.flexhash.versioning import Versioning

VERSIONINGS = tuple(
    each.name.lower() for each in (Versioning.ENABLED, Versioning.SUSPENDED, Versioning.OFF)
)


@click.group()
def bucket() -> None:
    """Create, list and delete buckets."""


@bucket.command("create")
@click.argument("name")
@click.option("--owner", metavar="USER", help="The S3 user whose bucket it is. Default: nobody's.")
@click.option(
    "--versioning", type=click.Choice(VERSIONINGS), default=VERSIONINGS[0], show_default=True,
    help="Whether what is overwritten stays as a version.",
)  # fmt: skip
@click.pass_context
def bucket_create(context: click.Context, name: str, owner: str | None, versioning: str) -> None:
    """Create the bucket NAME. With --owner an administrator's identity is needed."""

    async def work() -> None:
        more: dict[str, Any] = {"versioning": versioning}
        if owner is not None:
            # Loaded for an owner only: the way to the control plane is most of what commands import.
            from replicast.cli.user_command import user_admin

            async with user_admin(context) as admin:
                more["owner"] = (await admin.find(owner)).canonical_id
        async with gateway(context) as api:
            await api.one("bucket_create", bucket=name, **more)

    run(work)


@bucket.command("list")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
@click.pass_context
def bucket_list(context: click.Context, as_json: bool) -> None:
    """List the buckets."""

    async def work() -> None:
        async with gateway(context) as api:
            async for answer in api.request("bucket_list"):
                assert isinstance(answer, dict)
                click.echo(json.dumps(answer) if as_json else answer["bucket"])

    run(work)


@bucket.command("delete")
@click.argument("name")
@click.pass_context
def bucket_delete(context: click.Context, name: str) -> None:
    """Delete the empty bucket NAME."""
    _on_bucket(context, "bucket_delete", name)


def _on_bucket(context: click.Context, operation: str, name: str) -> None:
    async def work() -> None:
        async with gateway(context) as api:
            await api.one(operation, bucket=name)

    run(work)


COMMANDS = (bucket,)
