"""Multipart uploads that all clients work on at once: parts again, completed and aborted by several.

Parts have bytes of their own, so what is read of an object says which parts it was made of. An upload
is one of the last few that were begun, whoever did it, and sometimes one that has ended.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from replicast.errors import ConditionFailed, NotFound
from replicast.gateway.bodies import Description, known
from replicast.gateway.conditions import condition
from replicast.gateway.uploads import ID_CHARACTERS, PartInfo
from replicast.gateway.uploads import Uploads as Operations
from replicast.sim.models import REFUSED
from replicast.sim.uploads import KEY
from replicast.sim.workload_versioning import SINGLE, Steps, Versioning
from replicast.sim.workloads import BUCKET, LATER, Seat, WorkloadPlan, version_of

RECENT = 3  # uploads that are worked on
ENDED = 12  # and that are asked for after their end
PART_NUMBERS = (1, 2, 3, 10_000)


@dataclass(slots=True)
class Upload:
    """One that was begun."""

    bucket: str
    name: str
    upload_id: str
    parts: dict[str, bytes] = field(default_factory=dict)  # ETag -> its bytes

    @property
    def key(self) -> str:
        """In histories."""
        return KEY + self.upload_id


class Uploads(Versioning):
    """See the module header."""

    prefix = "m"

    def __init__(self, seat: Seat, plan: WorkloadPlan) -> None:
        super().__init__(seat, plan)
        opened = seat.client._opened
        self._next_id = ""
        self._uploads = Operations(
            opened.initiator,
            opened.objects.bodies,
            opened.objects.names,
            lambda: self._next_id,
        )

    async def run(self) -> None:
        await self._make(SINGLE)
        await self.work()

    async def step(self) -> None:
        rng = self._rng
        self.bucket, name = rng.choice((BUCKET, SINGLE)), self._name()
        steps: Steps = [
            (3, lambda: self.create(name)),
            (3, lambda: self._read(name)),
            (1, lambda: self.list_versions(name)),
            (1, lambda: self.read_version(name, self._known(name))),
            (1, self.list_uploads),
        ]
        upload = self._choose()
        if upload is not None:
            steps += [
                (10, lambda: self.part(upload)),
                (3, lambda: self.list_parts(upload)),
                (1, lambda: self.find(upload)),
                (4, lambda: self.complete(upload)),
                (2, lambda: self.abort(upload)),
            ]
        await self._one_of(steps)

    def _choose(self) -> Upload | None:
        uploads, rng = self._ledger.uploads, self._rng
        far = ENDED if rng.random() < 0.2 else RECENT
        return rng.choice(uploads[-far:]) if uploads else None

    # -- steps ------------------------------------------------------------------------

    async def create(self, name: str) -> None:
        """Begin one."""
        ledger = self._ledger
        self._next_id = f"{ledger.world.time_ns:016x}{self._rng.getrandbits(64):016x}"
        assert len(self._next_id) == ID_CHARACTERS
        upload = Upload(self.bucket, name, self._next_id)

        async def create() -> str:
            await self._uploads.create(upload.bucket, name, {"of": name})
            ledger.uploads.append(upload)
            return "created"

        await self._told(upload.key, "create", upload.bucket, create)

    async def find(self, upload: Upload) -> None:
        """Is it there?"""

        async def find() -> bool:
            found = await self._uploads.find(upload.bucket, upload.name, upload.upload_id)
            return found.metadata == {"of": upload.name}

        await self._told(upload.key, "find", None, find)

    async def part(self, upload: Upload) -> None:
        """As a gateway does: find the upload, then store."""
        ledger, number = self._ledger, self._rng.choice(PART_NUMBERS)
        data = self._rng.randbytes(self._rng.choice(self._plan.sizes))
        etag = f"p{ledger.made}-{len(upload.parts)}"
        upload.parts[etag] = data

        async def put() -> str:
            at = (upload.bucket, upload.name, upload.upload_id)
            await self._uploads.find(*at)
            made = await self._uploads.put_part(*at, number, data, known(Description(etag=etag)))
            return "stored" if made.etag == etag else "another"

        await self._told(upload.key, "part", (number, etag), put)

    async def list_parts(self, upload: Upload) -> list[PartInfo]:
        """All of them."""
        found: list[PartInfo] = []

        async def parts() -> list[tuple[int, str]]:
            at = (upload.bucket, upload.name, upload.upload_id)
            await self._uploads.find(*at)
            found.extend([part async for part in self._uploads.parts(*at)])
            return [(part.number, part.etag) for part in found]

        await self._told(upload.key, "parts", None, parts)
        return found

    async def list_uploads(self) -> None:
        """Of one bucket."""
        bucket = self.bucket

        async def uploads() -> list[str]:
            return [each.upload_id async for each in self._uploads.list(bucket)]

        await self._told(f"{bucket}/", "uploads", None, uploads)

    async def abort(self, upload: Upload) -> None:
        """Forget it."""

        async def abort() -> str:
            await self._uploads.abort(upload.bucket, upload.name, upload.upload_id)
            return "aborted"

        await self._told(upload.key, "abort", None, abort)

    async def complete(self, upload: Upload) -> None:
        """Of some of the parts that a list shows."""
        listed = await self.list_parts(upload)
        parts = [part for part in listed if self._rng.random() < 0.9]
        if not parts:
            return
        ledger = self._ledger
        data = b"".join(upload.parts[part.etag] for part in parts)
        value = ledger.by_content.get(data) or ledger.value_whole(data)
        key, at = f"{upload.bucket}/{upload.name}", (upload.bucket, upload.name)
        when = condition(if_none_match="*") if self._rng.random() < 0.2 else None

        async def complete() -> Any:
            found = await self._uploads.find(*at, upload.upload_id)
            described = Description({"of": value}, etag=f"{value}-{len(parts)}")
            done = await self._uploads.complete(found, parts, described, when=when)
            return version_of(done.info(*at))

        argument = (upload.upload_id, value, tuple((part.number, part.etag) for part in parts))
        refused = await self._told(key, "complete", argument, complete)
        if refused:
            await self.completed(upload)

    async def completed(self, upload: Upload) -> None:
        """What a gateway looks for when there is no such upload any more."""
        key = f"{upload.bucket}/{upload.name}"

        async def completed() -> Any:
            done = await self._uploads.completed(upload.bucket, upload.name, upload.upload_id)
            return None if done is None else version_of(done.info(upload.bucket, upload.name))

        await self._told(key, "completed", upload.upload_id, completed)

    async def _told(
        self, key: str, kind: str, argument: Any, work: Callable[[], Awaitable[Any]]
    ) -> bool:
        """Record what became of it; whether it was refused."""
        ledger = self._ledger
        token = ledger.begin(self._number, key, kind, argument)
        try:
            result = await work()
        except (NotFound, ConditionFailed):
            ledger.ok(token, REFUSED)
            return True
        except LATER as error:
            if kind in ("find", "parts", "uploads", "completed"):
                ledger.fail(token, error)
            else:
                ledger.unknown(token, error)
            return False
        ledger.ok(token, result)
        if kind in ("complete", "completed") and result is not None:
            ledger.learned(key, result)
        return False
