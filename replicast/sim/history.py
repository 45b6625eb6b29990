"""What clients asked and were told: the input of the checkers, and its text form.

    history = History(NAME)
    token = history.invoke(3, "photos/a.jpg", "put", "v1", now_ns)
    history.ok(token, version_id, now_ns)     it happened, and this was the answer
    history.fail(token, now_ns)               it surely did not take effect
    history.unknown(token)                    it takes effect at any later time, or never
    text = dump(history); history == load(text)

An operation that nobody ends counts as unknown. One that failed says nothing about the object and
is left out of operations() and of the text.

Order: a history is a sequence of events. What is recorded within one nanosecond is set apart by
one nanosecond each, in the order of recording, so that call_ns and return_ns alone give the order.

Text form: JSON lines. The first names the form and the model (replicast/sim/models.py), then one
line an operation, ordered by call_ns, with exactly these members in this order:

    {"history":1,"model":"name"}
    {"client":3,"key":"photos/a.jpg","kind":"put","argument":"v1","result":17,"call_ns":5,"return_ns":9}

Values are null, true, false, integers, strings and arrays of values; arrays are tuples here.
result and return_ns are null when the outcome is unknown. It is canonical: ASCII, no spaces, no
two events at one time, a line feed ends every line; dump(load(text)) == text, and load refuses
all else.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any, TypeAlias

FORM = 1
VALUE_DEPTH_MAX = 8
MEMBERS = ("client", "key", "kind", "argument", "result", "call_ns", "return_ns")

Value: TypeAlias = "bool | int | str | tuple[Value, ...] | None"


class MalformedHistory(ValueError):
    """A text that is no history, or a history that the model does not know; one line says why."""


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation of one client on one key ("bucket/name").

    `kind`, `argument` and `result` mean what the model says. `return_ns` is None when the outcome
    is unknown: the operation may take effect at any time after call_ns, or never.
    """

    client: int
    key: str
    kind: str
    argument: Value
    result: Value
    call_ns: int
    return_ns: int | None

    @property
    def known(self) -> bool:
        return self.return_ns is not None

    def __str__(self) -> str:
        told = f"-> {self.result!r}" if self.known else "-> outcome unknown"
        given = "" if self.argument is None else f" {self.argument!r}"
        end = "..." if self.return_ns is None else f"..{self.return_ns}"
        return f"client {self.client}: {self.kind}{given} {told} [{self.call_ns}{end} ns]"


@dataclass(slots=True)
class _Recorded:
    """One operation while it is recorded: open, then ended once."""

    invoked: Operation
    ended: Operation | None = None
    open: bool = True


@dataclass(slots=True)
class History:
    """Append-only. `model` is the name of the model that the operations are meant for."""

    model: str
    _recorded: list[_Recorded] = field(default_factory=list)
    _event_ns: int = -1
    _now_ns: int = 0

    def invoke(self, client: int, key: str, kind: str, argument: Value, now_ns: int) -> int:
        """An operation begins; returns the token that ends it."""
        call_ns = self._stamp(now_ns)
        operation = Operation(client, key, kind, _plain(argument), None, call_ns, None)
        self._recorded.append(_Recorded(operation))
        return len(self._recorded) - 1

    def ok(self, token: int, result: Value, now_ns: int) -> None:
        """It took effect, or was refused for a reason that the model knows; `result` says."""
        one = self._running(token)
        ended = replace(one.invoked, result=_plain(result), return_ns=self._stamp(now_ns))
        one.ended, one.open = ended, False

    def fail(self, token: int, now_ns: int) -> None:
        """It surely did not take effect, and never will."""
        one = self._running(token)
        self._stamp(now_ns)
        one.open = False

    def unknown(self, token: int) -> None:
        """Nobody will ever learn how it ended."""
        one = self._running(token)
        one.ended, one.open = one.invoked, False

    def invoked(self, token: int) -> Operation:
        """As it began."""
        return self._recorded[token].invoked

    def operations(self) -> tuple[Operation, ...]:
        """All that did or may have taken effect, ordered by call_ns."""
        ends = (one.invoked if one.open else one.ended for one in self._recorded)
        return tuple(operation for operation in ends if operation is not None)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, History):
            return NotImplemented
        return (self.model, self.operations()) == (other.model, other.operations())

    def _running(self, token: int) -> _Recorded:
        one = self._recorded[token]
        if not one.open:
            raise ValueError(f"operation {token} ended twice: {one.invoked}")
        return one

    def _stamp(self, now_ns: int) -> int:
        if now_ns < self._now_ns:
            raise ValueError(f"time went back from {self._now_ns} to {now_ns} ns")
        self._now_ns = now_ns
        self._event_ns = max(now_ns, self._event_ns + 1)
        return self._event_ns


