"""What one object may answer: the sequential definitions that a history is compared with.

    register    read, write, cas: Jepsen's compare-and-set register
    key-value   get, put, append: strings, empty at first
    name        one name of the cluster (DESIGN 2, C3)

A model is pure: step() says which state follows when an operation takes effect, or ILLEGAL when
it cannot have given its result in this state. An operation whose outcome is unknown has no result
to compare; step() says what it does when it takes effect now.

Kinds of the name model, with argument and result; "value" is what tells one content from another
(an ETag, or a label that the workload made):

    put             value              version id, or None when not recorded
    put_if_absent   value              version id or None; REFUSED (the condition did not hold)
    put_if_match    (expected, value)  the same
    get, head       None               value, or None (NotFound)
    delete          None               version id of the marker, or None when not recorded;
                                       (REMOVED, version id) where versions are not kept;
                                       REFUSED (there was nothing to delete)
    exists          None               True or False; made from a LIST by expand_lists()
    list            prefix             names; `key` is "bucket/"

Version ids are integers, strings or tuples of one type and grow strictly in the order in which
operations take effect. A delete that wrote nothing is recorded with None.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum
from typing import Any, ClassVar, Final, TypeAlias

from replicast.sim.history import MalformedHistory, Operation, Value

REFUSED: Final = "refused"
REMOVED: Final = "removed"

State: TypeAlias = Any  # hashable; each model has its own


class Illegal(Enum):
    """What step() returns for a result that cannot be."""

    ILLEGAL = 0


ILLEGAL: Final = Illegal.ILLEGAL


class Model:
    """The sequential definition of one object, and what the search may conclude from it."""

    name: ClassVar[str]
    kinds: ClassVar[frozenset[str]]
    initial: ClassVar[State]
    grows: ClassVar[bool] = False  # the state is a text that appends make longer

    def step(self, state: State, operation: Operation) -> State | Illegal:
        """The state after `operation` took effect in `state`."""
        raise NotImplementedError

    def reads(self, operation: Operation) -> bool:
        """Does it leave every state as it was?"""
        raise NotImplementedError

    def problem(self, operation: Operation) -> str | None:
        """Why this can be no operation of the model, whatever the state."""
        return None if operation.kind in self.kinds else f"no kind of the model {self.name}"

    # What follows lets the search prune; it never changes a verdict (search.py).

    def held(self, state: State) -> Value:
        """The value that reads see in this state."""
        return None

    def writes(self, operation: Operation) -> Value:
        """The value that the object holds after it, if it took effect; None: no such value."""
        return None

    def observes(self, operation: Operation) -> Value:
        """The value that the object surely held just before; None: nothing can be said."""
        return None

    def compares(self, operation: Operation) -> Value:
        """The value that its outcome depends on; None: no value that somebody writes."""
        return None

    def weak(self, operation: Operation) -> bool:
        """Does it leave every state as it was, and is it allowed in many?"""
        return False

    def version(self, operation: Operation) -> Value:
        """What grows in the order of taking effect; None: nothing."""
        return None


class Register(Model):
    """read -> value; write value; cas (from, to) -> True, or False when it held something else."""

    name = "register"
    kinds = frozenset({"read", "write", "cas"})
    initial = None

    def step(self, state: State, operation: Operation) -> State | Illegal:
        if operation.kind == "read":
            return state if not operation.known or operation.result == state else ILLEGAL
        if operation.kind == "write":
            return operation.argument
        expected, value = _pair(operation)
        holds = state == expected
        if operation.known and operation.result is not holds:
            return ILLEGAL
        return value if holds else state

    def reads(self, operation: Operation) -> bool:
        return operation.kind == "read" or operation.result is False

    def problem(self, operation: Operation) -> str | None:
        if operation.kind == "cas":
            if not _is_pair(operation.argument):
                return "cas needs (from, to)"
            if operation.known and not isinstance(operation.result, bool):
                return "cas ends with true or false"
        return super().problem(operation)

    def held(self, state: State) -> Value:
        return state  # type: ignore[no-any-return]

    def writes(self, operation: Operation) -> Value:
        if operation.kind == "write":
            return operation.argument
        return None if self.reads(operation) else _pair(operation)[1]

    def observes(self, operation: Operation) -> Value:
        if not operation.known or operation.kind == "write":
            return None
        if operation.kind == "read":
            return operation.result
        return _pair(operation)[0] if operation.result else None

    def compares(self, operation: Operation) -> Value:
        return _pair(operation)[0] if operation.kind == "cas" else operation.result

    def weak(self, operation: Operation) -> bool:
        return operation.result is False


class KeyValue(Model):
    """get -> string; put string; append string."""

    name = "key-value"
    kinds = frozenset({"get", "put", "append"})
    initial = ""
    grows = True

    def step(self, state: State, operation: Operation) -> State | Illegal:
        if operation.kind == "get":
            return state if not operation.known or operation.result == state else ILLEGAL
        return operation.argument if operation.kind == "put" else state + operation.argument

    def reads(self, operation: Operation) -> bool:
        return operation.kind == "get"

    def problem(self, operation: Operation) -> str | None:
        told = operation.result if operation.kind == "get" else operation.argument
        if not isinstance(told, str) and (operation.kind != "get" or operation.known):
            return f"{operation.kind} without a string"
        return super().problem(operation)


class Name(Model):
    """State: (value of the newest version or None, the highest version id so far or None)."""

    name = "name"
    kinds = frozenset(
        {"put", "put_if_absent", "put_if_match", "get", "head", "delete", "exists", "misplaced"}
    )
    initial = (None, None)

    def step(self, state: State, operation: Operation) -> State | Illegal:
        value, newest = state
        if operation.kind in ("get", "head"):
            return state if not operation.known or operation.result == value else ILLEGAL
        if operation.kind == "exists":
            there = value is not None
            return state if not operation.known or operation.result is there else ILLEGAL
        if operation.kind == "misplaced":
            return ILLEGAL
        holds, written = self._effect(value, operation)
        if not operation.known:
            return (written, newest) if holds else state
        if operation.result == REFUSED:
            return ILLEGAL if holds else state
        if not holds:
            return ILLEGAL
        version = self.version(operation)
        if version is None:
            return (written, newest)
        return (written, version) if newest is None or follows(version, newest) else ILLEGAL

    def _effect(self, value: Value, operation: Operation) -> tuple[bool, Value]:
        """Does the condition hold, and what is the newest version then?"""
        if operation.kind == "put_if_match":
            expected, written = _pair(operation)
            return value == expected, written
        if operation.kind == "put_if_absent":
            return value is None, operation.argument
        if operation.kind == "delete":
            marked = operation.result != REFUSED and not removes(operation)
            return value is not None or marked, None
        return True, operation.argument

    def reads(self, operation: Operation) -> bool:
        return operation.kind in ("get", "head", "exists", "misplaced") or (
            operation.result == REFUSED
        )

    def problem(self, operation: Operation) -> str | None:
        kind, argument = operation.kind, operation.argument
        if kind == "put_if_match":
            if not _is_pair(argument) or None in _pair(operation):
                return "put_if_match needs (expected, value)"
        elif kind.startswith("put") and argument is None:
            return f"{kind} without a value"
        if kind == "put" and operation.result == REFUSED:
            return "put has no condition that could be refused"
        if kind == "exists" and operation.known and not isinstance(operation.result, bool):
            return "exists ends with true or false"
        return super().problem(operation)

    def held(self, state: State) -> Value:
        return state[0]  # type: ignore[no-any-return]

    def writes(self, operation: Operation) -> Value:
        if self.reads(operation) or operation.kind == "delete":
            return None
        return _pair(operation)[1] if operation.kind == "put_if_match" else operation.argument

    def observes(self, operation: Operation) -> Value:
        if operation.kind in ("get", "head"):
            return operation.result
        done = operation.known and operation.result != REFUSED
        return _pair(operation)[0] if done and operation.kind == "put_if_match" else None

    def compares(self, operation: Operation) -> Value:
        return _pair(operation)[0] if operation.kind == "put_if_match" else self.observes(operation)

    def weak(self, operation: Operation) -> bool:
        return self.reads(operation) and self.observes(operation) is None

    def version(self, operation: Operation) -> Value:
        return None if self.reads(operation) or removes(operation) else operation.result


REGISTER: Final = Register()
KEY_VALUE: Final = KeyValue()
NAME: Final = Name()
MODELS: Final[dict[str, Model]] = {model.name: model for model in (REGISTER, KEY_VALUE, NAME)}


def follows(version: Any, other: Any) -> bool:
    """Is `version` the later one? Version ids of different types have no order."""
    try:
        return type(version) is type(other) and bool(version > other)
    except TypeError:
        return False


def removes(operation: Operation) -> bool:
    """Is it a delete that removed the only version that is kept?"""
    result = operation.result
    return operation.kind == "delete" and isinstance(result, tuple) and result[0] == REMOVED


def expand_lists(operations: Iterable[Operation], names: Iterable[str]) -> list[Operation]:
    """Each LIST as observations `exists`, one for every name of its bucket with its prefix.

    `names` are keys ("bucket/name"): all that could exist. What a LIST shows beyond them is
    observed too. A name outside bucket and prefix becomes `misplaced`, which no state allows. A
    LIST that did not end well says nothing. All other operations stay as they are.
    """
    every, expanded = sorted(set(names)), []
    for operation in operations:
        if operation.kind != "list":
            expanded.append(operation)
        elif operation.known:
            expanded += _observations(operation, every)
    return expanded


def _observations(listed: Operation, every: list[str]) -> list[Operation]:
    if not isinstance(listed.argument, str) or not isinstance(listed.result, tuple):
        raise MalformedHistory(f"list needs a prefix and names: {listed}")
    start = listed.key + listed.argument
    shown = {f"{listed.key}{name}" for name in listed.result}
    expected = {key for key in every if key.startswith(start)} | shown
    times = (listed.call_ns, listed.return_ns)
    return [
        Operation(listed.client, key, "exists", None, key in shown, *times)
        if key.startswith(start)
        else Operation(listed.client, key, "misplaced", None, None, *times)
        for key in sorted(expected)
    ]


def _is_pair(value: Value) -> bool:
    return isinstance(value, tuple) and len(value) == 2


def _pair(operation: Operation) -> tuple[Value, Value]:
    assert isinstance(operation.argument, tuple)
    expected, value = operation.argument
    return expected, value
