from replicast.sim.pipe_pure import End, Link, Pipe, SimFrame

__all__ = ["End", "Link", "Pipe", "SimFrame"]
