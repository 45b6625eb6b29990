"""Records of one VDEV on their way to its store: in order, and again when it had no room.

What was handed out is durable in order: a later one that is done first waits for the earlier,
so nobody hears of an entry whose predecessor is not durable. Order matters to the store, too:
an entry written again after the truncation that voided it would come back, and a truncation
written late would void what follows it. So when one was not taken, all behind it are handed
out again behind it, under new tokens: what becomes of their first writing says nothing.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from replicast.target.names.replica import RowReplica
from replicast.target.names.store import AppendRecords, RowRecord, StoreOutcome
from replicast.units import MS

AGAIN_NS = 20 * MS


@dataclass(slots=True)
class Flight:
    """One AppendRecords; marks tell which logs it carries, up to where, at which cut.
    `token` is 0 while it waits to be handed out again."""

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
        for place, flight in enumerate(self._flights):
            if flight.token != token:
                continue
            flight.done = outcome != StoreOutcome.AGAIN
            if not flight.done:
                self._again(place, now_ns + AGAIN_NS)
            break
        while self._flights and self._flights[0].done:
            for replica, index, cuts in self._flights.popleft().marks:
                replica.stored(index, cuts)
                yield replica

    def _again(self, place: int, again_ns: int) -> None:
        for flight in islice(self._flights, place, None):
            flight.token, flight.done, flight.again_ns = 0, False, again_ns

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
                flight.token = self._next_token()
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
        flight = Flight(self._next_token(), tuple(records), marks)
        self._flights.append(flight)
        yield AppendRecords(self._vdev_index, flight.token, flight.records)

    def _next_token(self) -> int:
        self._token += 1
        return self._token
