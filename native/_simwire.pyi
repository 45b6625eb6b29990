from replicast.sim.inbox_pure import Inbox
from replicast.sim.network_pure import Network

__all__ = ["Inbox", "Network"]
