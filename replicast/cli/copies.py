"""cp, mv: objects under other names, without moving their bytes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import click

from replicast.cli.run import gateway, run, split_target
from replicast.cli.text import size_text
from replicast.cli.trees import base, in_parallel, sizes_under
from replicast.errors import ConditionFailed, InvalidRequest
from replicast.gateway.api_client import ApiConnection


@dataclass(slots=True)
class _Work:
    """One command: what it was told, and what it has done."""

    move: bool
    if_absent: bool
    objects: int = 0
    logical_bytes: int = 0
    sent_bytes: int = 0

    async def one(
        self, api: ApiConnection, source: tuple[str, str], target: tuple[str, str]
    ) -> None:
        """Copy one object; to move it, delete the source if it is still what was copied."""
        answer = await api.one(
            "copy",
            bucket=source[0],
            name=source[1],
            to_bucket=target[0],
            to_name=target[1],
            if_none_match="*" if self.if_absent else None,
        )
        self.objects += 1
        self.logical_bytes += answer["size_bytes"]
        self.sent_bytes += answer["sent_bytes"]
        if not self.move:
            return
        try:
            await api.one("delete", bucket=source[0], name=source[1], if_match=answer["etag"])
        except ConditionFailed:
            raise ConditionFailed(
                f"{'/'.join(source)} has changed since it was copied to {'/'.join(target)}: "
                "both are there"
            ) from None

    def summary(self) -> str:
        verb = "moved" if self.move else "copied"
        noun = "object" if self.objects == 1 else "objects"
        sent = f"sent {size_text(self.sent_bytes)}" if self.sent_bytes else "no bytes sent"
        return f"{verb} {self.objects} {noun}, {size_text(self.logical_bytes)}: {sent}"


def _run(
    context: click.Context, source: str, target: str, recursive: bool, quiet: bool, work: _Work
) -> None:
    async def tree() -> None:
        (bucket, name), (to_bucket, to_name) = (
            split_target(source, need_name=False),
            split_target(target, need_name=False),
        )
        folder, to_folder = base(name), base(to_name)
        if bucket == to_bucket and (folder.startswith(to_folder) or to_folder.startswith(folder)):
            raise InvalidRequest(f"{source!r} and {target!r} overlap: one would change the other")
        names = list(await sizes_under(context, bucket, folder))

        async def one(api: ApiConnection, name: str) -> None:
            await work.one(api, (bucket, name), (to_bucket, to_folder + name[len(folder) :]))

        await in_parallel(context, names, one)

    async def single() -> None:
        bucket, name = split_target(source)
        to_bucket, to_name = split_target(target, need_name=False)
        if not to_name or to_name.endswith("/"):
            to_name += name.rsplit("/", 1)[-1]
        if (bucket, name) == (to_bucket, to_name):
            raise InvalidRequest(f"{source!r} and {target!r} are the same object")
        async with gateway(context) as api:
            await work.one(api, (bucket, name), (to_bucket, to_name))

    async def all_of_it() -> None:
        await (tree() if recursive else single())
        if not quiet:
            click.echo(work.summary(), err=True)

    run(all_of_it)


def _options(command: Callable[..., None]) -> Callable[..., None]:
    """What cp and mv are told."""
    for each in reversed(
        (
            click.argument("source"),
            click.argument("target"),
            click.option("-r", "--recursive", is_flag=True, help="All that is under SOURCE/."),
            click.option("--if-absent", is_flag=True, help="Fail when an object is there already."),
            click.option("--quiet", "-q", is_flag=True, help="No summary."),
            click.pass_context,
        )
    ):
        command = each(command)
    return command


@click.command(short_help="Copy an object or all under a prefix.")
@_options
def cp(
    context: click.Context, source: str, target: str, recursive: bool, if_absent: bool, quiet: bool
) -> None:
    """Copy SOURCE (BUCKET/NAME) to TARGET (BUCKET/NAME) without moving its bytes.

    A TARGET that ends in "/", or is a bucket, takes the source's last part. Metadata goes along.
    """
    _run(context, source, target, recursive, quiet, _Work(move=False, if_absent=if_absent))


@click.command(short_help="Rename an object or all under a prefix.")
@_options
def mv(
    context: click.Context, source: str, target: str, recursive: bool, if_absent: bool, quiet: bool
) -> None:
    """Move SOURCE (BUCKET/NAME) to TARGET (BUCKET/NAME) without moving its bytes.

    A copy, then a delete of the source, unless it has changed meanwhile. What was interrupted may be
    under both names; older versions stay where they are.
    """
    _run(context, source, target, recursive, quiet, _Work(move=True, if_absent=if_absent))


COMMANDS = (cp, mv)
