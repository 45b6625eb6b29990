"""Is there an order of one object's operations that its model allows? The search itself.

Wing and Gong's search with Lowe's memory of configurations ("Testing for linearizability", 2017;
porcupine does the same): a linked list of calls and returns in order of time; the operations whose
calls stand before the first return may take effect next; taking one lifts its call and return out
of the list. A configuration is what took effect so far (a bitset) and the state.

What keeps it small, none of which changes the answer:
- An operation that leaves the state as it is and is allowed now takes effect now.
- An operation of unknown outcome has no return, so it is never due. Of two configurations with the
  same known operations and state, the one that used up fewer unknown ones can do all that the
  other can. An unknown operation after which the next goes as it would without is left out.
- What the results say about the order before the search begins (replicast/sim/hints.py).

Deterministic. Limits: at most `budget` steps (one each time the model is asked and each
configuration entered), which also bounds what is remembered; no recursion.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from replicast.sim.hints import Hints, hints
from replicast.sim.history import Operation
from replicast.sim.models import ILLEGAL, Illegal, Model, State

HEAD = 0


class Verdict(Enum):
    """What a checker found; the text is what the command prints."""

    OK = "linearizable"
    BAD = "not linearizable"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Found:
    """A verdict; `order` is one that the model allows when it is OK."""

    verdict: Verdict
    order: list[Operation]
    steps: int


@dataclass(slots=True)
class _Frame:
    """A configuration, and which of its next operations were tried."""

    state: State
    done: int
    lifted: list[int]
    candidates: list[int]
    unseen_since: State | Illegal  # the state before an unknown operation that nothing saw yet
    tried: int = 0


class Search:
    """One object's operations (all of one key), in any order."""

    def __init__(self, model: Model, operations: Sequence[Operation], budget: int) -> None:
        self._model, self._budget = model, budget
        self._hints: Hints = hints(model, operations)
        self._operations = self._hints.operations
        self.steps = 0
        self._reads = [model.reads(operation) for operation in operations]
        self._known = sum(1 << i for i, one in enumerate(operations) if one.known)
        self.order: list[int] = []  # what took effect, so far; all of it after an OK
        self._stack: list[_Frame] = []
        self._seen: dict[tuple[int, State], list[int]] = {}
        self._make_list()

    def _make_list(self) -> None:
        """Entries 1..n in order of time between HEAD and a last one that stays."""
        events = [(one.call_ns, 0, i) for i, one in enumerate(self._operations)]
        events += [
            (one.return_ns, 1, i)
            for i, one in enumerate(self._operations)
            if one.return_ns is not None
        ]
        events.sort()
        self._last = len(events) + 1
        self._call = [0] * len(self._operations)
        self._return = [0] * len(self._operations)
        self._owner = [-1] * (self._last + 1)
        self._is_call = [False] * (self._last + 1)
        for entry, (_, returns, i) in enumerate(events, 1):
            self._owner[entry] = i
            self._is_call[entry] = not returns
            (self._return if returns else self._call)[i] = entry
        self._next = [*range(1, self._last + 1), self._last]
        self._before = [HEAD, *range(self._last)]

    def run(self) -> Verdict:
        if self._hints.impossible:
            return Verdict.BAD
        if self._enter(self._model.initial, 0, None):
            return Verdict.OK
        while self._stack:
            if self.steps > self._budget:
                return Verdict.UNKNOWN
            frame = self._stack[-1]
            if frame.tried == len(frame.candidates):
                self._stack.pop()
                self._put_back(frame.lifted)
                continue
            i = frame.candidates[frame.tried]
            frame.tried += 1
            state = self._place(frame, i)
            if state is not ILLEGAL and self._enter(state, frame.done | 1 << i, i):
                return Verdict.OK
        return Verdict.BAD

    def _place(self, frame: _Frame, i: int) -> State:
        """The state after operation i as the next one, or ILLEGAL."""
        self.steps += 1
        if self._hints.after[i] & ~frame.done:
            return ILLEGAL
        state = self._model.step(frame.state, self._operations[i])
        if state is ILLEGAL or self._hints.foreclosed(frame.state, state, frame.done | 1 << i):
            return ILLEGAL
        if frame.unseen_since is not ILLEGAL:
            without = self._model.step(frame.unseen_since, self._operations[i])
            if without == state:
                return ILLEGAL
        return self._hints.settled(state)

    def _enter(self, state: State, done: int, chosen: int | None) -> bool:
        """Go to a configuration unless a better one was seen; True when all is explained."""
        self.steps += 1
        lifted: list[int] = []
        unseen_since: State | Illegal = ILLEGAL
        if chosen is not None:
            self._lift(chosen, lifted)
            if not self._known >> chosen & 1:
                unseen_since = self._stack[-1].state
        known: list[int] = []
        unknown: list[int] = []
        entry = self._next[HEAD]
        while self._is_call[entry]:
            i = self._owner[entry]
            if self._reads[i] and self._allowed(state, i):
                self._lift(i, lifted)
                done |= 1 << i
                unseen_since = ILLEGAL
            elif not self._reads[i]:
                (known if self._known >> i & 1 else unknown).append(i)
            entry = self._next[entry]
        if done & self._known == self._known:
            return True
        if self._dominated(state, done):
            self._put_back(lifted)
            return False
        self._stack.append(_Frame(state, done, lifted, known + unknown, unseen_since))
        return False

    def _allowed(self, state: State, i: int) -> bool:
        self.steps += 1
        return self._model.step(state, self._operations[i]) is not ILLEGAL

    def _dominated(self, state: State, done: int) -> bool:
        """Was the same seen with no more unknown operations used up? Remembers it if not."""
        used = done & ~self._known
        key = (done & self._known, state)
        seen = self._seen.get(key)
        if seen is None:
            self._seen[key] = [used]
            return False
        if any(other & ~used == 0 for other in seen):
            return True
        seen[:] = [other for other in seen if used & ~other]
        seen.append(used)
        return False

    def _lift(self, i: int, lifted: list[int]) -> None:
        # The return first, so that the next of the call is right when a scan goes on from there.
        for entry in (self._return[i], self._call[i]):
            if entry:
                before, after = self._before[entry], self._next[entry]
                self._next[before], self._before[after] = after, before
        lifted.append(i)
        self.order.append(i)

    def _put_back(self, lifted: list[int]) -> None:
        for i in reversed(lifted):
            for entry in (self._call[i], self._return[i]):
                if entry:
                    self._next[self._before[entry]] = entry
                    self._before[self._next[entry]] = entry
            self.order.pop()


def find_order(model: Model, operations: Sequence[Operation], budget: int) -> Found:
    """Is there an order that the model allows? `budget` is for each of at most two searches.

    What leaves the state as it was may be left out: if the rest has no order, the whole has none.
    So those that could be explained by many unknown operations are left out at first; else a
    search that must fail tries all of these explanations before it finds what cannot be. A read
    whose answer nobody knows is left out for good.
    """
    steps = 0
    operations = [one for one in operations if one.known or not model.reads(one)]
    strong = [one for one in operations if not model.weak(one)]
    if len(strong) < len(operations) and not all(one.known for one in operations):
        first = Search(model, strong, budget)
        verdict, steps = first.run(), first.steps
        if verdict is Verdict.BAD:
            return Found(verdict, [], steps)
    search = Search(model, operations, budget)
    verdict = search.run()
    return Found(verdict, [operations[i] for i in search.order], steps + search.steps)
