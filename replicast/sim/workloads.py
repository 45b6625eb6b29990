"""What client programs do in a simulated cluster, and what they saw.

Every value is unique and known to the Ledger, so that a read says which write it saw; a read of
bytes that nobody wrote is a failure at once (contract C5). An operation whose outcome the client
does not learn is recorded as unknown: it may take effect later or never.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

from replicast.embed import Cluster
from replicast.errors import ConditionFailed, DataLost, NoSpace, NotFound, Unavailable
from replicast.gateway.initiation import Source
from replicast.gateway.objects import ObjectInfo
from replicast.sim.history import History
from replicast.sim.models import REFUSED, REMOVED
from replicast.sim.world import World
from replicast.units import KIB, SECOND

LATER = (Unavailable, NoSpace)  # not now: a write may or may not have taken effect
BUCKET = "sim"
HEAD_BYTES = 12  # of a value: its name
BLOCKS = 6
Version: TypeAlias = tuple[int, int, int, int]  # version_of()


@dataclass(slots=True)
class Ledger:
    """All values ever written, and the history of all names."""

    world: World
    history: History = field(default_factory=lambda: History("name"))
    values: dict[str, bytes] = field(default_factory=dict)
    by_content: dict[bytes, str] = field(default_factory=dict)
    by_etag: dict[str, str] = field(default_factory=dict)  # of values whose put was answered
    versions: dict[str, dict[Version, None]] = field(default_factory=dict)  # of each key, as told
    buckets: dict[str, None] = field(default_factory=lambda: {BUCKET: None})  # nobody removes them
    uploads: list[Any] = field(default_factory=list)  # that were begun (workload_uploads.Upload)
    changes: dict[str, int] = field(default_factory=dict)  # of versioning, begun: bucket -> count
    changing: dict[str, set[int]] = field(default_factory=dict)  # those not known to have ended
    blocks: list[bytes] = field(default_factory=list)  # that many objects have in common
    operation_ns_max: int | None = None  # what any may take, however it ends (C7)
    answered: bool = False  # every operation has to succeed
    longest_ns: int = 0
    done: int = 0
    failed: int = 0
    made: int = 0

    def value(self, rng: random.Random, sizes: tuple[int, ...]) -> str:
        """A new value: its name."""
        return self.value_of(rng.randbytes(max(0, rng.choice(sizes) - HEAD_BYTES)))

    def value_of(self, body: bytes, *, shared: bytes = b"") -> str:
        """A new value: what other values have too, then its own name and `body`."""
        self.made += 1
        name = f"v{self.made}"
        data = shared + f"{name:<{HEAD_BYTES}}".encode() + body
        self.values[name], self.by_content[data] = data, name
        return name

    def value_whole(self, data: bytes) -> str:
        """A new value that is nothing but `data`, which nobody else may write."""
        self.made += 1
        name = f"v{self.made}"
        self.values[name], self.by_content[data] = data, name
        return name

    def block(self, rng: random.Random, size_bytes: int) -> bytes:
        """One of few blocks: equal chunks in many objects, when it is a chunk long."""
        while len(self.blocks) < BLOCKS:
            self.blocks.append(rng.randbytes(size_bytes))
        return rng.choice(self.blocks)

    def learned(self, key: str, version: Version) -> None:
        """A client was told of this version."""
        self.versions.setdefault(key, {})[version] = None

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
        self._in_time(token)
        self.world.note("client", "answer", token=token, result=result)
        self.history.ok(token, result, self.world.time_ns)

    def fail(self, token: int, why: Exception | str) -> None:
        """It surely did not take effect: reads, and what was never sent."""
        self.failed += 1
        self._in_time(token)
        self.world.note("client", "failed", token=token, why=str(why))
        self._missed(token, why)
        self.history.fail(token, self.world.time_ns)

    def unknown(self, token: int, why: Exception) -> None:
        """It may have taken effect, or may yet."""
        self.failed += 1
        self._in_time(token)
        self.world.note("client", "unknown", token=token, why=str(why))
        self._missed(token, why)
        self.history.unknown(token)

    def _missed(self, token: int, why: Exception | str) -> None:
        """A text says that it was answered, and that nobody can tell what the answer means."""
        if self.answered and isinstance(why, Exception):
            begun = self.history.invoked(token)
            what = f"client {begun.client}: {begun.kind} {begun.key} failed: {why!r}"
            self.world.fail(what, checker="liveness")

    def _in_time(self, token: int) -> None:
        """An operation ends; those that never do are waited for in peace, or their client died."""
        begun = self.history.invoked(token)
        took_ns = self.world.time_ns - begun.call_ns
        self.longest_ns = max(self.longest_ns, took_ns)
        if self.operation_ns_max is not None and took_ns > self.operation_ns_max:
            took = f"took {took_ns / SECOND:.1f} s, at most {self.operation_ns_max / SECOND:g}"
            what = f"client {begun.client}: {begun.kind} {begun.key} {took}"
            self.world.fail(what, checker="liveness")

    def whole(self, part: bytes, first: int, last: int) -> bytes:
        """The value of which these are the bytes from `first` to `last`, as far as it goes."""
        for data in self.by_content:
            if data.startswith(part, first) and len(part) == len(data[first : last + 1]):
                return data
        return part

    def read(self, key: str, data: bytes) -> str:
        """Which value these bytes are."""
        name = self.by_content.get(data)
        if name is None:
            self.world.fail(
                f"{key}: a read of {len(data)} bytes that nobody wrote: {data[:12]!r}",
                checker="bytes",
            )
            return "nothing"
        return name


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkloadPlan:
    """One [[workload]] of a test file."""

    kind: str
    names: int = 4
    sizes: tuple[int, ...] = (100, 5 * KIB, 20 * KIB, 150 * KIB)
    think_ms: float = 100.0  # pause between two operations of a client, at most
    burst_seconds: float = 0.0  # all clients work at the same time, then pause; 0: no pauses
    quiet_seconds: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Seat:
    """Where a program runs: one start of one client's process."""

    number: int
    client: Cluster
    ledger: Ledger
    rng: random.Random
    chunk_size_bytes: int
    admins: int  # clients with a lower number are administrators
    stopped: Callable[[], bool]
    kill: Callable[[], None]  # of the process that the program runs in; it is started again


