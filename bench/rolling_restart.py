"""What a rolling restart of every process looks like to clients: failed operations, longest waits.

    bench/rolling_restart.py                        makes a cluster of 4 targets in a temporary folder
    bench/rolling_restart.py --data DIR             uses one that runs
    bench/rolling_restart.py --hand-over-seconds 0  for comparison: targets stop without a hand-over

Workers put, read, stat and list names of their own all the time through an embedded initiator and
compare what they read; some do it through the API sockets of the gateways, each time through one that
takes connections. Meanwhile all targets are restarted as `replicast target restart --all --rolling`
does it, then the gateways. Exit 1 when an operation failed. The longest wait is a figure for people: on
a machine whose cores are busy, most of it is waiting for a core.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import json
import random
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import replicast
from replicast.cli.layout import Local, load_local, socket_path
from replicast.cli.processes import stop_all, wait_ready
from replicast.cli.restart import HEALTHY_SECONDS, restart_rolling, wait_healthy
from replicast.cli.up import UpRequest, bring_down, bring_up
from replicast.errors import Conflict, NotFound, Unavailable
from replicast.gateway.api_client import ApiConnection, connect_api
from replicast.native import IMPLEMENTATION

BUCKET = "rolling"
NAMES_EACH = 12
# Inline in one datagram and in several, a negotiated chunk, one with a small one behind it.
SIZES = (100, 40_000, 300_000, (1 << 20) + 40_000)
KINDS, WEIGHTS = ("put", "get", "head", "list"), (5, 5, 3, 1)
API_KINDS = ("api put", "api get")
API_POLL_SECONDS = 0.02
API_WORKERS = 2
READY_SECONDS = 60.0
FAILURES_SHOWN = 5


class Load:
    """Workers, what they saw, and how long each kind of operation took at most."""

    def __init__(self) -> None:
        self.stopping = False
        self.operations = 0
        self.failures: list[str] = []
        self.longest = dict.fromkeys((*KINDS, *API_KINDS), 0.0)

    async def work(self, client: Any, worker: int, think_seconds: float) -> None:
        """One operation after the other until told to stop."""
        rng = random.Random(worker)
        known: dict[str, bytes] = {}
        while not self.stopping:
            kind = rng.choices(KINDS, WEIGHTS)[0]
            name = f"w{worker}/n{rng.randrange(NAMES_EACH):02d}"
            began = time.monotonic()
            try:
                await self._one(client, kind, name, known, rng)
            except Exception as error:  # noqa: BLE001 - whatever it is, it is what is looked for
                self.failures.append(f"{kind} {name}: {type(error).__name__}: {error}")
            self._ended(kind, began)
            await asyncio.sleep(think_seconds)

    async def work_api(self, sockets: list[Path], worker: int, think_seconds: float) -> None:
        """The same through gateways, a connection for each operation, as commands do it."""
        rng = random.Random(worker)
        name, body = f"api{worker}/n", b""
        while not self.stopping:
            kind = API_KINDS[bool(body) and rng.randrange(2)]
            new, began = rng.randbytes(rng.choice(SIZES)), time.monotonic()
            try:
                async with contextlib.AsyncExitStack() as stack:
                    api = await self._connected(stack, sockets)
                    if kind == "api put":
                        await api.one("put", _block(new), bucket=BUCKET, name=name)
                        body = new
                    else:
                        answers = api.request("get", bucket=BUCKET, name=name)
                        blocks = [bytes(a) async for a in answers if not isinstance(a, dict)]
                        if b"".join(blocks) != body:
                            raise ValueError("has other bytes")
            except Exception as error:  # noqa: BLE001 - as above
                self.failures.append(f"{kind} {name}: {type(error).__name__}: {error}")
            self._ended(kind, began)
            await asyncio.sleep(think_seconds)

    async def _connected(
        self, stack: contextlib.AsyncExitStack, sockets: list[Path]
    ) -> ApiConnection:
        """The first gateway that takes connections; nothing was asked of one that does not."""
        for socket in itertools.cycle(sockets):
            with contextlib.suppress(Unavailable):
                return await stack.enter_async_context(connect_api(socket))
            await asyncio.sleep(API_POLL_SECONDS)
        raise Unavailable("no gateway")

    def _ended(self, kind: str, began: float) -> None:
        self.longest[kind] = max(self.longest[kind], time.monotonic() - began)
        self.operations += 1

    async def _one(
        self, client: Any, kind: str, name: str, known: dict[str, bytes], rng: random.Random
    ) -> None:
        if kind == "put":
            body = rng.randbytes(rng.choice(SIZES))
            await client.put(BUCKET, name, body)
            known[name] = body
        elif kind == "list":
            prefix = name.partition("/")[0] + "/"
            found = [each.name async for each in client.list(BUCKET, prefix=prefix)]
            if found != sorted(known):
                raise ValueError(f"{len(found)} names listed, {len(known)} are there")
        elif name not in known:
            try:
                await client.stat(BUCKET, name)
            except NotFound:
                return
            raise ValueError("is there, and nobody has put it")
        elif kind == "head":
            if (await client.stat(BUCKET, name)).size_bytes != len(known[name]):
                raise ValueError("has another size")
        elif await client.read(BUCKET, name) != known[name]:
            raise ValueError("has other bytes")

    def take(self) -> dict[str, float]:
        """The longest so far, and begin anew."""
        taken = {kind: round(seconds, 3) for kind, seconds in self.longest.items()}
        self.longest = dict.fromkeys(self.longest, 0.0)
        return taken


async def _block(body: bytes) -> AsyncIterator[bytes]:
    yield body


async def measure(data: Path, workers: int, think_seconds: float, quiet_seconds: float) -> Any:
    """Restart everything under load; returns the figures."""
    local, load = load_local(data), Load()
    steps: list[dict[str, Any]] = []

    def note(what: str) -> None:
        steps.append({"step": what, "longest_seconds": load.take()})
        print(f"{what}: {text(steps[-1]['longest_seconds'])}", flush=True)

    async with await replicast.connect(data) as client:
        try:
            await client.create_bucket(BUCKET)
        except Conflict:
            sys.exit(f"bucket {BUCKET} exists already: use a fresh cluster")
        sockets = [socket_path(each.folder) for each in local.of_kind("gateway", data)]
        works = [load.work(client, number, think_seconds) for number in range(workers)]
        works += [load.work_api(sockets, n, think_seconds) for n in range(API_WORKERS)]
        tasks = [asyncio.ensure_future(work) for work in works]
        await asyncio.sleep(quiet_seconds)
        note("before")
        targets = local.of_kind("target", data)
        await asyncio.to_thread(restart_rolling, data, targets, HEALTHY_SECONDS, note)
        await asyncio.to_thread(restart_gateways, local, data, note)
        load.stopping = True
        await asyncio.gather(*tasks)
    return {
        "implementation": IMPLEMENTATION,
        "operations": load.operations,
        "failed": len(load.failures),
        "longest_seconds": max(max(step["longest_seconds"].values()) for step in steps[1:]),
        "failures": load.failures[:FAILURES_SHOWN],
        "steps": steps,
    }


def restart_gateways(local: Local, data: Path, note: Any) -> None:
    """One after the other."""
    for gateway in local.of_kind("gateway", data):
        stop_all([gateway])
        gateway.start()
        wait_ready([gateway], READY_SECONDS)
        wait_healthy(socket_path(gateway.folder), HEALTHY_SECONDS, "gateways were restarted")
        note(f"{gateway.name} restarted")


def text(longest: dict[str, float]) -> str:
    """For people."""
    return "longest " + ", ".join(f"{kind} {seconds:.2f} s" for kind, seconds in longest.items())


def main() -> int:
    """See the module header."""
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("--data", type=Path, help="folder of a running cluster")
    parser.add_argument("--targets", type=int, default=4)
    parser.add_argument("--gateways", type=int, default=2)
    parser.add_argument("--workers", type=int, default=6)
    parser.add_argument("--think", type=float, default=0.005, help="seconds between operations")
    parser.add_argument("--quiet", type=float, default=3.0, help="seconds before the first restart")
    parser.add_argument("--hand-over-seconds", type=float, help="of the targets' settings")
    parser.add_argument("--json", type=Path, help="write the figures to this file, too")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="rolling-") as made:
        data = (options.data or Path(made) / "data").resolve()
        if options.data is None:
            bring_up(data, UpRequest(targets=options.targets, gateways=options.gateways), print)
        try:
            if options.hand_over_seconds is not None:
                set_hand_over(data, options.hand_over_seconds)
            work = measure(data, options.workers, options.think, options.quiet)
            figures = asyncio.run(work)
        finally:
            if options.data is None:
                bring_down(data, print)
    if options.json is not None:
        options.json.write_text(json.dumps(figures, indent=2))
    print(
        f"{figures['operations']} operations, {figures['failed']} failed; "
        f"longest {figures['longest_seconds']:.2f} s ({IMPLEMENTATION})"
    )
    print("\n".join(figures["failures"]))
    return 1 if figures["failed"] else 0


def set_hand_over(data: Path, seconds: float) -> None:
    """In all settings files; counts from the next start, so all are restarted first."""
    local = load_local(data)
    for daemon in local.of_kind("target", data):
        with daemon.config.open("a") as file:
            file.write(f"hand_over_seconds = {seconds}\n")
    bring_down(data, print)
    bring_up(data, UpRequest(), print)


if __name__ == "__main__":
    sys.exit(main())
