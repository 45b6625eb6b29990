from replicast.sim.trace_pure import TraceHash
from replicast.sim.turns_pure import Clock, Events, Reading, SimHandle, SimTimer, Turns

__all__ = ["Clock", "Events", "Reading", "SimHandle", "SimTimer", "TraceHash", "Turns"]
