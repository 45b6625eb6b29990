from collections.abc import Sequence

from replicast.target.store.record import Record
from replicast.target.store.segment import Identity, PackedFlush, Position

def pack_flush(
    records: Sequence[Record], position: Position, identity: Identity
) -> PackedFlush: ...
def flush_bytes(records: Sequence[Record]) -> int: ...
