"""A bucket that is emptied, removed and made anew, by all clients at once, while others use it.

Its names go on: one that is absent because its bucket is not there is absent, so each name is
one register through all lives of its bucket. What the name model is told of a removal is that
no name was there at some moment of it. Version ids are not recorded, as they need not grow from
one life to the next: another life of a name is in another row.
"""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable

from replicast.errors import ConditionFailed, Conflict, NotFound
from replicast.sim.models import REFUSED
from replicast.sim.workloads import LATER, Program

LISTER, READER = 0, 1  # do nothing else: other operations soon hear that a bucket is gone, and
# a LIST waits for every row, also for one whose leader has not heard of the bucket


class Buckets(Program):
    """See the module header."""

    bucket = "anew"
    prefix = "r"

    async def step(self) -> None:
        if self._number == LISTER:
            await self.list_names()
        elif self._number == READER:
            await self._read(f"{self.prefix}0")
        else:
            steps: list[tuple[Callable[[], Awaitable[None]], int]] = [
                (self.put, 5),
                (self.put_if_absent, 1),
                (self.get, 4),
                (self.remove, 1),
                (self.make, 1),
            ]
            step = self._rng.choices([s for s, _ in steps], [weight for _, weight in steps])[0]
            await step()

    async def put(self) -> None:
        await self._put_anew("put")

    async def put_if_absent(self) -> None:
        await self._put_anew("put_if_absent", if_none_match="*")

    async def _put_anew(self, kind: str, **condition: str) -> None:
        ledger, name, value = self._ledger, self._name(), self._value()
        token = ledger.begin(self._number, f"{self.bucket}/{name}", kind, value)
        data = ledger.values[value]
        try:
            await self._client.put(self.bucket, name, data, **condition)  # type: ignore[arg-type]
            ledger.ok(token, None)
        except ConditionFailed:
            ledger.ok(token, REFUSED)
        except NotFound as error:
            ledger.fail(token, error)
            await self.make()
        except LATER as error:
            ledger.unknown(token, error)

    async def list_names(self) -> None:
        ledger = self._ledger
        token = ledger.begin(self._number, f"{self.bucket}/", "list", "")
        try:
            ledger.ok(token, [info.name async for info in self._client.list(self.bucket)])
        except NotFound:
            ledger.ok(token, [])
        except LATER as error:
            ledger.fail(token, error)

    async def make(self) -> None:
        """It may be there already."""
        with contextlib.suppress(Conflict, *LATER):
            await self._client.create_bucket(self.bucket)

    async def remove(self) -> None:
        """Delete all names, then the bucket, and often make it again at once."""
        ledger = self._ledger
        names = [f"{self.prefix}{number}" for number in range(self._plan.names)]
        for name in names:
            await self._delete_anew(name)
        tokens = [
            ledger.begin(self._number, f"{self.bucket}/{name}", "get", None) for name in names
        ]
        try:
            await self._client.delete_bucket(self.bucket)
        except (Conflict, NotFound, *LATER) as error:
            for token in tokens:
                ledger.fail(token, error)
            return
        ledger.world.note("client", "bucket removed", bucket=self.bucket)
        for token in tokens:
            ledger.ok(token, None)
        if self._rng.random() < 0.5:
            await self.make()

    async def _delete_anew(self, name: str) -> None:
        ledger = self._ledger
        token = ledger.begin(self._number, f"{self.bucket}/{name}", "delete", None)
        try:
            await self._client.delete(self.bucket, name)
            ledger.ok(token, None)
        except NotFound:
            ledger.ok(token, REFUSED)
        except LATER as error:
            ledger.unknown(token, error)
