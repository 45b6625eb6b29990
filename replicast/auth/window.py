"""The ReplayWindow as everybody imports it: Cython, or Python with REPLICAST_PURE=1."""

from typing import TYPE_CHECKING

from replicast.auth.window_pure import WINDOW
from replicast.native import PURE, compiled

if TYPE_CHECKING or PURE:
    from replicast.auth.window_pure import ReplayWindow
else:
    with compiled():
        from replicast.native._window import ReplayWindow

__all__ = ["WINDOW", "ReplayWindow"]
