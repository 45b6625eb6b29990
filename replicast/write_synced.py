"""write_synced() as everybody imports it: Cython, or Python with REPLICAST_PURE=1."""

from replicast.native import PURE, compiled

if PURE:
    from replicast.file_io import write_synced
else:
    with compiled():
        from replicast.native._file_io import write_synced

__all__ = ["write_synced"]
