"""Records of one VDEV on their way to its store: in order, and again when it had no room.

What was handed out is durable in order: a later one that is done first waits for the earlier,
so nobody hears of an entry whose predecessor is not durable. Order matters to the store, too:
an entry written again after the truncation that voided it would come back, and a truncation
written late would void what follows it. So when one was not taken, all behind it are handed
out again behind it, under new tokens: what becomes of their first writing says nothing.
Until the first of them was taken nothing else is written: a store without room must not be
filled with copies of what is behind it.
Limits: FLIGHT_BYTES_MAX a flight, or one record.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import islice

from replicast.buggify import buggified
from replicast.target.names.replica import Mark, RowReplica
from replicast.target.names.store import (
    AppendRecords,
    CutRecord,
    EntryRecord,
    RowRecord,
    StagedRecord,
    StoreOutcome,
)
from replicast.units import MIB, MS

AGAIN_NS = 20 * MS
FLIGHT_BYTES_MAX = 4 * MIB  # far below what a store takes at once


@dataclass(slots=True)
class Flight:
    """One AppendRecords; marks tell which logs are durable with it, and as of when.
    `token` is 0 while it waits to be handed out again, at `again_ns` or when it is first."""

    token: int
    records: tuple[RowRecord, ...]
    marks: list[tuple[RowReplica, Mark]]
    done: bool = False
    again_ns: int = 0


class Appends:
    """The flights of one VDEV. `blocked`: something waits that has to go first."""

    def __init__(self, vdev_index: int) -> None:
        self.blocked = False  # what waits is all behind what does not: _again() takes all behind it
        self._vdev_index = vdev_index
        self._flights: deque[Flight] = deque()
        self._token = 0

    def stored(self, token: int, outcome: StoreOutcome, now_ns: int) -> list[RowReplica]:
        """What became of one; the replicas that have more durable entries now."""
        flights = self._flights
        for place, flight in enumerate(flights):
            if flight.token == token:
                flight.done = outcome is not StoreOutcome.AGAIN
                if not flight.done:
                    self._again(place, now_ns + AGAIN_NS)
                break
        told: list[RowReplica] = []
        while flights and flights[0].done:
            for replica, mark in flights.popleft().marks:
                replica.stored(mark)
                told.append(replica)
        return told

    def _again(self, place: int, again_ns: int) -> None:
        for flight in islice(self._flights, place, None):
            flight.token, flight.done, flight.again_ns = 0, False, again_ns
        self.blocked = True

    def deadline_ns(self) -> int | None:
        """When something is to be handed out again."""
        if self._flights and not self._flights[0].token:
            return self._flights[0].again_ns
        return None

    def take(self, replicas: Iterable[RowReplica], now_ns: int) -> list[AppendRecords]:
        """What is due again, or else events with the new records of these replicas (of none
        while `blocked`)."""
        if self.blocked:
            first = self._flights[0]
            if first.token or first.again_ns > now_ns:
                return []
            self.blocked = len(self._flights) > 1
            return [self._hand_out(first)]
        events: list[AppendRecords] = []
        records: list[RowRecord] = []
        marks: list[tuple[RowReplica, Mark]] = []
        size_bytes = 0
        bytes_max = buggified("names/flight-small", FLIGHT_BYTES_MAX, 0)
        for replica in replicas:
            fresh, replica.log.records = replica.log.records, []
            for record in fresh:
                if records and size_bytes >= bytes_max:
                    events.append(self._begin(records, marks))
                    records, marks, size_bytes = [], [], 0
                records.append(record)
                size_bytes += len(record.data) if type(record) is EntryRecord else _size(record)
            marks.append((replica, replica.mark()))
        if marks:
            events.append(self._begin(records, marks))
        return events

    def _begin(
        self, records: list[RowRecord], marks: list[tuple[RowReplica, Mark]]
    ) -> AppendRecords:
        flight = Flight(0, tuple(records), marks)
        self._flights.append(flight)
        return self._hand_out(flight)

    def _hand_out(self, flight: Flight) -> AppendRecords:
        self._token += 1
        flight.token = self._token
        return AppendRecords(self._vdev_index, flight.token, flight.records)


def hand_out(
    dirty: dict[tuple[int, int], RowReplica], appends: Mapping[int, Appends], now_ns: int
) -> list[AppendRecords]:
    """The new records of all these replicas (by row and VDEV), and what is due again. A replica stays
    in `dirty` while its records have to wait."""
    events: list[AppendRecords] = []
    fresh: dict[int, list[RowReplica]] = {}
    if dirty:
        waiting: dict[tuple[int, int], RowReplica] = {}
        for at, replica in dirty.items():
            if replica.log.records:
                if appends[at[1]].blocked:
                    waiting[at] = replica  # in order, behind what the store did not take
                else:
                    fresh.setdefault(at[1], []).append(replica)
        dirty.clear()
        dirty.update(waiting)
    for vdev, each in appends.items():
        if vdev in fresh or each.blocked:
            events += each.take(fresh.get(vdev, ()), now_ns)
    return events


def _size(record: RowRecord) -> int:
    if isinstance(record, StagedRecord):
        return len(record.data)
    return 16 * len(record.dropped) if isinstance(record, CutRecord) else 0
