"""write_synced() and read_cached() as everybody imports them: Cython, or Python with REPLICAST_PURE=1."""

from replicast.native import PURE, compiled

if PURE:
    from replicast.file_io import read_cached, write_synced
else:
    with compiled():
        from replicast.native._file_io import read_cached, write_synced

__all__ = ["read_cached", "write_synced"]
