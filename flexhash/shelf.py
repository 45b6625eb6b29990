"""The tables that a target which does not vote hands out to followers near it. No I/O, no clock.

    shelf.put(table)                         verified ones: prepared, or adopted
    shelf.reply(generation, now_ns)          TABLE_DATA, or CONTROL_REFUSED

Nobody has to believe it: followers compare with the digest that the voters announced. It does not
know which generation is active, so a request for "the active one" (0) is refused.
Limits: KEEP tables; GIVEN_BYTES_MAX handed out in a second (and at least one table); beyond that BUSY.
"""

from __future__ import annotations

import zlib

from replicast.buggify import buggify
from replicast.flexhash.table import Table
from replicast.units import MIB, SECOND
from replicast.wire import control_messages as cm
from replicast.wire.reasons import Reason

KEEP = 4
GIVEN_BYTES_MAX = 32 * MIB


class TableShelf:
    """One per target."""

    def __init__(self) -> None:
        self.tables: dict[int, Table] = {}
        self._packed: dict[int, bytes] = {}
        self._window_ns, self._given_bytes = 0, 0

    def put(self, table: Table) -> None:
        """Keep a verified table; the oldest make room."""
        self.tables[table.generation] = table
        for generation in sorted(self.tables)[:-KEEP]:
            del self.tables[generation]
            self._packed.pop(generation, None)

    def reply(self, generation: int, now_ns: int) -> cm.TableData | cm.ControlRefused:
        """The answer to TABLE_GET."""
        table = self.tables.get(generation)
        if table is None or buggify("control/target-has-not"):
            return cm.ControlRefused(reason=Reason.NOT_READY, detail="table is not here")
        if now_ns - self._window_ns >= SECOND:
            self._window_ns, self._given_bytes = now_ns, 0
        data = self._data(min(self.tables) if buggify("control/target-mistakes") else generation)
        if self._given_bytes and self._given_bytes + len(data) > GIVEN_BYTES_MAX:
            return cm.ControlRefused(reason=Reason.BUSY, detail="enough tables given")
        self._given_bytes += len(data)
        return cm.TableData(
            generation=generation,
            digest=table.digest,
            raw_bytes=len(table.to_bytes()),
            data=data,
        )

    def _data(self, generation: int) -> bytes:
        packed = self._packed.get(generation)
        if packed is None:
            raw = self.tables[generation].to_bytes()
            packed = self._packed[generation] = zlib.compress(raw, 1)
        return packed
