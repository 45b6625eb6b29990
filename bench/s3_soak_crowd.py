"""Keys of bench/s3_soak.py that all workers write at the same time: what a read may return then, and
conditional writes of which one may win."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from contents import Content
from s3_soak_model import Body, Chain, Races, Shared, WrongAnswer, require

if TYPE_CHECKING:
    from s3_soak_work import Worker

BUCKET = "soak-shared"
SHARED = 5
CHAINS = 2
RACERS = 3  # tries of a key before all go on to the next
FIRST_LINK = Content(1, 1)


class Crowd:
    """The models of these keys."""

    def __init__(self) -> None:
        self.shared = [Shared(BUCKET, f"shared/{number}") for number in range(SHARED)]
        self.chains = [Chain(BUCKET, f"chain/{number}") for number in range(CHAINS)]
        self.races = Races(BUCKET, RACERS)


class CrowdWork:
    """What one worker does with them."""

    def __init__(self, worker: Worker, crowd: Crowd) -> None:
        self._worker, self._crowd = worker, crowd
        self._ask, self._rng = worker.ask, worker.rng

    def _any(self) -> Shared:
        return self._rng.choice(self._crowd.shared)

    def get(self) -> None:
        """A read returns nothing that was overwritten before it began."""
        shared, began = self._any(), time.monotonic()
        out = self._ask("get_object", "NoSuchKey", Bucket=BUCKET, Key=shared.name)
        if out.failed:
            return
        body = shared.read(out.answer.get("ETag", ""), began, time.monotonic())
        if body is not None:
            require(out.answer["Body"] == body.data(), f"{shared.name}: other bytes")

    def put(self) -> None:
        """PutObject."""
        shared, body = self._any(), self._worker.body(smallest=1)
        write = shared.begin(body, time.monotonic())
        out = self._ask("put_object", Bucket=BUCKET, Key=shared.name, Body=body.data())
        if out.done:
            shared.acknowledged(write, time.monotonic())

    def delete(self) -> None:
        """DeleteObject."""
        shared = self._any()
        write = shared.begin(None, time.monotonic())
        out = self._ask("delete_object", Bucket=BUCKET, Key=shared.name)
        if out.done:
            shared.acknowledged(write, time.monotonic())

    def list(self) -> None:
        """A list shows of each key what a read may return."""
        began = time.monotonic()
        out = self._ask("list_objects_v2", Bucket=BUCKET, Prefix="shared/")
        if out.failed:
            return
        listed = {each["Key"]: each["ETag"] for each in out.answer.get("Contents", [])}
        for shared in self._crowd.shared:
            shared.read(listed.get(shared.name, ""), began, time.monotonic())

    def race(self) -> None:
        """If-None-Match: * on a key that others try at the same time: one wins, all see who."""
        races, body = self._crowd.races, self._worker.body(smallest=1)
        name = races.enter()
        at = {"Bucket": BUCKET, "Key": name}
        refusals = ("PreconditionFailed", "ConditionalRequestConflict")
        out = self._ask("put_object", *refusals, Body=body.data(), IfNoneMatch="*", **at)
        if out.done:
            races.won(name, body)
        elif out.unclear:
            races.unclear.add(name)
        seen = self._ask("get_object", "NoSuchKey", **at)
        if seen.failed or name in races.unclear:
            return
        require(seen.done or not out.done, f"{name}: {seen.code}, and was put")
        winner = races.winners.get(name)  # not yet, when its answer is still on the way
        if winner is not None and seen.done:
            require(seen.answer["ETag"] == winner.etag(), f"{name}: is not the winner's")

    def link(self) -> None:
        """Put what follows the newest, by If-Match."""
        chain = self._rng.choice(self._crowd.chains)
        at, wins = {"Bucket": BUCKET, "Key": chain.name}, chain.wins
        seen = self._ask("head_object", **at)
        if seen.failed:
            return
        base = seen.answer["ETag"]
        chain.read(base, wins)
        body = Body((self._worker.content(self._rng.choice((9, 100_000))),))
        out = self._ask("put_object", "PreconditionFailed", Body=body.data(), IfMatch=base, **at)
        if out.done:
            chain.won(base, body.etag())
        elif not out.unclear:
            chain.refused(body.etag())

    def begin_chains(self) -> None:
        """Before the workers."""
        for chain in self._crowd.chains:
            out = self._ask("put_object", Bucket=BUCKET, Key=chain.name, Body=FIRST_LINK.data())
            require(out.done, f"{chain.name} was not put")

    def check(self, at: int) -> None:
        """When nobody writes any more, through this gateway."""
        now = time.monotonic()
        for shared in self._crowd.shared:
            out = self._ask("get_object", "NoSuchKey", at=at, Bucket=BUCKET, Key=shared.name)
            if not out.failed:
                body = shared.read(out.answer.get("ETag", ""), now, time.monotonic())
                good = body is None or out.answer["Body"] == body.data()
                require(good, f"{shared.name}: other bytes")
        for name, winner in self._crowd.races.winners.items():
            out = self._ask("get_object", at=at, Bucket=BUCKET, Key=name)
            if not out.failed and out.answer["Body"] != winner.data():
                raise WrongAnswer(f"{name}: other bytes than the winner's")
        for chain in self._crowd.chains:
            out = self._ask("head_object", at=at, Bucket=BUCKET, Key=chain.name)
            if not out.failed:
                chain.read(out.answer["ETag"], chain.wins)
