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
from collections.abc import Iterator, Mapping, Sequence
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
            for replica, mark in self._flights.popleft().marks:
                replica.stored(mark)
                yield replica

    def _again(self, place: int, again_ns: int) -> None:
        for flight in islice(self._flights, place, None):
            flight.token, flight.done, flight.again_ns = 0, False, again_ns
        self.blocked = True

    def deadline_ns(self) -> int | None:
        """When something is to be handed out again."""
        if self._flights and not self._flights[0].token:
            return self._flights[0].again_ns
        return None

    def take(self, replicas: Sequence[RowReplica], now_ns: int) -> Iterator[AppendRecords]:
        """What is due again, or else events with the new records of these replicas (of none
        while `blocked`)."""
        if self.blocked:
            first = self._flights[0]
            if not first.token and first.again_ns <= now_ns:
                first.token = self._next_token()
                self.blocked = len(self._flights) > 1
                yield AppendRecords(self._vdev_index, first.token, first.records)
            return
        records: list[RowRecord] = []
        marks: list[tuple[RowReplica, Mark]] = []
        size_bytes = 0
        bytes_max = buggified("names/flight-small", FLIGHT_BYTES_MAX, 0)
        for replica in replicas:
            fresh, replica.log.records = replica.log.records, []
            for record in fresh:
                if records and size_bytes >= bytes_max:
                    yield self._hand_out(records, marks)
                    records, marks, size_bytes = [], [], 0
                records.append(record)
                size_bytes += _size(record)
            marks.append((replica, replica.mark()))
        if marks:
            yield self._hand_out(records, marks)

    def _hand_out(
        self, records: list[RowRecord], marks: list[tuple[RowReplica, Mark]]
    ) -> AppendRecords:
        flight = Flight(self._next_token(), tuple(records), marks)
        self._flights.append(flight)
        return AppendRecords(self._vdev_index, flight.token, flight.records)

    def _next_token(self) -> int:
        self._token += 1
        return self._token


def hand_out(
    dirty: dict[tuple[int, int], RowReplica], appends: Mapping[int, Appends], now_ns: int
) -> Iterator[AppendRecords]:
    """The new records of all these replicas (by row and VDEV), and what is due again. A replica stays
    in `dirty` while its records have to wait."""
    fresh: dict[int, list[RowReplica]] = {}
    for (row, vdev), replica in list(dirty.items()):
        if replica.log.records and appends[vdev].blocked:
            continue  # in order, behind what the store did not take
        del dirty[row, vdev]
        if replica.log.records:
            fresh.setdefault(vdev, []).append(replica)
    for vdev, each in appends.items():
        if vdev in fresh or each.blocked:
            yield from each.take(fresh.get(vdev, ()), now_ns)


def _size(record: RowRecord) -> int:
    if isinstance(record, (EntryRecord, StagedRecord)):
        return len(record.data)
    return 16 * len(record.dropped) if isinstance(record, CutRecord) else 0
