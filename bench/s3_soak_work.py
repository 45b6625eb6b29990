"""The workers of bench/s3_soak.py: mixed operations on keys of their own, each answer held against
the model of s3_soak_model.py."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from contents import Content
from s3_soak_ask import Asker, Outcome
from s3_soak_crowd import Crowd, CrowdWork
from s3_soak_lists import Lists
from s3_soak_model import NULL, Body, Key, Mode, Version, WrongAnswer, metadata, require
from s3_soak_rites import Rites

from replicast.units import KIB, MIB

BUCKETS = {"soak-off": Mode.OFF, "soak-enabled": Mode.ENABLED, "soak-suspended": Mode.SUSPENDED}
NAMES = ("k0", "k1", "k2", "a/k0", "a/k1", "a/b/k0", "b/k0", "ü +%/k0", "ü +%/k1")
SMALL = (0, 1, 700, 9 * KIB, 16 * KIB, 40 * KIB, 64 * KIB, 64 * KIB + 1, 300 * KIB)
LARGE = (MIB + 40 * KIB, 3 * MIB + 77, 8 * MIB + 1, 20 * MIB)
LARGE_SHARE = 0.08
WRONG_MAX = 20


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast disks may fill."""

    bytes_per_second: float
    began: float
    think_seconds: float


