"""gateway/put_turns.py by rules: nobody is lost, nobody overtakes, and the window is kept."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from replicast.gateway.put_turns import LEAST_BYTES, MOST_BYTES, PutTurns
from replicast.units import MIB


class Puts(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.turns = PutTurns()
        self.now_ns = self.count = 0
        self.waiting: list[bytes] = []
        self.under_way: dict[bytes, int] = {}
        self.sizes: dict[bytes, int] = {}

    @rule(size_bytes=st.integers(1, 16 * MIB), count=st.integers(1, 20))
    def put(self, size_bytes: int, count: int) -> None:
        for _ in range(count):
            self.count += 1
            operation = self.count.to_bytes(4, "big")
            self.sizes[operation] = size_bytes
            if self.turns.take(operation, size_bytes, self.now_ns):
                assert not self.waiting
                self.begin(operation)
            else:
                self.waiting.append(operation)

    @rule(data=st.data(), busy=st.booleans(), takes_ns=st.integers(0, 10))
    def end(self, data: st.DataObject, busy: bool, takes_ns: int) -> None:
        known = [*self.under_way, *self.waiting]
        if not known:
            return
        self.now_ns += takes_ns
        operation = data.draw(st.sampled_from(known))
        self.turns.end(operation, busy, self.now_ns)
        if operation in self.under_way:
            del self.under_way[operation]
        else:
            self.waiting.remove(operation)
        for ready in self.turns.take_ready(self.now_ns):
            assert ready == self.waiting.pop(0)
            self.begin(ready)

    def begin(self, operation: bytes) -> None:
        self.under_way[operation] = self.sizes[operation]
        held_bytes = sum(self.under_way.values())
        assert len(self.under_way) == 1 or held_bytes <= self.turns.window_bytes

    @invariant()
    def nobody_waits_for_nothing(self) -> None:
        assert self.turns.under_way_bytes == sum(self.under_way.values())
        assert LEAST_BYTES <= self.turns.window_bytes <= MOST_BYTES
        assert self.under_way or not self.waiting


TestPuts = Puts.TestCase
