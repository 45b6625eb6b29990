"""What S3 may answer: the model that bench/s3_soak.py holds every answer against.

`Key` is a key that one worker alone writes: its versions in order, exact but for what an operation
without a clear answer may have left. `Shared` is a key that all write: a read may return
what was not surely overwritten before it began. `Chain` is a key that all change by If-Match.

An operation is unclear when the SDK gave an error, and when it was sent more than once: an earlier
attempt may have taken effect too (S3 promises no more). What it may have left is in `Key.maybe`.
"""

from __future__ import annotations

import hashlib
import threading
import zlib
from dataclasses import dataclass, field
from enum import StrEnum

from contents import Content

NULL = "null"


class WrongAnswer(Exception):
    """The model says that this cannot be."""


def require(holds: object, what: str) -> None:
    """Raise WrongAnswer unless it holds."""
    if not holds:
        raise WrongAnswer(what)


class Mode(StrEnum):
    """Of a bucket."""

    OFF = "off"
    ENABLED = "enabled"
    SUSPENDED = "suspended"


@dataclass(frozen=True, slots=True)
class Body:
    """What was put: bytes made of pieces, and the ETag that S3 gives them."""

    pieces: tuple[Content, ...]
    multipart: bool = False

    @property
    def size(self) -> int:
        """In bytes."""
        return sum(piece.size for piece in self.pieces)

    def data(self) -> bytes:
        """All of them."""
        return b"".join(piece.data() for piece in self.pieces)

    def etag(self) -> str:
        """As in answers."""
        sums = [hashlib.md5(piece.data()) for piece in self.pieces]
        if not self.multipart:
            return f'"{sums[0].hexdigest()}"'
        whole = hashlib.md5(b"".join(each.digest() for each in sums))
        return f'"{whole.hexdigest()}-{len(sums)}"'


def metadata(body: Body) -> dict[str, str]:
    """That goes with these bytes."""
    return {"sum": str(zlib.crc32(repr(body.pieces).encode()))}


@dataclass(frozen=True, slots=True)
class Version:
    """`body` None: a delete marker."""

    id: str
    body: Body | None
    etag: str = ""

    @property
    def what(self) -> tuple[bool, str]:
        """Marker or not, and which bytes."""
        return self.body is None, self.etag


@dataclass(slots=True)
class Key:
    """A key of one worker's own, in a bucket of this mode; newest version first."""

    bucket: str
    name: str
    mode: Mode
    versions: list[Version] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)  # version ids that are gone for good
    maybe: list[Version] = field(
        default_factory=list
    )  # there, perhaps, in any place and under any id
    maybe_gone: set[str] = field(default_factory=set)
    unclear: bool = False  # look at what is there before anything else is done

    @property
    def newest(self) -> Version | None:
        """What a get without a version id returns; None: NoSuchKey."""
        if not self.versions or self.versions[0].body is None:
            return None
        return self.versions[0]

    def put(self, version: Version) -> None:
        """An object, or in a bucket with versions a marker, in front of all."""
        if version.id == NULL:
            self.versions = [each for each in self.versions if each.id != NULL]
        self.versions.insert(0, version)

    def remove(self, version_id: str) -> None:
        """For good."""
        self.versions = [each for each in self.versions if each.id != version_id]
        if version_id != NULL:
            self.removed = [*self.removed[-3:], version_id]

    def perhaps(self, version: Version) -> None:
        """It may have been put, now or later."""
        self.maybe.append(version)
        self.unclear = True

    def perhaps_gone(self, version_id: str) -> None:
        """It may have been removed, now or later."""
        self.maybe_gone.add(version_id)
        self.unclear = True

    def settle(self, listed: list[Version]) -> None:
        """Hold what a list of versions shows (bodies None but for the kind: see `what`) against what
        may be, and take it for the truth."""
        known = {each.id: each for each in self.versions}
        possible = {each.what: each for each in self.maybe}
        truth, strange = [], []
        for each in listed:
            mine = known.get(each.id)
            if mine is not None and mine.what == each.what:
                truth.append(mine)
            elif each.what in possible:
                truth.append(Version(each.id, possible[each.what].body, each.etag))
            else:
                strange.append(each)
        there = {each.id for each in listed}
        lost = [v for v in self.versions if v.id not in there and v.id not in self.maybe_gone]
        order = [v.id for v in self.versions if v in truth]
        require(
            not strange and not lost and [v.id for v in truth if v in self.versions] == order,
            f"{self.bucket}/{self.name}: versions {short(listed)}, should be {short(self.versions)}"
            f" and perhaps {short(self.maybe)}",
        )
        self.versions, self.unclear = truth, False


