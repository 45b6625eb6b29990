"""A name that is written all the time and of which few versions are kept.

Without one no log of bench/soak.py would ever be cut: a cut needs hundreds of entries that are of no use any
more, and a checked load spreads its writes over thousands of rows. One writer, so that it
knows which versions must be there.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path

from contents import Content
from namespaces import Cluster

from replicast.errors import NotFound, ReplicastError
from replicast.gateway.api_client import ApiConnection, connect_api

BUCKET, NAME = "busy", "one"
BYTES = 600
KEEP_EACH = 50
DEADLINE_SECONDS = 60.0
THINK_SECONDS = 0.03
FIRST_NUMBER = 1 << 48  # no other content of the soak is made from such a number


class BusyName:
    """Puts a version, removes it unless it is a fiftieth; whatever is told it, it goes on."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster, self._sockets = cluster, [cluster.socket(g) for g in cluster.gateways]
        self.stopping = False
        self.written = 0
        self.kept: dict[str, Content] = {}
        self._gone: set[str] = set()  # of these the removal was acknowledged
        self._leaving: set[str] = set()  # or not
        self._untold: set[int] = set()  # numbers of puts whose answer never came
        self._number = FIRST_NUMBER

    async def run(self) -> None:
        """Until `stopping`, through each gateway in turn."""
        while not self.stopping:
            self._number += 1
            with contextlib.suppress(ReplicastError, OSError, TimeoutError):
                await self._one(self._sockets[self._number % len(self._sockets)])
            await asyncio.sleep(THINK_SECONDS)

    async def _one(self, socket: Path) -> None:
        content = Content(self._number, BYTES)
        async with asyncio.timeout(DEADLINE_SECONDS), connect_api(socket) as api:
            self._untold.add(content.number)
            answer = await api.one("put", _body(content), bucket=BUCKET, name=NAME)
            self._untold.discard(content.number)
            self.written += 1
            version = str(answer["version"])
            if content.number % KEEP_EACH == 0:
                self.kept[version] = content
                return
            self._leaving.add(version)
            await api.one("delete", bucket=BUCKET, name=NAME, version=version)
            self._leaving.discard(version)
            self._gone.add(version)

    async def check(self) -> None:
        """What was kept is there with its bytes, what was removed is not, and nothing else but
        what was put without an answer."""
        untold = {Content(number, BYTES).data() for number in self._untold}
        async with connect_api(self._sockets[0]) as api:
            answers = api.request("versions", bucket=BUCKET, name=NAME)
            found = {str(answer["version"]) async for answer in answers if isinstance(answer, dict)}
            assert set(self.kept) <= found, f"lost: {set(self.kept) - found}"
            assert not found & self._gone, f"back again: {found & self._gone}"
            for version in found:
                data = await self._read(api, version)
                if version in self.kept:
                    assert data == self.kept[version].data(), f"WRONG ANSWER: {version}"
                elif version not in self._leaving:
                    assert data in untold, f"WRONG ANSWER: nobody has put {version}"

    async def _read(self, api: ApiConnection, version: str) -> bytes | None:
        answers = api.request("get", bucket=BUCKET, name=NAME, version=version)
        try:
            return b"".join([bytes(a) async for a in answers if not isinstance(a, dict)])
        except NotFound:
            return None

    async def targets(self) -> list[str]:
        """Those that have its row, at this moment."""
        show = ("flexhash", "show", "--json", "--object", f"{BUCKET}/{NAME}")
        shown = await asyncio.to_thread(self._cluster.run, *show)
        indices = json.loads(shown.splitlines()[0])["name_replicas"]
        report = await self._cluster.wait_status(lambda report: report["vdevs"])
        return [vdev["target"] for vdev in report["vdevs"] if vdev["index"] in indices]


async def _body(content: Content) -> AsyncIterator[bytes]:
    yield content.data()
