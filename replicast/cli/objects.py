"""bucket, put, get, cat, ls, stat, rm."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import click

from replicast.cli.find import find_cluster
from replicast.cli.progress import Progress
from replicast.cli.run import gateway, run, split_target
from replicast.cli.text import size_text, table_text, time_text
from replicast.errors import InvalidRequest, NotFound
from replicast.gateway.api_client import ApiConnection, connect_api
from replicast.units import MIB

BLOCK_BYTES = MIB
PARALLEL = 8


# -- buckets --------------------------------------------------------------------------


@click.group()
def bucket() -> None:
    """Create, list and delete buckets."""


@bucket.command("create")
@click.argument("name")
@click.pass_context
def bucket_create(context: click.Context, name: str) -> None:
    """Create the bucket NAME."""

    async def work() -> None:
        async with gateway(context) as api:
            await api.one("bucket_create", bucket=name)

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

    async def work() -> None:
        async with gateway(context) as api:
            await api.one("bucket_delete", bucket=name)

    run(work)


# -- put ------------------------------------------------------------------------------


@click.command()
@click.argument("source")
@click.argument("target")
@click.option("-r", "--recursive", is_flag=True, help="Store every file under the folder SOURCE.")
@click.option("--if-absent", is_flag=True, help="Fail when the object exists.")
@click.option("--quiet", "-q", is_flag=True, help="No progress bar, no summary.")
@click.pass_context
def put(
    context: click.Context, source: str, target: str, recursive: bool, if_absent: bool, quiet: bool
) -> None:
    """Store the file SOURCE ("-": standard input) as TARGET, which is BUCKET/NAME."""

    async def work() -> None:
        bucket, name = split_target(target, need_name=not recursive)
        with Progress(quiet=quiet) as progress:
            if recursive:
                await _put_tree(context, Path(source), bucket, name, if_absent, progress)
            else:
                async with gateway(context) as api:
                    if name.endswith("/") and source != "-":
                        name += Path(source).name
                    await _put_file(api, source, bucket, name, if_absent, progress)
            progress.put_summary()

    run(work)


async def _put_file(
    api: ApiConnection, source: str, bucket: str, name: str, if_absent: bool, progress: Progress
) -> None:
    with _open_source(source) as file:
        size = os.fstat(file.fileno()).st_size if source != "-" else None
        progress.expect(size)
        answer = await api.one(
            "put",
            _blocks(file, progress),
            bucket=bucket,
            name=name,
            if_none_match="*" if if_absent else None,
        )
        progress.stored(answer)


def _open_source(source: str) -> contextlib.AbstractContextManager[BinaryIO]:
    if source == "-":
        return contextlib.nullcontext(sys.stdin.buffer)
    return open(source, "rb")


async def _blocks(file: BinaryIO, progress: Progress) -> AsyncIterator[bytes]:
    # Reads leave the event loop: standard input may block for as long as its writer likes.
    loop = asyncio.get_running_loop()
    while block := await loop.run_in_executor(None, file.read, BLOCK_BYTES):
        yield block
        progress.moved(len(block))


def _tree(folder: Path) -> Iterator[Path]:
    for where, folders, files in os.walk(folder):
        folders.sort()
        for name in sorted(files):
            yield Path(where) / name


async def _put_tree(
    context: click.Context, folder: Path, bucket: str, prefix: str, if_absent: bool, p: Progress
) -> None:
    if not folder.is_dir():
        raise InvalidRequest(f"{folder} is not a folder")
    prefix = prefix.rstrip("/") + "/" if prefix.strip("/") else ""
    paths = [path for path in _tree(folder) if _regular(path)]

    async def one(api: ApiConnection, path: Path) -> None:
        name = prefix + path.relative_to(folder).as_posix()
        await _put_file(api, str(path), bucket, name, if_absent, p)

    await _in_parallel(context, paths, one)


def _regular(path: Path) -> bool:
    if path.is_file():
        return True
    raise InvalidRequest(f"{path} is not a regular file")


async def _in_parallel(context: click.Context, items: list[Any], one: Any) -> None:
    """`one(api, item)` for all items over a few connections; the first error ends all."""
    place = find_cluster(context.find_root().params.get("cluster"))
    todo = iter(items)

    async def worker() -> None:
        async with connect_api(place.api_socket) as api:
            for item in todo:
                await one(api, item)

    workers = [asyncio.ensure_future(worker()) for _ in range(min(PARALLEL, len(items)))]
    try:
        await asyncio.gather(*workers)
    finally:
        for task in workers:
            task.cancel()
        await asyncio.gather(*workers, return_exceptions=True)


# -- get, cat -------------------------------------------------------------------------


@click.command()
@click.argument("source")
@click.argument("target", required=False)
@click.option("-r", "--recursive", is_flag=True, help="Fetch all names under the prefix SOURCE.")
@click.option("--quiet", "-q", is_flag=True, help="No progress bar, no summary.")
@click.pass_context
def get(
    context: click.Context, source: str, target: str | None, recursive: bool, quiet: bool
) -> None:
    """Fetch SOURCE (BUCKET/NAME) into the file TARGET ("-": standard output)."""

    async def work() -> None:
        bucket, name = split_target(source, need_name=not recursive)
        with Progress(quiet=quiet or target == "-") as progress:
            if recursive:
                await _get_tree(context, bucket, name, Path(target or "."), progress)
                return
            async with gateway(context) as api:
                if target == "-":
                    await _stream(api, bucket, name, sys.stdout.buffer, progress)
                    return
                path = Path(target or name.rsplit("/", 1)[-1])
                if path.is_dir():
                    path = path / name.rsplit("/", 1)[-1]
                await _get_file(api, bucket, name, path, progress)

    run(work)


@click.command()
@click.argument("source")
@click.pass_context
def cat(context: click.Context, source: str) -> None:
    """Write the object SOURCE (BUCKET/NAME) to standard output."""

    async def work() -> None:
        bucket, name = split_target(source)
        async with gateway(context) as api:
            await _stream(api, bucket, name, sys.stdout.buffer, Progress(quiet=True))
        sys.stdout.buffer.flush()

    run(work)


async def _stream(
    api: ApiConnection, bucket: str, name: str, out: BinaryIO, progress: Progress
) -> None:
    async for answer in api.request("get", bucket=bucket, name=name):
        if isinstance(answer, dict):
            progress.expect(answer["size_bytes"])
        else:
            out.write(answer)
            progress.moved(len(answer))


async def _get_file(
    api: ApiConnection, bucket: str, name: str, path: Path, progress: Progress
) -> None:
    """Into a temporary name beside `path`, synced, then renamed: never a half file."""
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name[:100]}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            await _stream(api, bucket, name, file, progress)
            file.flush()
            os.fchmod(file.fileno(), 0o666 & ~_umask())
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


async def _get_tree(
    context: click.Context, bucket: str, prefix: str, folder: Path, progress: Progress
) -> None:
    base = prefix.rstrip("/") + "/" if prefix.strip("/") else ""
    names: list[str] = []
    async with gateway(context) as api:
        async for answer in api.request("list", bucket=bucket, prefix=base):
            assert isinstance(answer, dict)
            names.append(answer["name"])
    if not names:
        raise NotFound(f"nothing under {bucket}/{base}", reason="NO_SUCH_NAME")

    async def one(api: ApiConnection, name: str) -> None:
        path = _safe_path(folder, name[len(base) :])
        path.parent.mkdir(parents=True, exist_ok=True)
        await _get_file(api, bucket, name, path, progress)

    await _in_parallel(context, names, one)


def _safe_path(folder: Path, relative: str) -> Path:
    """Where a name goes under `folder`; one that would leave it is refused."""
    parts = relative.split("/")
    if any(part in ("", ".", "..") for part in parts):
        raise InvalidRequest(f"the name {relative!r} cannot be a path under {folder}")
    return folder.joinpath(*parts)


# -- ls, stat, rm ---------------------------------------------------------------------


@click.command()
@click.argument("target")
@click.option("-l", "--long", is_flag=True, help="Size, time and ETag too.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
@click.pass_context
def ls(context: click.Context, target: str, long: bool, as_json: bool) -> None:
    """List the names under TARGET, which is BUCKET or BUCKET/PREFIX."""

    async def work() -> None:
        bucket, prefix = split_target(target, need_name=False)
        async with gateway(context) as api:
            async for entry in api.request("list", bucket=bucket, prefix=prefix):
                assert isinstance(entry, dict)
                if as_json:
                    click.echo(json.dumps(entry))
                elif long:
                    when = time_text(entry["modified_ns"])
                    size = entry["size_bytes"]
                    click.echo(f"{size:>14}  {when}  {entry['etag']}  {entry['name']}")
                else:
                    click.echo(entry["name"])

    run(work)


@click.command()
@click.argument("target")
@click.option("--versions", is_flag=True, help="All versions, newest first.")
@click.option("--json", "as_json", is_flag=True, help="JSON, one version a line.")
@click.pass_context
def stat(context: click.Context, target: str, versions: bool, as_json: bool) -> None:
    """Show what is known of TARGET (BUCKET/NAME)."""

    async def work() -> None:
        bucket, name = split_target(target)
        operation = "versions" if versions else "stat"
        async with gateway(context) as api:
            async for answer in api.request(operation, bucket=bucket, name=name):
                assert isinstance(answer, dict)
                click.echo(json.dumps(answer) if as_json else _stat_text(answer))

    run(work)


def _stat_text(entry: dict[str, Any]) -> str:
    if entry["delete_marker"]:
        return f"{entry['version']}  {time_text(entry['modified_ns'])}  deleted"
    lines = [
        ("name", f"{entry['bucket']}/{entry['name']}"),
        ("size", f"{entry['size_bytes']} ({size_text(entry['size_bytes'])})"),
        ("modified", time_text(entry["modified_ns"])),
        ("etag", entry["etag"]),
        ("version", entry["version"]),
    ]
    lines += [("chunks", str(entry["chunks"]))] if "chunks" in entry else []
    lines += [(f"meta {key}", value) for key, value in entry["metadata"].items()]
    return table_text(lines[0], lines[1:])


@click.command()
@click.argument("target")
@click.option("-r", "--recursive", is_flag=True, help="All names under the prefix TARGET.")
@click.pass_context
def rm(context: click.Context, target: str, recursive: bool) -> None:
    """Delete TARGET (BUCKET/NAME): a delete marker becomes its newest version."""

    async def work() -> None:
        bucket, name = split_target(target, need_name=not recursive)
        if not recursive:
            async with gateway(context) as api:
                await api.one("stat", bucket=bucket, name=name)
                await api.one("delete", bucket=bucket, name=name)
            return
        names: list[str] = []
        async with gateway(context) as api:
            async for entry in api.request("list", bucket=bucket, prefix=name):
                assert isinstance(entry, dict)
                names.append(entry["name"])

        async def one(api: ApiConnection, name: str) -> None:
            await api.one("delete", bucket=bucket, name=name)

        await _in_parallel(context, names, one)
        click.echo(f"deleted {len(names)} names", err=True)

    run(work)


COMMANDS = (bucket, put, get, cat, ls, stat, rm)
