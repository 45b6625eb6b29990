"""Values as bytes, in place of pickle: the Cython twin, or the definition with REPLICAST_PURE=1.

What values there are, and what is refused: codec_pure.py.
"""

from __future__ import annotations

from typing import Any, BinaryIO

from replicast.flexhash.raft.codec_pure import CodecError
from replicast.native import PURE, compiled

if PURE:
    from replicast.flexhash.raft.codec_pure import dumps, loads
else:
    with compiled():
        from replicast.native._raft_codec import dumps, loads

__all__ = ["CodecError", "dump", "dumps", "load", "loads"]


def dump(value: Any, file: BinaryIO, protocol: int | None = None) -> None:
    """Write the bytes of `value` to a file."""
    file.write(dumps(value))


def load(file: BinaryIO) -> Any:
    """Read a file whole as one value."""
    return loads(file.read())
