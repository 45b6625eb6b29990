"""The one timer of a shell: it wakes its core no later than the core asked for.

Deadlines move with nearly every message, mostly to later. So a timer that is set stays set:
when it fires before the time that was last asked for, it only sets itself again. For an earlier
one the later stays set too: it is what is asked for again when the earlier has come.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

SET_MAX = 2


class WakeTimer:
    """Calls expire(now_ns) when what arm() asked for has come; the owner then arms it again."""

    def __init__(self, now_ns: Callable[[], int], expire: Callable[[int], None]) -> None:
        self._now_ns, self._expire = now_ns, expire
        self._due_ns: int | None = None
        self._handles: dict[int, asyncio.TimerHandle] = {}  # by when they fire
        self._fires_ns: int | None = None  # the first of them

    @property
    def due_ns(self) -> int | None:
        """What it was armed for and has not called for yet."""
        return self._due_ns

    def arm(self, due_ns: int | None, other_ns: int | None = None) -> None:
        """Wake at the earlier of these in place of any other time; both None: not at all."""
        if other_ns is not None and (due_ns is None or other_ns < due_ns):
            due_ns = other_ns
        if due_ns == self._due_ns:
            return  # nothing is to be done for that again
        self._due_ns = due_ns
        if due_ns is not None and (self._fires_ns is None or due_ns < self._fires_ns):
            self._set(due_ns, self._now_ns())

    def cancel(self) -> None:
        """Wake never again, unless armed."""
        self._due_ns = None
        for handle in self._handles.values():
            handle.cancel()
        self._handles, self._fires_ns = {}, None

    def _set(self, due_ns: int, now_ns: int) -> None:
        """For earlier than what is set."""
        if self._fires_ns is not None and len(self._handles) == SET_MAX:
            self._handles.pop(self._fires_ns).cancel()
        delay_ns = max(0, due_ns - now_ns)
        loop = asyncio.get_running_loop()
        self._handles[due_ns] = loop.call_later(delay_ns / 1e9, self._fire, due_ns)
        self._fires_ns = due_ns

    def _fire(self, fires_ns: int) -> None:
        del self._handles[fires_ns]
        self._fires_ns = min(self._handles, default=None)
        due_ns = self._due_ns
        if due_ns is None:
            return
        # Timers may fire a little early; the core must not see time before its deadline.
        now_ns = max(fires_ns, self._now_ns())
        if now_ns < due_ns:
            if self._fires_ns is None or due_ns < self._fires_ns:
                self._set(due_ns, now_ns)
            return
        self._due_ns = None
        self._expire(now_ns)
