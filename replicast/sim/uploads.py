"""What multipart uploads may answer: each ends once, its parts are registers until then.

    for problem in check_uploads(history.operations()): print(problem)

Kinds, with argument and result; the key is "upload " and the id, unless said otherwise:

    create      None                     "created"
    find        None                     True; REFUSED: there is no such upload
    part        (number, ETag)           "stored"; REFUSED
    parts       None                     ((number, ETag), ...) in order; REFUSED
    abort       None                     "aborted"; REFUSED
    complete    (id, value, parts)       version id, REFUSED; the key is the object's
    completed   id                       version id: the newest one, which the upload became; None
    uploads     None                     ids; the key is "bucket/"

To the name model an upload that is completed is one put, however many clients completed it
(as_puts): it may have been done by any of them that was told so, or by nobody they know.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from replicast.sim.history import Operation, Value
from replicast.sim.linearizability import check
from replicast.sim.models import REFUSED, REGISTER
from replicast.sim.search import Verdict

KINDS = frozenset({"create", "find", "part", "parts", "abort", "complete", "completed", "uploads"})
KEY = "upload "
ENDS = ("abort", "complete")
NEVER_NS = 1 << 80


@dataclass(slots=True)
class _Upload:
    """All operations on one upload, and what was read of what it became."""

    upload_id: str
    operations: list[Operation] = field(default_factory=list)
    listed: list[tuple[Operation, bool]] = field(default_factory=list)  # lists of its bucket
    read: list[Operation] = field(default_factory=list)

    def of(self, *kinds: str) -> list[Operation]:
        """Those of these kinds."""
        return [one for one in self.operations if one.kind in kinds]

    def done(self, kind: str) -> list[Operation]:
        """Those that were told that it is done."""
        return [one for one in self.of(kind) if one.known and one.result != REFUSED]


def check_uploads(operations: Iterable[Operation]) -> list[str]:
    """What is wrong with all uploads."""
    problems = []
    for upload in _uploads(list(operations)).values():
        problems += [f"upload {upload.upload_id}: {problem}" for problem in _problems(upload)]
    return problems


def as_puts(operations: Iterable[Operation]) -> list[Operation]:
    """What the checkers of names judge: one put for each upload that may have become an object."""
    given = list(operations)
    kept = [one for one in given if one.kind not in KINDS]
    for upload in _uploads(given).values():
        done, of_value = upload.done("complete"), _by_value(upload.of("complete"))
        if done:
            of_value = {value: all_ for value, all_ in of_value.items() if set(all_) & set(done)}
        elif upload.done("abort"):
            continue
        for value, mine in of_value.items():
            put = _merged([one for one in mine if one.result != REFUSED], done)
            if put is not None:
                kept.append(replace(put, kind="put", argument=value))
    return sorted(kept, key=lambda one: one.call_ns)


def _merged(mine: list[Operation], done: list[Operation]) -> Operation | None:
    """One operation for all: begun with the first, done when the first was told so."""
    if not mine:
        return None
    first = min(mine, key=lambda one: one.call_ns)
    told = [one for one in mine if one in done]
    if not told:
        return first
    answer = min(told, key=_end_ns)
    return replace(first, result=answer.result, return_ns=answer.return_ns)


def _uploads(operations: Sequence[Operation]) -> dict[str, _Upload]:
    found: dict[str, _Upload] = {}
    bucket_of: dict[str, str] = {}
    for one in operations:
        upload_id = _id(one)
        if upload_id:
            found.setdefault(upload_id, _Upload(upload_id)).operations.append(one)
            if one.kind == "create":
                bucket_of[upload_id] = str(one.argument)
    of_value = {_value(one): _id(one) for one in operations if one.kind == "complete"}
    for one in operations:
        if one.kind == "uploads" and isinstance(one.result, tuple):
            for upload_id, upload in found.items():
                if bucket_of.get(upload_id) == one.key.rstrip("/"):
                    upload.listed.append((one, upload_id in one.result))
        elif one.kind in ("get", "head", "get_version", "get_null") and one.result in of_value:
            found[of_value[one.result]].read.append(one)
    return found


def _id(one: Operation) -> str:
    if one.kind == "complete":
        assert isinstance(one.argument, tuple)
        return str(one.argument[0])
    if one.kind == "completed":
        return str(one.argument)
    return one.key.removeprefix(KEY) if one.key.startswith(KEY) else ""


def _value(complete: Operation) -> Value:
    assert isinstance(complete.argument, tuple)
    return complete.argument[1]


def _parts(one: Operation) -> dict[Value, Value]:
    listed = one.result if one.kind == "parts" else one.argument
    assert isinstance(listed, tuple)
    pairs = listed if one.kind == "parts" else listed[2]
    assert isinstance(pairs, tuple)
    return {pair[0]: pair[1] for pair in pairs if isinstance(pair, tuple)}


def _by_value(completes: list[Operation]) -> dict[Value, list[Operation]]:
    found: dict[Value, list[Operation]] = {}
    for one in completes:
        found.setdefault(_value(one), []).append(one)
    return found


def _end_ns(one: Operation) -> int:
    return NEVER_NS if one.return_ns is None else one.return_ns


def _problems(upload: _Upload) -> Iterator[str]:
    yield from _one_end(upload)
    yield from _there(upload)
    yield from _registers(upload)


def _one_end(upload: _Upload) -> Iterator[str]:
    """Completed or aborted, and once; what was aborted never becomes an object."""
    completes, aborts = upload.done("complete"), upload.done("abort")
    made = sorted({one.result for one in completes if isinstance(one.result, tuple)}, key=str)
    if len(made) > 1:
        yield f"became more than one version: {made}"
    if len(aborts) > 1:
        yield f"was aborted twice: {aborts[0]}; {aborts[1]}"
    if aborts and completes:
        yield f"was aborted and completed: {aborts[0]}; {completes[0]}"
    if aborts and upload.read:
        yield f"was aborted, and what it became was read: {aborts[0]}; {upload.read[0]}"
    for one in upload.of("completed"):
        if one.result is not None and made and one.result not in made:
            yield f"became another version: {one}; {completes[0]}"


def _there(upload: _Upload) -> Iterator[str]:
    """It is there from its beginning until it ends, and not any more from then on."""
    created = min((_end_ns(o) for o in upload.done("create")), default=NEVER_NS)
    ended = min(
        (_end_ns(o) for o in (*upload.done("complete"), *upload.done("abort"))), default=NEVER_NS
    )
    perhaps_ended = min((o.call_ns for o in upload.of(*ENDS)), default=NEVER_NS)
    asked = [
        (o, o.result != REFUSED) for o in upload.of("find", "part", "parts", "abort") if o.known
    ]
    for one, there in (*asked, *upload.listed):
        if there and one.call_ns > ended:
            yield f"is there after its end: {one}"
        own_ns = perhaps_ended if one.kind not in ENDS else NEVER_NS
        if one.kind in ENDS:
            others = [o for o in upload.of(*ENDS) if o is not one]
            own_ns = min((o.call_ns for o in others), default=NEVER_NS)
        if not there and one.call_ns > created and _end_ns(one) < own_ns:
            yield f"is not there, and nobody ended it: {one}"


def _registers(upload: _Upload) -> Iterator[str]:
    """A list shows each part as it was put last, and so does what the parts become."""
    perhaps_ended = min((o.call_ns for o in upload.of(*ENDS)), default=NEVER_NS)
    numbers: set[Value] = set()
    writes, reads = [], []
    for one in upload.of("part"):
        assert isinstance(one.argument, tuple)
        numbers.add(one.argument[0])
        if one.result != REFUSED:
            number, etag = one.argument
            writes.append(replace(one, key=str(number), kind="write", argument=etag, result=None))
    for one in upload.done("parts"):
        if _end_ns(one) < perhaps_ended:
            shown = _parts(one)
            reads += [_read(one, number, shown.get(number)) for number in {*numbers, *shown}]
    done = upload.done("complete")
    if done:
        whole = _merged([o for o in upload.of("complete") if _value(o) == _value(done[0])], done)
        assert whole is not None
        reads += [_read(whole, number, etag) for number, etag in _parts(whole).items()]
    checked = check(sorted([*writes, *reads], key=lambda one: one.call_ns), REGISTER)
    if checked.verdict is not Verdict.OK:
        yield f"parts: {checked.explanation or checked.verdict.value}"


def _read(seen: Operation, number: Value, etag: Value) -> Operation:
    return replace(seen, key=str(number), kind="read", argument=None, result=etag)
