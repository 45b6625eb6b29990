"""seal() and unseal() as everybody imports them: Cython, or Python with REPLICAST_PURE=1."""

from replicast.native import PURE, compiled

if PURE:
    from replicast.auth.seal_pure import seal, unseal
else:
    with compiled():
        from replicast.native._header import seal, unseal

__all__ = ["seal", "unseal"]
