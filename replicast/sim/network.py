"""The wire and the inbox of the simulator: Cython, or the definitions with REPLICAST_PURE=1.

What they are: network_pure.py and inbox_pure.py.
"""

from typing import TYPE_CHECKING

from replicast.native import PURE, compiled
from replicast.sim.network_pure import RETRY_NS, SILENCE_NS, Deliver, Weather

if TYPE_CHECKING or PURE:
    from replicast.sim.inbox_pure import Inbox
    from replicast.sim.network_pure import Network
else:
    with compiled():
        from replicast.native._simwire import Inbox, Network

__all__ = ["RETRY_NS", "SILENCE_NS", "Deliver", "Inbox", "Network", "Weather"]
