"""What the results of one object's operations say about their order, before any search.

Each hint holds in every order that the model allows, or (the second) in at least one if there is
any; so pruning by them never changes a verdict.

- Values that no result depends on are one and the same value.
- Of unknown operations with the same effect, the one that was called first goes first.
- Version ids give the order of the operations that have one.
- A value that only one operation writes: who saw it comes after that one, and the object does not
  move on from it while somebody who saw it is still to come. One that nobody wrote was not seen.
- A text that grows: once no put is left with which a get's text can begin, the object holds a
  beginning of that text until the get was answered. Where its parts can be told apart, they give
  the order of those who wrote them. States with which no text begins are one and the same.

Sets of operations are integers: bit i is operation i.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from itertools import pairwise
from typing import Any, Final

from replicast.sim.history import Operation, Value
from replicast.sim.models import Model, State, follows


class Unnoticed(Enum):
    """Stands for every value that no result depends on."""

    UNNOTICED = 0


UNNOTICED: Final[Any] = Unnoticed.UNNOTICED


@dataclass(slots=True)
class Texts:
    """Gets whose texts can begin with the same puts; each text begins the next one."""

    puts: int
    gets: int
    ordered: list[tuple[int, str]]  # (get, its text), shortest first

    def forbid(self, text: str, done: int) -> bool:
        if self.puts & ~done or not self.gets & ~done:
            return False
        waiting = next(seen for get, seen in self.ordered if not done >> get & 1)
        return not waiting.startswith(text)


@dataclass(slots=True)
class Hints:
    """`operations` are those given, with what is unnoticed made equal."""

    model: Model
    operations: list[Operation]
    after: list[int]  # operation -> operations that take effect before it
    claims: dict[Value, int] = field(default_factory=dict)  # value -> those who saw it
    texts: list[Texts] = field(default_factory=list)
    every_text: list[str] = field(default_factory=list)  # sorted
    unseen: str = ""  # longer than every text
    impossible: bool = False

    def foreclosed(self, before: State, state: State, done: int) -> bool:
        """Does the step from `before` to `state` leave some result without its cause?"""
        if self.claims:
            left = self.model.held(before)
            if self.claims.get(left, 0) & ~done and self.model.held(state) != left:
                return True
        return any(texts.forbid(state, done) for texts in self.texts)

    def settled(self, state: State) -> State:
        """The state, or another one from which everything goes on in the same way."""
        if not self.model.grows:
            return state
        at = bisect_left(self.every_text, state)
        seen = at < len(self.every_text) and self.every_text[at].startswith(state)
        return state if seen else self.unseen


def hints(model: Model, operations: Sequence[Operation]) -> Hints:
    """All hints for the operations of one key."""
    found = Hints(model, _unnoticed_made_equal(model, operations), [0] * len(operations))
    _same_effect_in_call_order(found)
    _order_by_version(found)
    _claim_unique_values(found)
    if model.grows:
        _add_texts(found)
    return found


def _unnoticed_made_equal(model: Model, operations: Sequence[Operation]) -> list[Operation]:
    noticed = {model.compares(one) for one in operations}
    equal = []
    for one in operations:
        written = model.writes(one)
        if written is not None and written not in noticed:
            argument = one.argument
            pair = (model.compares(one), UNNOTICED)
            one = replace(one, argument=UNNOTICED if argument == written else pair)
        equal.append(one)
    return equal


def _same_effect_in_call_order(found: Hints) -> None:
    latest: dict[tuple[str, Value], int] = {}
    operations = found.operations
    for i in sorted(range(len(operations)), key=lambda i: (operations[i].call_ns, i)):
        one = operations[i]
        if not one.known:
            effect = (one.kind, one.argument)
            if effect in latest:
                found.after[i] |= 1 << latest[effect]
            latest[effect] = i


def _claim_unique_values(found: Hints) -> None:
    writers: dict[Value, int] = {}
    count: Counter[Value] = Counter()
    for i, one in enumerate(found.operations):
        written = found.model.writes(one)
        if written is not None:
            writers[written] = i
            count[written] += 1
    for i, one in enumerate(found.operations):
        seen = found.model.observes(one)
        if seen is None:
            continue
        if seen not in writers:
            found.impossible = True
        elif count[seen] == 1:
            found.after[i] |= 1 << writers[seen]
            found.claims[seen] = found.claims.get(seen, 0) | 1 << i


def _order_by_version(found: Hints) -> None:
    versions: list[tuple[Any, int]] = []
    for i, one in enumerate(found.operations):
        version = found.model.version(one) if one.known else None
        if version is not None:
            versions.append((version, i))
    if len({type(version) for version, _ in versions}) != 1:
        return
    try:
        versions.sort()
    except TypeError:
        return  # tuples of different things: the model will tell
    for (earlier, i), (later, j) in pairwise(versions):
        # One id given twice: no order is allowed, and an operation after itself has none.
        found.after[j] |= 1 << (i if follows(later, earlier) else j)


def _add_texts(found: Hints) -> None:
    """Groups of texts that can begin with the same puts, and what one tells of its appends."""
    operations = found.operations
    puts = [(i, str(one.argument)) for i, one in enumerate(operations) if one.kind == "put"]
    groups: dict[int, list[tuple[int, str]]] = {}
    for i, one in enumerate(operations):
        if one.kind == "get" and one.known:
            text = str(one.result)
            begin = sum(1 << put for put, argument in puts if text.startswith(argument))
            groups.setdefault(begin, []).append((i, text))
    found.every_text = sorted({text for gets in groups.values() for _, text in gets})
    found.unseen = max(found.every_text, key=len, default="") + "."
    for begin, gets in groups.items():
        gets.sort(key=lambda get: (len(get[1]), get[0]))
        if all(later.startswith(text) for (_, text), (_, later) in pairwise(gets)):
            found.texts.append(Texts(begin, sum(1 << get for get, _ in gets), gets))
            _order_by_text(found, gets)


def _order_by_text(found: Hints, gets: list[tuple[int, str]]) -> None:
    """When the longest text can be put together in one way only, that is the order."""
    longest = gets[-1][1]
    ends = {0: -1}  # where a part of the text ends -> its operation
    end, last = 0, -1
    while end < len(longest):
        parts = [
            i
            for i, one in enumerate(found.operations)
            if one.kind == "append" or (one.kind == "put" and end == 0)
            if one.argument and longest.startswith(str(one.argument), end)
        ]
        if len(parts) != 1:
            break  # in several ways; or nobody wrote it, which the search will show
        if last >= 0:
            found.after[parts[0]] |= 1 << last
        last = parts[0]
        end += len(str(found.operations[last].argument))
        ends[end] = last
    for get, text in gets:
        writer = ends.get(len(text), -1)
        if writer >= 0:
            found.after[get] |= 1 << writer
