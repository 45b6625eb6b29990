"""Events, clocks, turns, trace: Cython, or the definitions with REPLICAST_PURE=1."""

from typing import TYPE_CHECKING

from replicast.native import PURE, compiled
from replicast.sim.turns_pure import INSTANT_EVENTS_MAX, Action

if TYPE_CHECKING or PURE:
    from replicast.sim.trace_pure import TraceHash
    from replicast.sim.turns_pure import Clock, Events, SimHandle, SimTimer, Turns
else:
    with compiled():
        from replicast.native._simworld import Clock, Events, SimHandle, SimTimer, TraceHash, Turns

__all__ = [
    "INSTANT_EVENTS_MAX",
    "Action",
    "Clock",
    "Events",
    "SimHandle",
    "SimTimer",
    "TraceHash",
    "Turns",
]
