"""The control datagram's header as everybody imports it: Cython, or Python with REPLICAST_PURE=1."""

from replicast.native import PURE, compiled
from replicast.wire.header_pure import (
    COPY,
    HEADER_BYTES,
    KIND_MASK,
    MAC_BYTES,
    MACED_BYTES,
    PAIR,
    VERSION,
    Header,
)

if PURE:
    from replicast.wire.header_pure import pack_header, parse_header
else:
    with compiled():
        from replicast.native._header import pack_header, parse_header

__all__ = [
    "COPY",
    "HEADER_BYTES",
    "KIND_MASK",
    "MACED_BYTES",
    "MAC_BYTES",
    "PAIR",
    "VERSION",
    "Header",
    "pack_header",
    "parse_header",
]
