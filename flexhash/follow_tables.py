"""How a follower that is no target itself gets the bytes of a table from a target near by.

Part of Follower (flexhash/follow.py), which knows the wanted generation and its digest from the voters.
At most TRIES_MAX targets are asked for one table, one after the other, then the voters:

    TABLE_DATA with that digest       taken, counted in tables_fetched by where it came from
    CONTROL_REFUSED (not here, busy)  the next one at once
    other bytes, another message      the next one at once; this one is passed over for a while
    nothing within PATIENCE_NS        the same

Invariants: one question under way; a table that is returned has the digest that the voters announced.
"""

from __future__ import annotations

import random
from collections.abc import Container, Mapping

from replicast.buggify import buggify
from replicast.flexhash.entries import TableError
from replicast.flexhash.follow_events import AskTarget
from replicast.flexhash.sources import Nearness, Neighbour, Source, Sources, serving
from replicast.flexhash.table import Table
from replicast.flexhash.tables import unpack_table
from replicast.machine import NodeId
from replicast.metrics import Counters
from replicast.units import MS
from replicast.wire import control_messages as cm
from replicast.wire.schema import Message

PATIENCE_NS = 400 * MS
TRIES_MAX = 3


class TargetFetch:
    """`targets`: those that are known before the first table."""

    def __init__(
        self,
        sources: Sources,
        targets: tuple[Neighbour, ...],
        rng: random.Random,
        counters: Counters,
    ) -> None:
        self._sources, self._rng, self._counters = sources, rng, counters
        self._asked: Source | None = None  # who has not answered yet
        self._operation_id = b""
        self._asked_for, self._since_ns = 0, 0
        self._generation = 0  # that was pursued last, and of whom it was asked
        self._tried: list[NodeId] = []
        sources.learn(targets)

    @property
    def waits(self) -> bool:
        """Whether a question is under way."""
        return self._asked is not None

    def adopted(self, table: Table) -> None:
        """Whom there is to ask for the next one."""
        self._sources.learn(serving(table))

    def pursue(self, generation: int, voters: Container[NodeId], now_ns: int) -> AskTarget | None:
        """Ask for a table, unless a question is under way; None without waits: ask a voter."""
        if self._asked is not None:
            if now_ns - self._since_ns < PATIENCE_NS:
                return None
            self._failed("silent", now_ns)
        if generation != self._generation:
            self._generation, self._tried = generation, []
        if len(self._tried) >= TRIES_MAX:
            return None
        source = self._sources.choose(self._tried, voters, now_ns)
        if source is None:
            return None
        self._tried.append(source.node_id)
        self._asked, self._asked_for, self._since_ns = source, generation, now_ns
        self._operation_id = self._rng.randbytes(16)
        return AskTarget(source, cm.TableGet(generation=generation), self._operation_id)

    def answered(
        self, message: Message, operation_id: bytes, digests: Mapping[int, bytes], now_ns: int
    ) -> Table | None:
        """The table, if it is one of those with these digests by generation."""
        source = self._asked
        if source is None or operation_id != self._operation_id:
            return None
        digest = digests.get(self._asked_for)
        if isinstance(message, cm.ControlRefused):
            self._asked = None
            self._counters.count("table_sources_failed", "refused")
        elif not isinstance(message, cm.TableData) or message.generation != self._asked_for:
            self._failed("wrong", now_ns)
        elif digest is None:
            self._asked = None  # overtaken by a newer one
        else:
            try:
                table = verified(message, digest)
            except TableError:
                self._failed("wrong", now_ns)
            else:
                self._asked = None
                near = source.nearness == Nearness.HOST
                self._counters.count("tables_fetched", "host" if near else "target")
                return table
        return None

    def _failed(self, how: str, now_ns: int) -> None:
        assert self._asked is not None
        self._sources.pass_over(self._asked.node_id, now_ns)
        self._counters.count("table_sources_failed", how)
        self._asked = None


def verified(message: cm.TableData, digest: bytes) -> Table:
    """The table in an answer, of whomever; raises TableError when it is not the one announced."""
    if buggify("control/table-refused"):
        raise TableError("fault point")
    return unpack_table(message, digest)
