"""The body codec that everybody imports: the Cython twin, or the definition with REPLICAST_PURE=1.

What a body is and which errors there are: codec_pure.py (the definition) and
schema.py (how a message is declared).
"""

from replicast.native import PURE, compiled
from replicast.wire.codec_pure import WireError

if PURE:
    from replicast.wire.codec_pure import decode, decode_pieces, encode
else:
    with compiled():
        from replicast.native._codec import decode, decode_pieces, encode

__all__ = ["WireError", "decode", "decode_pieces", "encode"]
