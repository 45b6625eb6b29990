"""put, get, cat, ls, stat, rm."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import click

from replicast.cli.file_attributes import attributes_of
from replicast.cli.files import (
    STANDARD,
    blocks_of,
    destination,
    source_size,
    standard_output,
    tree,
    under,
    writing,
)
from replicast.cli.progress import Progress
from replicast.cli.run import gateway, run, split_target
from replicast.cli.text import name_text, size_text, table_text, time_text
from replicast.cli.trees import base, in_parallel, sizes_under
from replicast.errors import InvalidRequest
from replicast.gateway.api_client import ApiConnection

# -- put ------------------------------------------------------------------------------


@click.command(short_help="Store a file, a folder or standard input.")
@click.argument("source")
@click.argument("target")
@click.option("-r", "--recursive", is_flag=True, help="Store every file under the folder SOURCE.")
@click.option("--if-absent", is_flag=True, help="Fail when the object exists.")
@click.option("--quiet", "-q", is_flag=True, help="No progress bar, no summary.")
@click.pass_context
def put(
    context: click.Context, source: str, target: str, recursive: bool, if_absent: bool, quiet: bool
) -> None:
    """Store the file SOURCE ("-": standard input) as TARGET, which is BUCKET/NAME.

    A TARGET that ends in "/" takes the file's own name. -r keeps paths below SOURCE, modes
    and times of change. With it, links to files are followed; links to folders and empty
    folders are left out and named.
    """

    async def work() -> None:
        bucket, name = split_target(target, need_name=not recursive and not target.endswith("/"))
        with Progress(quiet=quiet) as progress:
            if recursive:
                await _put_tree(context, Path(source), bucket, base(name), if_absent, progress)
            else:
                if not name or name.endswith("/"):
                    name = _own_name(source, target, name)
                async with gateway(context) as api:
                    await _put_file(api, source, bucket, name, if_absent, progress)
            progress.put_summary()

    run(work)


def _own_name(source: str, target: str, folder: str) -> str:
    if source == STANDARD:
        raise InvalidRequest(f"{target!r}: standard input has no name of its own: give BUCKET/NAME")
    return folder + Path(source).name


async def _put_file(
    api: ApiConnection,
    source: str,
    bucket: str,
    name: str,
    if_absent: bool,
    progress: Progress,
    metadata: Mapping[str, str] | None = None,
) -> None:
    progress.expect(source_size(source))
    answer = await api.one(
        "put",
        progress.counted(blocks_of(source)),
        bucket=bucket,
        name=name,
        metadata=metadata,
        if_none_match="*" if if_absent else None,
    )
    progress.stored(answer)


async def _put_tree(
    context: click.Context, folder: Path, bucket: str, base: str, if_absent: bool, p: Progress
) -> None:
    # Loaded for trees only: a script that puts many small files waits for each import.
    from replicast.gateway.limits import check_name

    def name_of(path: Path) -> str:
        try:
            return check_name(base + path.relative_to(folder).as_posix())
        except InvalidRequest as error:
            raise InvalidRequest(f"{str(path)!r}: {error}") from None

    files, left_out = tree(folder)
    items = [(path, name_of(path)) for path in files]
    for text in left_out:
        p.say(f"left out: {text}")
    p.expect(sum(path.stat().st_size for path in files))

    async def one(api: ApiConnection, item: tuple[Path, str]) -> None:
        path, name = item
        metadata = attributes_of(path.stat())
        await _put_file(api, str(path), bucket, name, if_absent, p, metadata)

    await in_parallel(context, items, one)


# -- get, cat -------------------------------------------------------------------------


@click.command(short_help="Fetch an object or a prefix.")
@click.argument("source")
@click.argument("target", required=False)
@click.option("-r", "--recursive", is_flag=True, help="Fetch all that is under SOURCE/.")
@click.option("--quiet", "-q", is_flag=True, help="No progress bar, no summary.")
@click.pass_context
def get(
    context: click.Context, source: str, target: str | None, recursive: bool, quiet: bool
) -> None:
    """Fetch SOURCE (BUCKET/NAME) into the file or folder TARGET ("-": standard output).

    A file that is there already is replaced when the whole object has arrived. It gets
    the mode and time of change that put -r stored.
    """

    async def work() -> None:
        bucket, name = split_target(source, need_name=not recursive)
        with Progress(quiet=quiet or target == STANDARD) as progress:
            if recursive:
                await _get_tree(context, bucket, base(name), Path(target or "."), progress)
                return
            async with gateway(context) as api:
                if target == STANDARD:
                    await _stream(api, bucket, name, standard_output(), progress)
                else:
                    path = destination(target or "./", name)
                    await _get_file(api, bucket, name, path, progress)

    run(work)


@click.command(short_help="Write an object to standard output.")
@click.argument("source")
@click.pass_context
def cat(context: click.Context, source: str) -> None:
    """Write the object SOURCE (BUCKET/NAME) to standard output."""

    async def work() -> None:
        bucket, name = split_target(source)
        out = standard_output()
        async with gateway(context) as api:
            await _stream(api, bucket, name, out, Progress(quiet=True))
        out.flush()

    run(work)


async def _stream(
    api: ApiConnection, bucket: str, name: str, out: BinaryIO, progress: Progress
) -> dict[str, str]:
    """Returns the object's metadata."""
    metadata: dict[str, str] = {}
    async for answer in api.request("get", bucket=bucket, name=name):
        if isinstance(answer, dict):
            metadata = answer["metadata"]
            progress.expect(answer["size_bytes"])
        else:
            out.write(answer)
            progress.moved(len(answer))
    return metadata


