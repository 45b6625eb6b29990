"""Where an entry stands in a row's history: (epoch, tenure, index).

`epoch` is the generation that installed the leader that made the entry; `tenure` is a
number that the leader uses for one stretch of leading only (its VDEV's open count and
a counter), so a leader that crashed and lost an entry which it had already sent never gives
the same identity to another one. Positions compare field by field. They are sent as they are.
"""

from __future__ import annotations

from replicast.wire.row_messages import RowPosition

TENURE_BITS = 24  # leaderships of one row within one open of the VDEV

Position = RowPosition  # identity of one log entry
ZERO = Position(0, 0, 0)


def tenure_number(open_count: int, serial: int) -> int:
    """A tenure that this VDEV has not used before."""
    return open_count << TENURE_BITS | serial


def entry_tenure(data: bytes) -> int:
    """RowOperation's first field."""
    return int.from_bytes(data[:8], "little")
