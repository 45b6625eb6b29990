"""FlushWriter as everybody imports it: Cython, or Python with REPLICAST_PURE=1."""

from typing import TYPE_CHECKING

from replicast.native import PURE, compiled

if TYPE_CHECKING or PURE:
    from replicast.target.store.flush_writer_pure import FlushWriter
else:
    with compiled():
        from replicast.native._flush_writer import FlushWriter

__all__ = ["FlushWriter"]
