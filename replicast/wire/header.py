"""The control datagram's header as everybody imports it: Cython, or Python with REPLICAST_PURE=1."""

from replicast.native import PURE, compiled
from replicast.wire.header_pure import HEADER_BYTES, MAC_BYTES, MACED_BYTES, VERSION, Header

if PURE:
    from replicast.wire.header_pure import pack_header, parse_header
else:
    with compiled():
        from replicast.native._codec import pack_header, parse_header

__all__ = [
    "HEADER_BYTES",
    "MACED_BYTES",
    "MAC_BYTES",
    "VERSION",
    "Header",
    "pack_header",
    "parse_header",
]
