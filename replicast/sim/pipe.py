"""Frames of connections in the simulator: Cython, or the definition with REPLICAST_PURE=1.

What they are: pipe_pure.py.
"""

from typing import TYPE_CHECKING

from replicast.native import PURE, compiled
from replicast.sim.pipe_pure import FRAMES_MAX

if TYPE_CHECKING or PURE:
    from replicast.sim.pipe_pure import End, Link, Pipe, SimFrame
else:
    with compiled():
        from replicast.native._simpipe import End, Link, Pipe, SimFrame

__all__ = ["FRAMES_MAX", "End", "Link", "Pipe", "SimFrame"]
