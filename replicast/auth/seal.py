"""The Sealer as everybody imports it: Cython, or Python with REPLICAST_PURE=1."""

from typing import TYPE_CHECKING

from replicast.native import PURE, compiled

if TYPE_CHECKING or PURE:
    from replicast.auth.seal_pure import Sealer
else:
    with compiled():
        from replicast.native._header import Sealer

__all__ = ["Sealer"]