class Program:
    """One client program: runs until told to stop. Kinds of their own override step()."""

    bucket = BUCKET
    prefix = "n"  # of the names that it works on

    def __init__(self, seat: Seat, plan: WorkloadPlan) -> None:
        self._number, self._client, self._ledger = seat.number, seat.client, seat.ledger
        self._rng, self._stopped = seat.rng, seat.stopped
        self._seat, self._plan = seat, plan

    async def run(self) -> None:
        """The whole program."""
        await self.work()

    async def work(self) -> None:
        """One step after the other."""
        while not self._stopped():
            await self._quiet()
            await self.step()
            await asyncio.sleep(self._rng.random() * self._plan.think_ms / 1e3)

    async def step(self) -> None:
        """One operation, or a few that belong together."""
        steps = STEPS[self._plan.kind]
        step = self._rng.choices([s for s, _ in steps], [weight for _, weight in steps])[0]
        await step(self)

    async def _quiet(self) -> None:
        """Wait for the next burst; bursts are at the same time in all clients."""
        plan = self._plan
        if plan.burst_seconds:
            round_ns = int((plan.burst_seconds + plan.quiet_seconds) * SECOND)
            into_ns = self._ledger.world.time_ns % round_ns
            if into_ns >= int(plan.burst_seconds * SECOND):
                await asyncio.sleep((round_ns - into_ns) / SECOND)

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
            info, before = seen
            value = self._value()
            await self._write(
                "put_if_match",
                name,
                (before, value),
                lambda: self._put(name, value, if_match=info.etag),
            )

    async def get(self) -> None:
        """Read a whole object."""
        await self._read(self._name())

    async def delete(self) -> None:
        """A delete marker."""
        await self._delete(self._name())

    async def list_names(self) -> None:
        """All names of the bucket."""
        await self._list("")

    # -- parts ------------------------------------------------------------------------

    def _name(self) -> str:
        return f"{self.prefix}{self._rng.randrange(self._plan.names)}"

    def _value(self) -> str:
        return self._ledger.value(self._rng, self._plan.sizes)

    async def _put(
        self, name: str, value: str, source: Source | None = None, **condition: str
    ) -> Version:
        data = self._ledger.values[value] if source is None else source
        info = await self._client.put(self.bucket, name, data, **condition)  # type: ignore[arg-type]
        self._ledger.by_etag[info.etag] = value
        return version_of(info)

    async def _delete(self, name: str) -> None:
        async def delete() -> Any:
            return outcome_of_delete(await self._client.delete(self.bucket, name))

        await self._write("delete", name, None, delete)

    async def _list(self, prefix: str) -> None:
        await list_names(self._ledger, self._number, self._client, prefix, self.bucket)

    async def _write(
        self, kind: str, name: str, argument: Any, work: Callable[[], Awaitable[Any]]
    ) -> None:
        ledger, key = self._ledger, f"{self.bucket}/{name}"
        token = ledger.begin(self._number, key, kind, argument)
        try:
            result = await work()
            ledger.ok(token, result)
            if isinstance(result, tuple) and result[0] != REMOVED:
                ledger.learned(key, result)
        except (ConditionFailed, NotFound):  # NotFound: of a delete, when there is no object
            ledger.ok(token, REFUSED)
        except LATER as error:
            ledger.unknown(token, error)
        except DataLost as error:
            ledger.world.fail(f"{kind} {key}: {error}", checker="bytes")

    async def _read(self, name: str) -> None:
        await self._ask("get", name, None, lambda: self._client.read(self.bucket, name))

    async def _ask(
        self, kind: str, name: str, argument: Any, work: Callable[[], Awaitable[bytes]]
    ) -> None:
        """A read of a whole object or version."""
        ledger, key = self._ledger, f"{self.bucket}/{name}"
        token = ledger.begin(self._number, key, kind, argument)
        try:
            ledger.ok(token, ledger.read(key, await work()))
        except NotFound:
            ledger.ok(token, None)
        except LATER as error:
            ledger.fail(token, error)
        except DataLost as error:
            ledger.world.fail(f"{kind} {key}: {error}", checker="bytes")

    async def _head(self, name: str) -> tuple[ObjectInfo, str] | None:
        """The newest version and its value, when there is one that we know."""
        ledger, key = self._ledger, f"{self.bucket}/{name}"
        token = ledger.begin(self._number, key, "head", None)
        try:
            info = await self._client.stat(self.bucket, name)
        except NotFound:
            ledger.ok(token, None)
            return None
        except LATER as error:
            ledger.fail(token, error)
            return None
        value = ledger.by_etag.get(info.etag)
        if value is None:
            ledger.fail(token, "the ETag of a put whose answer never came")
            return None
        ledger.ok(token, value)
        return info, value