def dump(history: History) -> str:
    """The text form."""
    lines: list[dict[str, Any]] = [{"history": FORM, "model": history.model}]
    for operation in history.operations():
        lines.append({name: getattr(operation, name) for name in MEMBERS})
    return "".join(json.dumps(line, separators=(",", ":")) + "\n" for line in lines)


def load(text: str) -> History:
    """Raises MalformedHistory, naming the line, for all that dump() does not write."""
    if not text.endswith("\n"):
        raise MalformedHistory("the last line does not end")
    lines = text.split("\n")[:-1]
    header = _json_line(1, lines[0], ("history", "model"))
    if header["history"] != FORM or isinstance(header["history"], bool):
        raise MalformedHistory(f"line 1: form {header['history']!r} of history, not {FORM}")
    if not isinstance(header["model"], str):
        raise MalformedHistory("line 1: the model is no name")
    operations = [_operation(n, line) for n, line in enumerate(lines[1:], 2)]
    return _replayed(header["model"], operations)


def _replayed(model: str, operations: list[Operation]) -> History:
    """The recording that gives these operations, event by event."""
    history = History(model)
    calls = [operation.call_ns for operation in operations]
    if calls != sorted(calls):
        raise MalformedHistory("operations are not ordered by call_ns")
    events = [(o.call_ns, i, False) for i, o in enumerate(operations)]
    events += [(o.return_ns, i, True) for i, o in enumerate(operations) if o.return_ns is not None]
    events.sort()
    for (before_ns, *_), (now_ns, i, _) in pairwise(events):
        if before_ns == now_ns:
            raise MalformedHistory(f"line {i + 2}: another event at {now_ns} ns")
    for now_ns, i, ends in events:
        one = operations[i]
        if ends:
            history.ok(i, one.result, now_ns)
        else:
            history.invoke(one.client, one.key, one.kind, one.argument, now_ns)
    return history


def _operation(number: int, line: str) -> Operation:
    members = _json_line(number, line, MEMBERS)
    ends = () if members["return_ns"] is None else ("return_ns",)
    for name in ("client", "call_ns", *ends):
        if type(members[name]) is not int or members[name] < 0:
            raise MalformedHistory(f"line {number}: {name} is no number")
    for name in ("key", "kind"):
        if not isinstance(members[name], str):
            raise MalformedHistory(f"line {number}: {name} is no string")
    if not ends and members["result"] is not None:
        raise MalformedHistory(f"line {number}: a result without return_ns")
    if ends and members["return_ns"] <= members["call_ns"]:
        raise MalformedHistory(f"line {number}: it returns before it is called")
    try:
        values = {name: _plain(members[name]) for name in ("argument", "result")}
    except ValueError as error:
        raise MalformedHistory(f"line {number}: {error}") from None
    return Operation(**(members | values))


def _json_line(number: int, line: str, names: Iterable[str]) -> dict[str, Any]:
    try:
        members = json.loads(line)
        canonical = json.dumps(members, separators=(",", ":"))
    except (ValueError, RecursionError):
        raise MalformedHistory(f"line {number}: not JSON") from None
    if not isinstance(members, dict) or tuple(members) != tuple(names):
        raise MalformedHistory(f"line {number}: not the members {', '.join(names)}")
    if canonical != line:
        raise MalformedHistory(f"line {number}: not in canonical form")
    return members


def _plain(value: Any, depth: int = 0) -> Value:
    """Hashable, and the same after dump and load."""
    if value is None or isinstance(value, bool | int | str):
        return value
    if not isinstance(value, list | tuple):
        raise ValueError(f"{type(value).__name__} is no value of a history")
    if depth == VALUE_DEPTH_MAX:
        raise ValueError(f"a value nested deeper than {VALUE_DEPTH_MAX}")
    return tuple(_plain(item, depth + 1) for item in value)
