from replicast.sim.turns_pure import Clock, Events, Reading, SimHandle, SimTimer, Turns

__all__ = ["Clock", "Events", "Reading", "SimHandle", "SimTimer", "Turns"]