async def _get_file(
    api: ApiConnection, bucket: str, name: str, path: Path, progress: Progress
) -> None:
    metadata: dict[str, str] = {}
    with writing(path, metadata) as file:
        metadata.update(await _stream(api, bucket, name, file, progress))


async def _get_tree(
    context: click.Context, bucket: str, base: str, folder: Path, progress: Progress
) -> None:
    sizes = await sizes_under(context, bucket, base)
    items = [(name, under(folder, name[len(base) :])) for name in sizes]
    progress.expect(sum(sizes.values()))

    async def one(api: ApiConnection, item: tuple[str, Path]) -> None:
        name, path = item
        path.parent.mkdir(parents=True, exist_ok=True)
        await _get_file(api, bucket, name, path, progress)

    await in_parallel(context, items, one)


# -- ls, stat, rm ---------------------------------------------------------------------


@click.command(short_help="List names.")
@click.argument("target")
@click.option("-l", "--long", is_flag=True, help="Size, time and ETag too.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
@click.pass_context
def ls(context: click.Context, target: str, long: bool, as_json: bool) -> None:
    """List the names that begin with TARGET, which is BUCKET or BUCKET/PREFIX.

    Control characters in names are shown as \\n, \\x1b, ...; --json has them as they are.
    """

    async def work() -> None:
        bucket, prefix = split_target(target, need_name=False)
        async with gateway(context) as api:
            async for entry in api.request("list", bucket=bucket, prefix=prefix):
                assert isinstance(entry, dict)
                click.echo(json.dumps(entry) if as_json else _ls_text(entry, long))

    run(work)


def _ls_text(entry: dict[str, Any], long: bool) -> str:
    name = name_text(entry["name"])
    if not long:
        return name
    return f"{entry['size_bytes']:>14}  {time_text(entry['modified_ns'])}  {entry['etag']}  {name}"


@click.command(short_help="Show what is known of an object.")
@click.argument("target")
@click.option("--versions", is_flag=True, help="All versions, newest first.")
@click.option("--json", "as_json", is_flag=True, help="JSON, one version a line.")
@click.pass_context
def stat(context: click.Context, target: str, versions: bool, as_json: bool) -> None:
    """Show what is known of TARGET (BUCKET/NAME)."""

    async def work() -> None:
        bucket, name = split_target(target)
        found: list[dict[str, Any]] = []
        async with gateway(context) as api:
            operation = "versions" if versions else "stat"
            async for answer in api.request(operation, bucket=bucket, name=name):
                assert isinstance(answer, dict)
                found.append(answer)
        if as_json:
            click.echo("\n".join(json.dumps(entry) for entry in found))
        else:
            click.echo(_versions_text(found) if versions else _stat_text(found[0]))

    run(work)


def _versions_text(entries: list[dict[str, Any]]) -> str:
    return table_text(
        ("VERSION", "MODIFIED", "SIZE", "ETAG"),
        [
            (
                entry["version"],
                time_text(entry["modified_ns"]),
                "deleted" if entry["delete_marker"] else str(entry["size_bytes"]),
                entry["etag"],
            )
            for entry in entries
        ],
    )


def _stat_text(entry: dict[str, Any]) -> str:
    inline = " (inline in its manifest)" if entry["inline"] and entry["size_bytes"] else ""
    lines = [
        ("name", name_text(f"{entry['bucket']}/{entry['name']}")),
        ("size", f"{entry['size_bytes']} ({size_text(entry['size_bytes'])})"),
        ("modified", time_text(entry["modified_ns"])),
        ("etag", entry["etag"]),
        ("version", entry["version"]),
        ("chunks", f"{entry['chunks']}{inline}"),
    ]
    lines += [
        (f"meta {name_text(key)}", name_text(value)) for key, value in entry["metadata"].items()
    ]
    return table_text(lines[0], lines[1:])


@click.command(short_help="Delete an object or all under a prefix.")
@click.argument("target")
@click.option("-r", "--recursive", is_flag=True, help="All that is under TARGET/.")
@click.option("--quiet", "-q", is_flag=True, help="Do not say how many.")
@click.pass_context
def rm(context: click.Context, target: str, recursive: bool, quiet: bool) -> None:
    """Delete TARGET (BUCKET/NAME): a delete marker becomes its newest version."""

    async def work() -> None:
        bucket, name = split_target(target, need_name=not recursive)
        if not recursive:
            async with gateway(context) as api:
                await api.one("stat", bucket=bucket, name=name)
                await api.one("delete", bucket=bucket, name=name)
            return
        names = list(await sizes_under(context, bucket, base(name)))

        async def one(api: ApiConnection, name: str) -> None:
            await api.one("delete", bucket=bucket, name=name)

        await in_parallel(context, names, one)
        if not quiet:
            click.echo(f"deleted {len(names)} name{'s' if len(names) > 1 else ''}", err=True)

    run(work)


COMMANDS = (put, get, cat, ls, stat, rm)
