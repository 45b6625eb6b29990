"""pack_flush() and flush_bytes() as everybody imports them: Cython, or Python with REPLICAST_PURE=1."""

from replicast.native import PURE, compiled

if PURE:
    from replicast.target.store.flush_pure import flush_bytes, pack_flush
else:
    with compiled():
        from replicast.native._flush import flush_bytes, pack_flush

__all__ = ["flush_bytes", "pack_flush"]
