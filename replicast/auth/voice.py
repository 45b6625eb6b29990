"""The Voice as everybody imports it: Cython, or Python with REPLICAST_PURE=1."""

from typing import TYPE_CHECKING

from replicast.native import PURE, compiled

if TYPE_CHECKING or PURE:
    from replicast.auth.voice_pure import Voice
else:
    with compiled():
        from replicast.native._voice import Voice

__all__ = ["Voice"]