def short(versions: list[Version]) -> list[str]:
    """For people."""
    return [f"{v.id[-12:]}:{'marker' if v.body is None else v.etag}" for v in versions]


@dataclass(slots=True)
class Write:
    """Of a shared key; `etag` "" is a deletion. It took effect between `began` and `known`."""

    etag: str
    body: Body | None
    began: float
    known: float = float("inf")  # a read showed it, or it was acknowledged


class Shared:
    """A key that everybody writes."""

    def __init__(self, bucket: str, name: str) -> None:
        self.bucket, self.name = bucket, name
        self._lock = threading.Lock()
        self._writes = [Write("", None, float("-inf"), float("-inf"))]

    def begin(self, body: Body | None, now: float) -> Write:
        """Before it is asked for."""
        write = Write("" if body is None else body.etag(), body, now)
        with self._lock:
            self._writes.append(write)
        return write

    def refused(self, write: Write) -> None:
        """It took no effect for sure."""
        with self._lock:
            self._writes.remove(write)

    def acknowledged(self, write: Write, now: float) -> None:
        """It took effect."""
        with self._lock:
            write.known = min(write.known, now)
            self._forget()

    def read(self, etag: str, began: float, now: float) -> Body | None:
        """What a read that lasted from `began` until `now` returned; raises WrongAnswer.

        Deletions are all alike, so one read tells of none of them when it took effect.
        """
        with self._lock:
            found = [w for w in self._writes if w.etag == etag and w.began < now]
            fresh = [w for w in found if not self._overwritten(w, began)]
            if not fresh:
                newest = [w.etag for w in self._writes if w.known < began][-1:]
                text = f"{self.bucket}/{self.name}: returned {etag or 'nothing'}, "
                why = f"older than {newest}" if found else "which nobody has put"
                raise WrongAnswer(text + why)
            if etag:
                fresh[0].known = min(fresh[0].known, now)
            return fresh[0].body

    def _overwritten(self, write: Write, before: float) -> bool:
        return any(other.began > write.known and other.known < before for other in self._writes)

    def _forget(self) -> None:
        """What no read that began a while ago may return any more."""
        old = max((w.known for w in self._writes if w.known < float("inf")), default=0.0) - 600
        self._writes = [w for w in self._writes if not self._overwritten(w, old)]


class Chain:
    """A key whose every put names by If-Match what it follows: nobody's link is lost."""

    def __init__(self, bucket: str, name: str) -> None:
        self.bucket, self.name = bucket, name
        self._lock = threading.Lock()
        self._followers: dict[str, tuple[str, int]] = {}  # by what was followed; which win it was
        self._refused: set[str] = set()
        self.wins = 0

    def won(self, base: str, etag: str) -> None:
        """Acknowledged."""
        with self._lock:
            self.wins += 1
            other, _ = self._followers.setdefault(base, (etag, self.wins))
            require(other == etag, f"{self.name}: {other} and {etag} have both followed {base}")

    def refused(self, etag: str) -> None:
        """For sure."""
        with self._lock:
            self._refused.add(etag)

    def read(self, etag: str, wins: int) -> None:
        """What a read returned that began when there were so many wins."""
        with self._lock:
            require(etag not in self._refused, f"{self.name}: {etag} was refused, and is there")
            _, win = self._followers.get(etag, ("", wins + 1))
            require(win > wins, f"{self.name}: {etag} was followed before the read began")


class Races:
    """Keys that all try to make with If-None-Match: one wins each."""

    def __init__(self, bucket: str, tries: int) -> None:
        self.bucket, self._tries = bucket, tries
        self._lock = threading.Lock()
        self._tried = 0
        self.winners: dict[str, Body] = {}
        self.unclear: set[str] = set()

    def enter(self) -> str:
        """The key to try."""
        with self._lock:
            self._tried += 1
            return f"race/{self._tried // self._tries:05}"

    def won(self, name: str, body: Body) -> None:
        """Acknowledged."""
        with self._lock:
            require(name not in self.winners, f"{name}: two puts with If-None-Match: * have won")
            self.winners[name] = body
