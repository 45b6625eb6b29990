"""Events, clocks and turns of the simulator: Cython, or the definition with REPLICAST_PURE=1."""

from typing import TYPE_CHECKING

from replicast.native import PURE, compiled
from replicast.sim.turns_pure import INSTANT_EVENTS_MAX, Action

if TYPE_CHECKING or PURE:
    from replicast.sim.turns_pure import Clock, Events, SimHandle, SimTimer, Turns
else:
    with compiled():
        from replicast.native._simworld import Clock, Events, SimHandle, SimTimer, Turns

__all__ = ["INSTANT_EVENTS_MAX", "Action", "Clock", "Events", "SimHandle", "SimTimer", "Turns"]
