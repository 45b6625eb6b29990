"""Folders of a bucket, as commands with -r mean them: what is under a prefix that ends in "/"."""

from __future__ import annotations

import asyncio
from typing import Any

import click

from replicast.cli.find import find_cluster
from replicast.cli.run import gateway
from replicast.errors import NotFound
from replicast.gateway.api_client import connect_api

PARALLEL = 8


def base(prefix: str) -> str:
    """The prefix as a folder: "photos" means what is in it, not "photos2"."""
    return prefix.rstrip("/") + "/" if prefix.strip("/") else ""


async def in_parallel(context: click.Context, items: list[Any], one: Any) -> None:
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


async def sizes_under(context: click.Context, bucket: str, base: str) -> dict[str, int]:
    """All names with the prefix and their sizes; raises NotFound when there are none."""
    sizes: dict[str, int] = {}
    async with gateway(context) as api:
        async for answer in api.request("list", bucket=bucket, prefix=base):
            assert isinstance(answer, dict)
            sizes[answer["name"]] = answer["size_bytes"]
    if not sizes:
        raise NotFound(f"nothing under {bucket}/{base}", reason="NO_SUCH_NAME")
    return sizes