async def list_names(
    ledger: Ledger, number: int, client: Cluster, prefix: str, bucket: str = BUCKET
) -> None:
    """Client `number` asks for all names with a prefix."""
    token = ledger.begin(number, f"{bucket}/", "list", prefix)
    try:
        found = [info.name async for info in client.list(bucket, prefix)]
    except LATER as error:
        ledger.fail(token, error)
        return
    ledger.ok(token, found)


def version_of(info: ObjectInfo) -> Version:
    """As it stands in histories; the last number says whether it is a null version."""
    version = info.version
    return version.time_ns, version.segment_id, version.sequence, int(info.null)


def outcome_of_delete(info: ObjectInfo) -> Any:
    """The marker that a delete has made, or the null version that it has removed."""
    if info.delete_marker:
        return version_of(info)
    return REMOVED, version_of(replace(info, null=True))


class Contended(Program):
    """Many change few names at once: hardly an operation that does not meet another."""

    prefix = "h"


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
    "reading": [(Program.get, 1)],
    "objects": [(Program.put, 3), (Program.get, 4), (Program.delete, 1)],
    "contended": [
        (Program.put_if_match, 6),
        (Program.put_if_absent, 2),
        (Program.get, 2),
        (Program.delete, 1),
    ],
    "listing": [(Program.put, 2), (Program.delete, 2), (Program.list_names, 3)],
}
