"""Files as everybody writes them: Cython, or Python (replicast/file_io.py) with REPLICAST_PURE=1."""

from replicast.native import PURE, compiled

if PURE:
    from replicast.file_io import map_cached, read_cached, write_pieces_synced, write_synced
else:
    with compiled():
        from replicast.native._file_io import (
            map_cached,
            read_cached,
            write_pieces_synced,
            write_synced,
        )

__all__ = ["map_cached", "read_cached", "write_pieces_synced", "write_synced"]