class Worker:
    """One thread's work: `stopping` ends it."""

    def __init__(self, number: int, seed: int, asker: Asker, crowd: Crowd, pace: Pace) -> None:
        self.number, self.rng = number, random.Random(seed * 1000 + number)
        self._contents = (seed * 1000 + number) * 1_000_000
        self.asker, self._pace = asker, pace
        self.ask, self.tally = asker.ask, asker.tally
        self.prefix = f"w{number}/"
        self.keys = {
            bucket: [Key(bucket, self.prefix + name, mode) for name in NAMES]
            for bucket, mode in BUCKETS.items()
        }
        self.stopping = False
        self.lists = Lists(self)
        self.rites = Rites(self)
        self._crowd = CrowdWork(self, crowd)
        self._kinds: dict[Callable[[], None], int] = {
            self.put: 10,
            self.put_if: 4,
            self.get: 10,
            self.get_version: 4,
            self.get_range: 4,
            self.get_if: 4,
            self.head: 4,
            self.copy: 4,
            self.delete: 4,
            self.delete_version: 3,
            self.delete_many: 1,
            self.lists.objects: 4,
            self.lists.versions: 3,
            self.put_presigned: 1,
            self.get_presigned: 2,
            self.rites.upload: 2,
            self.rites.bucket: 1,
            self._crowd.get: 5,
            self._crowd.put: 4,
            self._crowd.delete: 1,
            self._crowd.list: 2,
            self._crowd.race: 3,
            self._crowd.link: 3,
        }

    def run(self) -> None:
        """Until told to stop; what is wrong is noted, and the key is taken as it is."""
        kinds, weights = list(self._kinds), list(self._kinds.values())
        while not self.stopping and len(self.tally.wrong) < WRONG_MAX:
            work = self.rng.choices(kinds, weights)[0]
            self.guarded(work)
            time.sleep(self._pace.think_seconds)

    def guarded(self, work: Callable[[], None]) -> None:
        """Whatever it raises is a wrong answer."""
        try:
            work()
        except WrongAnswer as error:
            self.tally.bad(f"{time.strftime('%H:%M:%S')} worker {self.number}: {error}")
        except Exception as error:  # noqa: BLE001 - an answer that cannot be read is wrong, too
            what = f"{work.__name__}: {type(error).__name__}: {error}"
            self.tally.bad(f"{time.strftime('%H:%M:%S')} worker {self.number}: {what}")

    # -- what is chosen -----------------------------------------------------------------

    def key(self, bucket: str = "") -> Key:
        """Any of its own; known for sure."""
        key = self.rng.choice(self.keys[bucket or self.rng.choice(list(self.keys))])
        if key.unclear:
            self.lists.look(key)
        return key

    def full_key(self) -> tuple[Key, Version] | None:
        """One that has an object, and its newest version."""
        for _ in range(10):
            key = self.key()
            if key.newest is not None and not key.maybe:
                return key, key.newest
        return None

    def body(self, smallest: int = 0) -> Body:
        """Bytes that nobody else puts, as many as the pace has room for."""
        size = self.rng.choice(LARGE if self.rng.random() < LARGE_SHARE else SMALL)
        room = self._room()
        if size > SMALL[-1] and size > room:
            size = SMALL[-1] if room > 0 else SMALL[3]
        return Body((self.content(max(size, smallest)),))

    def rich(self) -> bool:
        """Whether there is room for an upload of parts that S3 takes."""
        return self._room() > LARGE[-1]

    def _room(self) -> float:
        pace = self._pace
        return pace.bytes_per_second * (time.monotonic() - pace.began) - self.tally.bytes_put

    def content(self, size: int) -> Content:
        """Of a number of its own."""
        self._contents += 1
        return Content(self._contents, size)

    # -- put ----------------------------------------------------------------------------

    def put(self) -> None:
        """PutObject."""
        key, body = self.key(), self.body()
        self._put(key, body, "put_object", Metadata=metadata(body))

    def put_if(self) -> None:
        """PutObject with If-None-Match: * or If-Match."""
        key, body = self.key(), self.body()
        if key.maybe:
            return
        newest = key.newest
        if self.rng.random() < 0.5:
            condition, good = {"IfNoneMatch": "*"}, newest is None
        else:
            right = newest is not None and self.rng.random() < 0.6
            good = right
            etag = (
                newest.etag
                if right and newest is not None
                else '"00000000000000000000000000000000"'
            )
            condition = {"IfMatch": etag}
        refusals = ("PreconditionFailed", "NoSuchKey")
        out = self._put(key, body, "put_object", *refusals, Metadata=metadata(body), **condition)
        sure = good and not out.retries
        require(out.failed or out.done == good or not sure, f"{_at(key)}: {condition} {out.code}")
        require(out.failed or good or not out.done, f"{_at(key)}: {condition} was put")
        if out.code and good and out.retries:
            key.perhaps(Version("", body, body.etag()))

    def _put(self, key: Key, body: Body, operation: str, *allowed: str, **more: Any) -> Outcome:
        at = {"Bucket": key.bucket, "Key": key.name}
        out = self.ask(operation, *allowed, Body=body.data(), **at, **more)
        self.took_effect(key, body, out)
        return out

    def took_effect(self, key: Key, body: Body, out: Outcome, etag: str = "") -> None:
        """Note what a put has answered; `etag` when it is not the body's own."""
        etag = etag or body.etag()
        if out.failed or (out.retries and key.mode == Mode.ENABLED):
            key.perhaps(Version("", body, etag))
        if not out.done:
            return
        require(out.answer["ETag"] == etag, f"{_at(key)}: ETag {out.answer['ETag']}, not {etag}")
        key.put(Version(self.new_id(key, out), body, etag))

    def new_id(self, key: Key, out: Outcome) -> str:
        """Of a version that was made; right for the bucket's mode."""
        given = out.answer.get("VersionId")
        if key.mode == Mode.OFF:
            require(given is None, f"{_at(key)}: version id {given} in a bucket without versions")
            return NULL
        if key.mode == Mode.SUSPENDED:
            require(given in (None, NULL), f"{_at(key)}: version id {given} in a suspended bucket")
            return NULL
        known = [v.id for v in key.versions] + key.removed
        require(given and given != NULL and given not in known, f"{_at(key)}: version id {given}")
        return str(given)

    def put_presigned(self) -> None:
        """PUT by a URL."""
        key, body = self.key(), self.body()
        at = {"Bucket": key.bucket, "Key": key.name}
        self.took_effect(key, body, self.asker.presigned("put_object", data=body.data(), **at))

    def copy(self) -> None:
        """CopyObject, of the newest or of a version by its id."""
        found, to = self.full_key(), self.key()
        if found is None or found[0] is to:
            return
        key, version = found
        source = {"Bucket": key.bucket, "Key": key.name}
        if self.rng.random() < 0.5 and key.mode != Mode.OFF:
            version = self.rng.choice([v for v in key.versions if v.body is not None])
            source["VersionId"] = version.id
        assert version.body is not None
        out = self.ask("copy_object", Bucket=to.bucket, Key=to.name, CopySource=source)
        if out.done:
            result = out.answer.pop("CopyObjectResult")
            out.answer["ETag"] = result["ETag"]
        self.took_effect(to, version.body, out, version.etag)

    # -- get ----------------------------------------------------------------------------

    def get(self) -> None:
        """GetObject."""
        key = self.key()
        at = {"Bucket": key.bucket, "Key": key.name}
        self.compare(key, key.newest, self.ask("get_object", "NoSuchKey", **at))

    def compare(self, key: Key, version: Version | None, out: Outcome) -> None:
        """Whole bytes, ETag, version id, metadata."""
        if out.failed:
            return
        possible = [version, *key.maybe] + [None] * bool(key.maybe_gone)
        etags = [v.etag if v is not None and v.body is not None else "" for v in possible]
        etag = out.answer.get("ETag", "")
        require(etag in etags, f"{_at(key)}: {etag or out.code}, should be one of {etags}")
        found = possible[etags.index(etag)]
        if found is not version:
            key.unclear = True
        if found is None or found.body is None:
            return
        given, data = out.answer.get("VersionId"), out.answer["Body"]
        if found is version:
            wanted = None if key.mode == Mode.OFF else found.id
            require(given == wanted, f"{_at(key)}: version id {given}, not {wanted}")
        require(data == found.body.data(), f"{_at(key)}: {len(data)} other bytes")
        kept = out.answer.get("Metadata")
        require(kept in (None, {}, metadata(found.body)), f"{_at(key)}: metadata {kept}")

    def get_presigned(self) -> None:
        """GET by a URL."""
        key = self.key()
        at = {"Bucket": key.bucket, "Key": key.name}
        out = self.asker.presigned("get_object", "NoSuchKey", data=b"", **at)
        self.compare(key, key.newest, out)

    def get_version(self) -> None:
        """GetObject, HeadObject of a version that is there, and of one that is gone."""
        key = self.key()
        at = {"Bucket": key.bucket, "Key": key.name}
        objects = [v for v in key.versions if v.body is not None]
        if objects and self.rng.random() < 0.9:
            version = self.rng.choice(objects)
            out = self.ask("get_object", *gone(key), VersionId=version.id, **at)
            self.compare(key, version, out)
        elif key.removed:
            version_id = self.rng.choice(key.removed)
            out = self.ask("get_object", "NoSuchVersion", VersionId=version_id, **at)
            require(not out.done, f"{_at(key)}: version {version_id} is there, and was removed")

    def get_range(self) -> None:
        """GetObject with a Range."""
        found = self.full_key()
        if found is None:
            return
        key, version = found
        assert version.body is not None
        size, data = version.body.size, version.body.data()
        first = self.rng.randrange(size + 1)
        last = self.rng.randrange(first, size + 2)
        text, wanted = self.rng.choice(
            [
                (f"bytes={first}-{last}", data[first : last + 1]),
                (f"bytes={first}-", data[first:]),
                (f"bytes=-{last}", data[-last:] if last else b""),
            ]
        )
        out = self.ask("get_object", "InvalidRange", Bucket=key.bucket, Key=key.name, Range=text)
        if out.failed:
            return
        got = out.answer.get("Body", b"")
        require(got == wanted, f"{_at(key)} {text}: {len(got)} bytes {out.code}, of {size}")
        require(bool(out.code) == (not wanted), f"{_at(key)} {text} of {size}: {out.code}")

    def get_if(self) -> None:
        """GetObject with a condition."""
        found = self.full_key()
        if found is None:
            return
        key, version = found
        other = '"00000000000000000000000000000000"'
        condition, code = self.rng.choice(
            [
                ({"IfMatch": version.etag}, ""),
                ({"IfMatch": other}, "PreconditionFailed"),
                ({"IfNoneMatch": version.etag}, "304"),
                ({"IfNoneMatch": other}, ""),
            ]
        )
        allowed = ("PreconditionFailed", "304")
        out = self.ask("get_object", *allowed, Bucket=key.bucket, Key=key.name, **condition)
        require(out.failed or out.code == code, f"{_at(key)} {condition}: {out.code}, not {code}")
        if out.done:
            self.compare(key, version, out)

    def head(self) -> None:
        """HeadObject."""
        key = self.key()
        newest = key.newest
        if key.maybe or key.maybe_gone:
            return
        out = self.ask("head_object", "404", Bucket=key.bucket, Key=key.name)
        if out.failed:
            return
        if newest is None or newest.body is None:
            require(out.code == "404", f"{_at(key)}: head finds {out.answer.get('ETag')}")
            return
        found = (out.answer.get("ETag"), out.answer.get("ContentLength"))
        wanted = (newest.etag, newest.body.size)
        require(found == wanted, f"{_at(key)}: head finds {found} {out.code}, not {wanted}")

    # -- delete -------------------------------------------------------------------------

    def delete(self) -> None:
        """DeleteObject: the end of it, or a marker."""
        key = self.key()
        out = self.ask("delete_object", Bucket=key.bucket, Key=key.name)
        self.deleted(key, "", out)

    def delete_version(self) -> None:
        """DeleteObject of a version."""
        key = self.key()
        if key.versions:
            version = self.rng.choice(key.versions)
            at = {"Bucket": key.bucket, "Key": key.name}
            self.deleted(key, version.id, self.ask("delete_object", VersionId=version.id, **at))

    def deleted(self, key: Key, version_id: str, out: Outcome) -> None:
        """Note what a deletion has answered."""
        marker = Version(NULL if key.mode == Mode.SUSPENDED else "", None)
        if version_id:
            if out.failed:
                key.perhaps_gone(version_id)
            else:
                key.remove(version_id)
        elif key.mode == Mode.OFF:
            if out.failed:
                key.perhaps_gone(NULL)
            else:
                require("VersionId" not in out.answer, f"{_at(key)}: deletion has a version id")
                key.remove(NULL)
        else:
            if out.failed or (out.retries and key.mode == Mode.ENABLED):
                key.perhaps(marker)
            if out.done:
                require(out.answer.get("DeleteMarker"), f"{_at(key)}: no marker was made")
                key.put(Version(self.new_id(key, out), None))

    def delete_many(self) -> None:
        """DeleteObjects, some by version."""
        bucket = self.rng.choice(list(self.keys))
        keys = {key.name: key for key in (self.key(bucket) for _ in range(4))}
        wanted = []
        for key in keys.values():
            version = self.rng.choice(key.versions).id if key.versions else ""
            by_id = {"VersionId": version} if version and self.rng.random() < 0.4 else {}
            wanted.append({"Key": key.name, **by_id})
        out = self.ask("delete_objects", Bucket=bucket, Delete={"Objects": wanted})
        refused = {each["Key"]: each["Code"] for each in out.answer.get("Errors", [])}
        if refused:
            self.tally.error(f"delete_objects in {bucket}: {refused}")
        answered = {each["Key"]: each for each in out.answer.get("Deleted", [])}
        missing = keys.keys() - answered.keys() - refused.keys()
        require(out.failed or not missing, f"delete_objects in {bucket}: nothing of {missing}")
        for each in wanted:
            key, version_id = keys[each["Key"]], each.get("VersionId", "")
            entry = answered.get(key.name, {})
            answer = {"DeleteMarker": entry.get("DeleteMarker")}
            if "DeleteMarkerVersionId" in entry:
                answer["VersionId"] = entry["DeleteMarkerVersionId"]
            failed = out.failed or key.name in refused
            self.deleted(key, version_id, Outcome(answer, "", failed, out.retries))


def gone(key: Key) -> tuple[str, ...]:
    """What may be said of a version that may be gone."""
    return ("NoSuchVersion",) if key.maybe_gone else ()


def _at(key: Key) -> str:
    return f"{key.bucket}/{key.name}"
