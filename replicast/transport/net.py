"""The chosen `NetThread` and `Reassembly`: native, or the definitions with REPLICAST_PURE=1."""

from typing import TYPE_CHECKING

from replicast.native import PURE, compiled
from replicast.transport.reassembly import FeedCode, Full

if TYPE_CHECKING or PURE:
    from replicast.transport.net_pure import NetThread
    from replicast.transport.reassembly import Reassembly
else:
    with compiled():
        from replicast.native._net import NetThread
        from replicast.native._reassembly import Reassembly

__all__ = ["FeedCode", "Full", "NetThread", "Reassembly"]
