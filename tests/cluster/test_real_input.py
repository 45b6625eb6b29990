"""Real input: Python's standard library and a file of a gibibyte, in and out, both transports.

What a second put sends and stores is judged by kind of chunk: above negotiate_above_bytes
nothing is sent that is there already; small ones are sent at once and stored once.
"""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import subprocess
import sysconfig
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

import replicast
from replicast.gateway.put_stream import PutReport
from replicast.gateway.stats import Stats

KIB, MIB, GIB = 1024, 1 << 20, 1 << 30
INLINE, NEGOTIATED_ABOVE = 16 * KIB, 64 * KIB


@pytest.fixture(scope="module", params=["unicast", "multicast"])
def cluster(request, cluster_factory):
    made = cluster_factory(transport=request.param)
    asyncio.run(make_bucket(made))
    yield made
    made.kill()
    shutil.rmtree(made.data)


async def make_bucket(cluster) -> None:
    """Of a smaller inline limit than is usual, or none of its objects would be one immediate chunk."""
    async with await replicast.connect(cluster.data) as client:
        client._opened.buckets.inline_max_bytes = INLINE
        await client.create_bucket("real")


def copy_library(target: Path, packages: tuple[str, ...] | None = None) -> int:
    """The standard library (some packages of it, or all) as plain files; how many."""
    source = Path(sysconfig.get_path("stdlib"))
    if packages is None:
        ignore = shutil.ignore_patterns("site-packages", "__pycache__")
        shutil.copytree(source, target, ignore=ignore)
    for package in packages or ():
        ignore = shutil.ignore_patterns("__pycache__")
        shutil.copytree(source / package, target / package, ignore=ignore)
    return sum(path.is_file() for path in target.rglob("*"))


def same(one: Path, other: Path) -> bool:
    return subprocess.run(["diff", "-r", one, other], check=False).returncode == 0


def restart_gateway(cluster) -> None:
    """A gateway that remembers nothing."""
    cluster.kill("gw1")
    cluster.up()


@dataclass
class Again:
    """What putting files again has cost, for one kind of chunk."""

    files: int = 0
    size: int = 0
    sent: int = 0
    copies: int = 0
    stored: int = 0


async def put_again(cluster, tree: Path, prefix: str) -> dict[str, Again]:
    """Every file once more under other names, eight at a time, judged by kind of chunk.

    By an initiator that remembers nothing, and passes over nobody for being slow or late: on a
    busy machine somebody always is, and has to store what others have already.
    """
    kinds = {"inline": Again(), "immediate": Again(), "negotiated": Again(), "mixed": Again()}
    todo = iter(sorted(path for path in tree.rglob("*") if path.is_file()))
    async with await replicast.connect(cluster.data) as client:

        async def worker() -> None:
            for path in todo:
                body, report = path.read_bytes(), PutReport()
                name = f"{prefix}/{path.relative_to(tree)}"
                await client._opened.objects.put("real", name, body, report=report)
                kind = kinds[kind_of(len(body))]
                kind.files += 1
                kind.size += len(body)
                kind.sent += report.sent_bytes
                kind.copies += 3 * report.chunks
                kind.stored += report.stored_copies

        with pytest.MonkeyPatch.context() as patch:
            for passed_over in ("slow", "suspect"):
                patch.setattr(Stats, passed_over, lambda *_: False)
            await asyncio.gather(*(worker() for _ in range(8)))
    return kinds


def kind_of(size: int) -> str:
    if size <= INLINE:
        return "inline"
    if size <= NEGOTIATED_ABOVE:
        return "immediate"
    last = size % MIB or MIB
    return "negotiated" if last > NEGOTIATED_ABOVE else "mixed"


def check_again(kinds: dict[str, Again]) -> None:
    for name, kind in kinds.items():
        print(f"  {name}: {kind}")
    immediate, negotiated = kinds["immediate"], kinds["negotiated"]
    assert negotiated.sent <= negotiated.size * 0.01
    for kind in (immediate, negotiated, kinds["mixed"]):
        assert kind.stored <= kind.copies * 0.01


def in_out_again(cluster, tree: Path, tmp_path: Path) -> None:
    began = time.monotonic()
    first = cluster.run("put", "-r", tree, "real/first").stderr.decode()
    put_at = time.monotonic()
    print(f"put in {put_at - began:.1f} s: {first.strip()}")
    cluster.run("get", "-q", "-r", "real/first", tmp_path / "out")
    print(f"got in {time.monotonic() - put_at:.1f} s")
    assert same(tree, tmp_path / "out")
    asyncio.run(put_again(cluster, tree, "second"))  # the first one may have passed over some
    check_again(asyncio.run(put_again(cluster, tree, "third")))
    restart_gateway(cluster)
    said = cluster.run("put", "-r", tree, "real/fourth").stderr.decode()
    print(f"again: {said.strip()}")
    assert "were there already" in said


def test_some_packages__in_out_and_again(cluster, tmp_path):
    count = copy_library(tmp_path / "tree", ("asyncio", "email", "encodings", "unittest"))
    assert count > 150
    in_out_again(cluster, tmp_path / "tree", tmp_path)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_standard_library__in_out_and_again(cluster, tmp_path):
    count = copy_library(tmp_path / "tree")
    print(f"{count} files")
    assert count > 500  # Debian packs the tests of the library apart
    in_out_again(cluster, tmp_path / "tree", tmp_path)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_one_gibibyte__in_and_out(cluster, tmp_path):
    source, target = tmp_path / "in", tmp_path / "out"
    rng = random.Random(os.getpid())
    with open(source, "wb") as file:
        for _ in range(GIB // (16 * MIB)):
            file.write(rng.randbytes(16 * MIB))
    times = [time.monotonic()]
    said = cluster.run("put", source, "real/big").stderr.decode()
    times.append(time.monotonic())
    cluster.run("get", "-q", "real/big", target)
    times.append(time.monotonic())
    print(f"put {times[1] - times[0]:.1f} s, get {times[2] - times[1]:.1f} s: {said.strip()}")
    assert subprocess.run(["cmp", source, target], check=False).returncode == 0
