from collections.abc import Callable

from replicast.auth.gate_pure import Held
from replicast.machine import Address, Group, Incoming, NodeId
from replicast.metrics import Counters

class Gate:
    mac_keys: dict[int, bytes]
    heard_keys: dict[NodeId, dict[int, bytes]]
    def __init__(
        self,
        tag: bytes,
        hears: Callable[[NodeId, int, Group | None, int, Address], bool | None],
        counters: Counters,
    ) -> None: ...
    def open(self, datagram: bytes, source: Address, group: Group | None) -> Incoming | Held: ...
