"""A cluster that nobody uses: what CPU it takes, and until when it has done what happens once.

Each daemon asks for huge pages FIRST_LOOK_SECONDS after its start (replicast/trimming.py), which takes it some 50 ms of
CPU: a quarter of a second for a cluster of 4 targets and a gateway, as much as its servers take for 50 puts of 1 MiB.
Phases of benches are not much longer than that, and some began before it and ended after it.
"""

from __future__ import annotations

import os
import time

from s3_endpoints import Endpoint

from replicast.trimming import FIRST_LOOK_SECONDS

TINY = bool(os.environ.get("REPLICAST_BENCH_TINY"))
ONCE_SECONDS = 0.0 if TINY else FIRST_LOOK_SECONDS
LOOK_SECONDS = 0.02 if TINY else 0.25
REST_PERCENT = 100.0 if TINY else 15.0  # of one core; a cluster at rest takes some 3, by beats
REST_SECONDS_MAX = 30.0


def idle_percent(endpoint: Endpoint, seconds: float) -> float:
    """CPU of all daemons in that time, of one core."""
    cpu, began = endpoint.cpu_seconds(), time.perf_counter()
    time.sleep(seconds)
    return (endpoint.cpu_seconds() - cpu) / (time.perf_counter() - began) * 100


def settle(
    endpoint: Endpoint, *, percent: float = REST_PERCENT, seconds_max: float = REST_SECONDS_MAX
) -> None:
    """To be called when all daemons have begun: wait until each is past its first look, and all together
    take less of a core than `percent`. Raises SystemExit when they do not within `seconds_max`."""
    time.sleep(ONCE_SECONDS)
    end = time.monotonic() + seconds_max
    while (busy := idle_percent(endpoint, LOOK_SECONDS)) >= percent:
        if time.monotonic() > end:
            text = f"not at rest after {seconds_max:g} s: {busy:.0f} % of a core"
            raise SystemExit(f"{endpoint.name}: {text}")
