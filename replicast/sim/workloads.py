"""What client programs do in a simulated cluster, and what they saw.

Every value is unique and known to the Ledger, so that a read says which write it saw; a read of
bytes that nobody wrote is a failure at once (contract C5). An operation whose outcome the client
does not learn is recorded as unknown: it may take effect later or never.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from replicast.embed import Cluster
from replicast.errors import ConditionFailed, DataLost, NoSpace, NotFound, Unavailable
from replicast.sim.history import History
from replicast.sim.world import World
from replicast.units import KIB
from replicast.wire.name_messages import VersionId

LATER = (Unavailable, NoSpace)  # not now: a write may or may not have taken effect
BUCKET = "sim"


@dataclass(slots=True)
class Ledger:
    """All values ever written, and the history of all names."""

    world: World
    history: History = field(default_factory=lambda: History("name"))
    values: dict[str, bytes] = field(default_factory=dict)
    by_content: dict[bytes, str] = field(default_factory=dict)
    by_etag: dict[str, str] = field(default_factory=dict)  # of values whose put was answered
    done: int = 0
    failed: int = 0
    made: int = 0

    def value(self, rng: random.Random, sizes: tuple[int, ...]) -> str:
        """A new value: its name."""
        self.made += 1
        name = f"v{self.made}"
        data = f"{name:<12}".encode() + rng.randbytes(max(0, rng.choice(sizes) - 12))
        self.values[name], self.by_content[data] = data, name
        return name

    def begin(self, client: int, key: str, kind: str, argument: Any) -> int:
        """A client calls."""
        now_ns = self.world.time_ns
        token = self.history.invoke(client, key, kind, argument, now_ns)
        self.world.note(
            f"c{client + 1}", "call", token=token, key=key, kind=kind, argument=argument
        )
        return token

    def ok(self, token: int, result: Any) -> None:
        """It was told this."""
        self.done += 1
        self.world.note("client", "answer", token=token, result=result)
        self.history.ok(token, result, self.world.time_ns)

    def fail(self, token: int, why: Exception | str) -> None:
        """It surely did not take effect: reads, and what was never sent."""
        self.failed += 1
        self.world.note("client", "failed", token=token, why=str(why))
        self.history.fail(token, self.world.time_ns)

    def unknown(self, token: int, why: Exception) -> None:
        """It may have taken effect, or may yet."""
        self.failed += 1
        self.world.note("client", "unknown", token=token, why=str(why))
        self.history.unknown(token)

    def read(self, key: str, data: bytes) -> str:
        """Which value these bytes are."""
        name = self.by_content.get(data)
        if name is None:
            self.world.fail(f"{key}: a read of {len(data)} bytes that nobody wrote: {data[:12]!r}")
            return "nothing"
        return name


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkloadPlan:
    """One [[workload]] of a test file."""

    kind: str
    names: int = 4
    sizes: tuple[int, ...] = (100, 5 * KIB, 20 * KIB, 150 * KIB)
    think_ms: float = 100.0  # pause between two operations of a client, at most


class Program:
    """One client program: runs until told to stop."""

    def __init__(
        self,
        number: int,
        client: Cluster,
        ledger: Ledger,
        plan: WorkloadPlan,
        rng: random.Random,
        stopped: Callable[[], bool],
        sleep: Callable[[float], Awaitable[None]],
    ) -> None:
        self._number, self._client, self._ledger, self._plan = number, client, ledger, plan
        self._rng, self._stopped, self._sleep = rng, stopped, sleep

    async def run(self) -> None:
        """The whole program."""
        steps = STEPS[self._plan.kind]
        while not self._stopped():
            step = self._rng.choices([s for s, _ in steps], [weight for _, weight in steps])[0]
            await step(self)
            await self._sleep(self._rng.random() * self._plan.think_ms / 1e3)

    # -- steps ------------------------------------------------------------------------

    async def put(self) -> None:
        """Unconditional."""
        name, value = self._name(), self._value()
        await self._write("put", name, value, lambda: self._put(name, value))

    async def put_if_absent(self) -> None:
        """If-None-Match: *."""
        name, value = self._name(), self._value()
        await self._write(
            "put_if_absent", name, value, lambda: self._put(name, value, if_none_match="*")
        )

    async def put_if_match(self) -> None:
        """Look, then replace what was seen."""
        name = self._name()
        seen = await self._head(name)
        if seen is not None:
            etag, before = seen
            value = self._value()
            await self._write(
                "put_if_match", name, (before, value), lambda: self._put(name, value, if_match=etag)
            )

    async def get(self) -> None:
        """Read a whole object."""
        await self._read(self._name())

    async def delete(self) -> None:
        """A delete marker."""
        name = self._name()

        async def delete() -> Any:
            return _version((await self._client.delete(BUCKET, name)).version)

        await self._write("delete", name, None, delete)

    async def list_names(self) -> None:
        """All names of the bucket."""
        ledger = self._ledger
        token = ledger.begin(self._number, f"{BUCKET}/", "list", "")
        try:
            found = [info.name async for info in self._client.list(BUCKET)]  # type: ignore[union-attr]
        except LATER as error:
            ledger.fail(token, error)
            return
        ledger.ok(token, found)

    # -- parts ------------------------------------------------------------------------

    def _name(self) -> str:
        return f"n{self._rng.randrange(self._plan.names)}"

    def _value(self) -> str:
        return self._ledger.value(self._rng, self._plan.sizes)

    async def _put(self, name: str, value: str, **condition: str) -> Any:
        data = self._ledger.values[value]
        info = await self._client.put(BUCKET, name, data, **condition)  # type: ignore[arg-type]
        self._ledger.by_etag[info.etag] = value
        return _version(info.version)

    async def _write(
        self, kind: str, name: str, argument: Any, work: Callable[[], Awaitable[Any]]
    ) -> None:
        ledger, key = self._ledger, f"{BUCKET}/{name}"
        token = ledger.begin(self._number, key, kind, argument)
        try:
            ledger.ok(token, await work())
        except (ConditionFailed, NotFound):  # NotFound: of a delete, when there is no object
            ledger.ok(token, "refused")
        except LATER as error:
            ledger.unknown(token, error)
        except DataLost as error:
            ledger.world.fail(f"{kind} {key}: {error}")

    async def _read(self, name: str) -> None:
        ledger, key = self._ledger, f"{BUCKET}/{name}"
        token = ledger.begin(self._number, key, "get", None)
        try:
            ledger.ok(token, ledger.read(key, await self._client.read(BUCKET, name)))
        except NotFound:
            ledger.ok(token, None)
        except LATER as error:
            ledger.fail(token, error)
        except DataLost as error:
            ledger.world.fail(f"get {key}: {error}")

    async def _head(self, name: str) -> tuple[str, str] | None:
        """(ETag, value) of the newest version, when there is one that we know."""
        ledger, key = self._ledger, f"{BUCKET}/{name}"
        token = ledger.begin(self._number, key, "head", None)
        try:
            etag = (await self._client.stat(BUCKET, name)).etag
        except NotFound:
            ledger.ok(token, None)
            return None
        except LATER as error:
            ledger.fail(token, error)
            return None
        value = ledger.by_etag.get(etag)
        if value is None:
            ledger.fail(token, "the ETag of a put whose answer never came")
            return None
        ledger.ok(token, value)
        return etag, value


def _version(version: VersionId) -> tuple[int, int, int]:
    return version.time_ns, version.segment_id, version.sequence


Step = Callable[[Program], Awaitable[None]]
STEPS: dict[str, list[tuple[Step, int]]] = {
    "register": [
        (Program.put, 4),
        (Program.put_if_absent, 2),
        (Program.put_if_match, 3),
        (Program.get, 6),
        (Program.delete, 1),
        (Program.list_names, 1),
    ],
    "objects": [(Program.put, 3), (Program.get, 4), (Program.delete, 1)],
    "listing": [(Program.put, 2), (Program.delete, 2), (Program.list_names, 3)],
}
