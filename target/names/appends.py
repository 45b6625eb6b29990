"""Records of one VDEV on their way to its store: in order, and again when it had no room.

What was handed out is durable in the order of the tokens: a later one that is done first
waits for the earlier, so nobody hears of an entry whose predecessor is not durable.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from replicast.target.names.replica import RowReplica
from replicast.target.names.store import AppendRecords, RowRecord, StoreOutcome
from replicast.units import MS

AGAIN_NS = 20 * MS


@dataclass(slots=True)
class Flight:
    """One AppendRecords; marks tell which logs it carries, up to where, at which cut."""

    token: int
    records: tuple[RowRecord, ...]
    marks: list[tuple[RowReplica, int, int]]
    done: bool = False
    again_ns: int | None = None  # nothing was taken: when to hand it out again


class Appends:
    """The flights of one VDEV."""

    def __init__(self, vdev_index: int) -> None:
        self._vdev_index = vdev_index
        self._flights: deque[Flight] = deque()
        self._token = 0

    def stored(self, token: int, outcome: StoreOutcome, now_ns: int) -> Iterator[RowReplica]:
        """What became of one; yields the replicas that have more durable entries now."""
        for flight in self._flights:
            if flight.token == token and outcome == StoreOutcome.AGAIN:
                flight.again_ns = now_ns + AGAIN_NS
            elif flight.token == token:
                flight.done = True
        while self._flights and self._flights[0].done:
            for replica, index, cuts in self._flights.popleft().marks:
                replica.stored(index, cuts)
                yield replica

    def deadlines(self) -> Iterator[int]:
        """When something is to be handed out again."""
        for flight in self._flights:
            if flight.again_ns is not None:
                yield flight.again_ns

    def blocked(self, now_ns: int) -> bool:
        """Does something wait that has to go first?"""
        return any(again_ns > now_ns for again_ns in self.deadlines())

    def take(self, replicas: Sequence[RowReplica], now_ns: int) -> Iterator[AppendRecords]:
        """What is due again, then one event with the new records of these replicas."""
        for flight in self._flights:
            if flight.again_ns is not None and flight.again_ns <= now_ns:
                flight.again_ns = None
                yield AppendRecords(self._vdev_index, flight.token, flight.records)
        if not replicas:
            return
        records: list[RowRecord] = []
        marks = []
        for replica in replicas:
            log = replica.log
            records += log.records
            log.records = []
            marks.append((replica, log.last.index, log.cuts))
        self._token += 1
        self._flights.append(Flight(self._token, tuple(records), marks))
        yield AppendRecords(self._vdev_index, self._token, tuple(records))
