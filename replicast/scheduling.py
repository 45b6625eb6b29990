"""How a daemon shares the CPUs of its machine: whether what wakes it may be interrupted for it.

A message for a sleeping process wakes it, and where no CPU is idle Linux may stop whoever sent the
message, in the middle of its batch, to let the other run at once. With several targets and their
threads on few cores that happens many times for each put. SCHED_BATCH (sched(7)) asks for none of it: a
thread that becomes runnable waits until a CPU is free or its turn has come. Its share of CPU stays
the same, and on an idle CPU it starts as soon as ever (docs/performance.md has what it is worth).
"""

from __future__ import annotations

import logging
import os

log = logging.getLogger("replicast")

BATCH, NORMAL = "batch", "normal"
CPU_SCHEDULING = (BATCH, NORMAL)


def share_cpus(how: str) -> None:
    """For this thread, and those that it starts from now on. A policy that somebody else has chosen (a unit's
    CPUSchedulingPolicy=, chrt) stays; so does the usual one where the system refuses."""
    if how != BATCH or os.sched_getscheduler(0) != os.SCHED_OTHER:
        return
    try:
        os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
    except OSError as error:
        log.warning("cpu_scheduling = %s: %s; the usual policy stays", how, error.strerror)
