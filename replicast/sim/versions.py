"""Every version of a name: nothing acknowledged is lost before its removal, nothing is made twice.

    for problem in check_versions(history.operations()): print(problem)

Beside the kinds of the name model (models.py; a put's or delete's result is the version id that it
made) these, all of one name:

    get_version     version id   the value; None: there is no such version (or it is a marker)
    remove          version id   "removed", or REFUSED: there was no such version
    remove_older    version id   the same, of a version that cannot have been the newest
    versions        None         ((version id, is a marker), ...), newest first; () when none
    get_null        None         the value of the null version; None: there is none (or it is a marker)
    remove_null     None         (REMOVED, version id), or REFUSED: there was no null version
    delete_by_setting  None      as delete, where the bucket's versioning changes

A version id of four numbers says with the last one whether it is a null version (version_of() in
workloads.py). Of these a name has one at most: one that is made takes the place of the one before.

A version is there from some moment of the operation that made it until some moment of one that
removes it. An observation is an interval too, and says "there" or "not there". For each version the
checker asks whether such moments exist. Versions that nobody was told of belong to puts and deletes
of unknown outcome, at most one to each. A get says that its version was there and every later one
was not, or not any more; one that found nothing, that a marker may have been the newest.

`remove`, `remove_null` and a delete by an old setting may uncover an older version, which the name
model does not know: names with one are left out there (current_operations).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

from replicast.sim.history import Operation, Value
from replicast.sim.models import NAME, REFUSED, REMOVED

REMOVES = ("remove", "remove_older")
DELETES = ("delete", "delete_by_setting")
UNCOVERS = ("remove", "remove_null", "delete_by_setting")
KINDS = frozenset({"get_version", "versions", "get_null", *REMOVES, *UNCOVERS})
NEVER_NS = 1 << 80  # later than all

VersionId: TypeAlias = Any  # ordered, as models.py says


@dataclass(slots=True)
class _Life:
    """One version of one name, and all that was seen of it."""

    version: VersionId
    made_by: Operation | None = None  # None: by one whose outcome is unknown
    values: dict[Value, None] = field(default_factory=dict)
    marker: bool | None = None
    there: list[Operation] = field(default_factory=list)
    absent: list[Operation] = field(default_factory=list)
    removes: list[Operation] = field(default_factory=list)
    supersedes: list[Operation] = field(default_factory=list)  # may have taken its place

    @property
    def null(self) -> bool:
        """Is it a null version?"""
        return is_null(self.version)

    @property
    def proofs(self) -> list[Operation]:
        """At some moment of each of these it was there."""
        done = [o for o in self.removes if o.known]
        return [*self.there, *done, *([self.made_by] if self.made_by else [])]

    def surely(self, seen: Operation) -> bool:
        """Acknowledged before `seen` began, and no removal began before it ended?"""
        made = self.made_by is not None and _end_ns(self.made_by) < seen.call_ns
        ends = (*self.removes, *self.supersedes)
        return made and not any(o.call_ns < _end_ns(seen) for o in ends)

    def perhaps(self, seen: Operation) -> bool:
        """Can it have been there at some moment of `seen`?"""
        born = self.made_by is None or self.made_by.call_ns < _end_ns(seen)
        return born and not any(_end_ns(o) < seen.call_ns for o in self.removes if o.known)

    def problem(self, born_ns: int) -> str | None:
        """Why no moments of birth and removal fit; `born_ns`: it can have been made since."""
        made = self.made_by
        if made is not None:
            born_ns = made.call_ns
        for seen in self.there:
            if _end_ns(seen) < born_ns:
                return f"was there before it was made: {seen}"
        done = [o for o in self.removes if o.known]
        sure_ns = min((_end_ns(o) for o in self.proofs), default=NEVER_NS)
        gone = [o for o in self.absent if o.call_ns >= sure_ns]
        if len(done) > 1:
            return f"was removed twice: {done[0]}; {done[1]}"
        if not gone and not done:
            return None
        first_gone = min(gone, key=_end_ns, default=None)
        last_seen = max(self.there, key=lambda o: o.call_ns, default=None)
        since_ns = max(last_seen.call_ns if last_seen else 0, born_ns)
        until_ns = _end_ns(first_gone) if first_gone else NEVER_NS
        for each in done or (*self.removes, *self.supersedes):
            if max(since_ns, each.call_ns) <= min(until_ns, _end_ns(each)):
                return None
        evidence = [str(o) for o in (made, *done, last_seen, first_gone) if o is not None]
        return "was there, was not, and no removal explains it:\n  " + "\n  ".join(evidence)


def check_versions(operations: Iterable[Operation]) -> list[str]:
    """What is wrong with the versions of all names."""
    keys: dict[str, list[Operation]] = {}
    for operation in operations:
        if operation.kind != "list":
            keys.setdefault(operation.key, []).append(operation)
    problems: list[str] = []
    for key, mine in sorted(keys.items()):
        problems += (f"{key}: {problem}" for problem in _Name(mine).problems())
    return problems


def current_operations(operations: Sequence[Operation]) -> list[Operation]:
    """What the name model judges: all about newest versions, of names that it covers."""
    left_out = {one.key for one in operations if one.kind in UNCOVERS}
    kept = []
    for one in operations:
        if one.kind == "list" and one.known and isinstance(one.result, tuple):
            names = tuple(n for n in one.result if f"{one.key}{n}" not in left_out)
            kept.append(replace(one, result=names))
        elif one.key not in left_out and (one.kind in NAME.kinds or one.kind == "list"):
            kept.append(one)
    return kept


class _Name:
    """All operations of one name."""

    def __init__(self, operations: list[Operation]) -> None:
        self._operations = operations
        self._lives: dict[VersionId, _Life] = {}
        self._problems: list[str] = []
        self._unknown_puts = [o for o in operations if not o.known and o.kind.startswith("put")]
        self._unknown_deletes = [o for o in operations if not o.known and o.kind in DELETES]

    def problems(self) -> Iterator[str]:
        """One text each."""
        known = [one for one in self._operations if one.known]
        for operation in known:
            self._made(operation)
        for operation in known:
            if operation.kind == "versions":
                self._listed(operation)
        for operation in known:
            if operation.kind == "versions":
                self._compare(operation)
        for operation in self._operations:
            self._seen(operation)
        self._nulls()
        self._superseders()
        self._gets()
        self._one_null()
        yield from self._problems
        born_ns = min(
            [o.call_ns for o in (*self._unknown_puts, *self._unknown_deletes)] or [NEVER_NS]
        )
        for life in self._lives.values():
            problem = life.problem(born_ns)
            if problem is not None:
                yield f"version {life.version} {problem}"
        yield from self._values()
        yield from self._strangers()
        yield from self._order()

    # -- what was made and seen ---------------------------------------------------------

    def _life(self, version: VersionId) -> _Life:
        return self._lives.setdefault(version, _Life(version))

    def _made(self, operation: Operation) -> None:
        version = operation.result
        marker = operation.kind in DELETES
        if not (marker or operation.kind.startswith("put")) or version in (None, REFUSED):
            return
        if _removed(operation) is not None:
            return
        life = self._life(version)
        if life.made_by is not None:
            self._problems.append(f"one version for two: {life.made_by}; {operation}")
        life.made_by, life.marker = operation, marker
        if not marker:
            life.values[_value(operation)] = None

    def _seen(self, operation: Operation) -> None:
        kind, result = operation.kind, operation.result
        removed = _removed(operation)
        if removed is not None:
            self._life(removed).removes.append(operation)
        elif kind in REMOVES:
            life = self._life(operation.argument)
            (life.absent if result == REFUSED else life.removes).append(operation)
        elif kind == "get_version" and operation.known:
            life = self._life(operation.argument)
            if result is not None:
                life.there.append(operation)
                life.values[result] = None
                life.marker = bool(life.marker)
            elif not life.marker:
                life.absent.append(operation)

    def _listed(self, operation: Operation) -> None:
        """What a listing says of the versions that it shows."""
        order = [version for version, _ in _entries(operation)]
        if order != sorted(set(order), reverse=True):
            self._problems.append(f"versions out of order: {operation}")
        if sum(is_null(version) for version in order) > 1:
            self._problems.append(f"more than one null version: {operation}")
        for version, marker in _entries(operation):
            life = self._life(version)
            if life.marker not in (None, marker):
                self._problems.append(f"version {version} is and is no marker: {operation}")
            life.marker = marker

    def _compare(self, operation: Operation) -> None:
        """A listing shows what is there, and nothing else is."""
        listed = dict(_entries(operation))
        for version, life in self._lives.items():
            (life.there if version in listed else life.absent).append(operation)

    def _of_value(self) -> dict[Value, list[_Life]]:
        of_value: dict[Value, list[_Life]] = {}
        for life in self._lives.values():
            for value in life.values:
                of_value.setdefault(value, []).append(life)
        return of_value

    def _nulls(self) -> None:
        """What was asked about the null version, whichever that was, and what removed it unknown."""
        of_value, nulls = self._of_value(), [o for o in self._lives.values() if o.null]
        for operation in self._operations:
            kind, result = operation.kind, operation.result
            if kind == "get_null" and operation.known:
                lives = of_value.get(result, []) if result is not None else []
                if lives and not any(life.null for life in lives):
                    self._problems.append(f"not the null version: {operation}")
                for life in nulls:
                    if life not in lives and not (result is None and life.marker):
                        life.absent.append(operation)
                    elif len(lives) == 1:
                        life.there.append(operation)
            elif kind == "remove_null" and result == REFUSED:
                for life in nulls:
                    life.absent.append(operation)
            elif kind in ("remove_null", *DELETES) and not operation.known:
                for life in nulls:
                    life.removes.append(operation)

    def _superseders(self) -> None:
        """Who makes a null version takes the place of the one before."""
        nulls = [life for life in self._lives.values() if life.null]
        for life in nulls:
            later = [o.made_by for o in nulls if o.made_by and o.version > life.version]
            life.supersedes += [*later, *self._unknown_puts, *self._unknown_deletes]

    def _one_null(self) -> None:
        """While one null version is there no other is."""
        nulls = [life for life in self._lives.values() if life.null]
        proofs = [life.proofs for life in nulls]
        for life in nulls:
            for other, seen in zip(nulls, proofs, strict=True):
                if other is not life:
                    life.absent += seen

    def _gets(self) -> None:
        """A get of the newest version: there, and no later one."""
        of_value = self._of_value()
        for operation in self._operations:
            if operation.kind not in ("get", "head") or not operation.known:
                continue
            if operation.result is None:
                self._nothing(operation)
                continue
            lives = of_value.get(operation.result, [])
            if len(lives) != 1:
                continue  # of a put whose version nobody was told, or put twice
            lives[0].there.append(operation)
            for life in self._lives.values():
                if life.version > lives[0].version:
                    life.absent.append(operation)

    def _nothing(self, get: Operation) -> None:
        """A get found no object: then a marker, later than all that was there, may have been."""
        there = [o.version for o in self._lives.values() if o.marker is False and o.surely(get)]
        if not there or any(o.call_ns < _end_ns(get) for o in self._unknown_deletes):
            return
        newest = max(there)
        if not any(
            o.marker and o.version > newest and o.perhaps(get) for o in self._lives.values()
        ):
            self._problems.append(f"found nothing, version {newest} was there: {get}")

    # -- what must hold beside the lives -------------------------------------------------------

    def _values(self) -> Iterator[str]:
        """Each version has one content, each put makes at most one version."""
        puts = [_value(o) for o in self._operations if o.kind.startswith("put")]
        versions: dict[Value, list[VersionId]] = {}
        for life in self._lives.values():
            if len(life.values) > 1:
                yield f"version {life.version} changed its content: {list(life.values)}"
            for value in life.values:
                versions.setdefault(value, []).append(life.version)
        for value, made in versions.items():
            if len(made) > puts.count(value):
                yield f"{value!r} was put {puts.count(value)} times, and made {made}"

    def _strangers(self) -> Iterator[str]:
        """Versions that no acknowledged operation made."""
        strangers = [o for o in self._lives.values() if o.made_by is None and o.there]
        for marker, makers in ((False, self._unknown_puts), (True, self._unknown_deletes)):
            found = [life.version for life in strangers if bool(life.marker) is marker]
            if len(found) > len(makers):
                yield f"{len(found)} versions of {len(makers)} unknown outcomes: {found}"

    def _order(self) -> Iterator[str]:
        """What began after another was acknowledged has the higher version id."""
        made = [o for life in self._lives.values() if (o := life.made_by) is not None]
        made.sort(key=lambda operation: operation.call_ns)
        ended = sorted(made, key=_end_ns)
        highest: Operation | None = None
        at = 0
        for operation in made:
            while _end_ns(ended[at]) < operation.call_ns:
                if highest is None or _made_id(ended[at]) > _made_id(highest):
                    highest = ended[at]
                at += 1
            if highest is not None and _made_id(operation) < _made_id(highest):
                yield f"versions against time: {highest}; then {operation}"


def is_null(version: VersionId) -> bool:
    """Is this the id of a null version?"""
    return isinstance(version, tuple) and len(version) == 4 and bool(version[3])


def _removed(operation: Operation) -> VersionId | None:
    """The null version that a delete or `remove_null` has removed."""
    result = operation.result
    gone = operation.kind in ("remove_null", *DELETES) and isinstance(result, tuple)
    return result[1] if gone and isinstance(result, tuple) and result[0] == REMOVED else None


def _made_id(operation: Operation) -> VersionId:
    return operation.result


def _entries(listing: Operation) -> list[tuple[VersionId, bool]]:
    assert isinstance(listing.result, tuple)
    return [(entry[0], bool(entry[1])) for entry in listing.result if isinstance(entry, tuple)]


def _value(put: Operation) -> Value:
    if put.kind == "put_if_match":
        assert isinstance(put.argument, tuple)
        return put.argument[1]
    return put.argument


def _end_ns(operation: Operation) -> int:
    return NEVER_NS if operation.return_ns is None else operation.return_ns
