"""The clocks of the daemons; cores get their values as arguments."""

from __future__ import annotations

import time
from functools import partial

# CLOCK_BOOTTIME goes on while the machine sleeps, as leases need it. No function of our own: it is
# asked several times for each message.
now_ns = partial(time.clock_gettime_ns, time.CLOCK_BOOTTIME)


def wall_ns() -> int:
    """Time of day, nanoseconds since the Unix epoch."""
    return time.time_ns()
