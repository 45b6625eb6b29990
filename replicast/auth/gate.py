"""The Gate as everybody imports it: Cython, or Python with REPLICAST_PURE=1."""

from typing import TYPE_CHECKING

from replicast.native import PURE, compiled

if TYPE_CHECKING or PURE:
    from replicast.auth.gate_pure import Gate
else:
    with compiled():
        from replicast.native._gate import Gate

__all__ = ["Gate"]
