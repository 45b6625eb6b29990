"""When to call which of many cores next: a heap that forgets what was rescheduled."""

from __future__ import annotations

from heapq import heappop, heappush


class Timers:
    """At most one time per key."""

    def __init__(self) -> None:
        self._heap: list[tuple[int, bytes]] = []
        self._due: dict[bytes, int] = {}

    def schedule(self, key: bytes, due_ns: int | None) -> None:
        """Call at `due_ns` in place of any earlier wish; None: not at all."""
        if due_ns is None:
            self._due.pop(key, None)
        elif self._due.get(key) != due_ns:
            self._due[key] = due_ns
            heappush(self._heap, (due_ns, key))

    def forget(self, key: bytes) -> None:
        """The key is gone."""
        self._due.pop(key, None)

    def deadline_ns(self) -> int | None:
        """The earliest time of all."""
        while self._heap:
            due_ns, key = self._heap[0]
            if self._due.get(key) == due_ns:
                return due_ns
            heappop(self._heap)
        return None

    def take_due(self, now_ns: int) -> bytes | None:
        """A key whose time has come, once; None when there is none."""
        due_ns = self.deadline_ns()
        if due_ns is None or due_ns > now_ns:
            return None
        _, key = heappop(self._heap)
        del self._due[key]
        return key
