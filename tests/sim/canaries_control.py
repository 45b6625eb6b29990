"""Planted bugs in leases, fences and tables: what C6 and the generations rest on (canaries.py)."""

from __future__ import annotations

import zlib
from dataclasses import replace
from typing import Any

import pytest

from replicast.flexhash import follow, follow_tables
from replicast.flexhash.balance import Balancer
from replicast.flexhash.lease import LeaseHolder
from replicast.flexhash.shelf import TableShelf
from replicast.flexhash.table import Table
from replicast.flexhash.tables import TableFiles
from replicast.machine import Incoming
from replicast.target.admission import Admission
from replicast.target.handover import HandOver
from replicast.target.names.context import RowContext
from replicast.wire import control_messages as cm

NEVER_STALE = 1 << 62


def no_lease_check(patch: pytest.MonkeyPatch) -> None:
    """C6: a target acts whether its lease is valid or not."""
    patch.setattr(LeaseHolder, "valid", lambda self, now_ns: True)


def lease_counted_from_receipt(patch: pytest.MonkeyPatch) -> None:
    """A lease runs from the arrival of its grant, not from the sending of the renewal."""
    granted = follow.Follower._on_lease_grant

    def late(
        self: follow.Follower, voter: int, m: cm.LeaseGrant, asked: bytes, sent: Any, now_ns: int
    ) -> None:
        if self.holder is not None and m.sequence in self.holder._sent_ns:
            self.holder._sent_ns[m.sequence] = now_ns
        granted(self, voter, m, asked, sent, now_ns)

    patch.setitem(follow.HANDLERS, cm.LeaseGrant, late)


def stale_name_request_answered(patch: pytest.MonkeyPatch) -> None:
    """C6: requests about names are answered whatever generation they were made under."""
    refusal = RowContext.refusal
    patch.setattr(
        RowContext,
        "refusal",
        lambda self, row, generation, now_ns: refusal(self, row, NEVER_STALE, now_ns),
    )


def stale_store_accepted(patch: pytest.MonkeyPatch) -> None:
    """C6: chunks are stored whatever generation the put was made under."""
    members = Admission.members_for_store

    def careless(self: Admission, incoming: Incoming, *more: Any) -> tuple[int, ...]:
        return members(self, replace(incoming, generation=NEVER_STALE), *more)

    patch.setattr(Admission, "members_for_store", careless)


def starts_by_an_older_table(patch: pytest.MonkeyPatch) -> None:
    """A target that is started again takes the last table but one that it had adopted."""
    load = TableFiles.load

    def older(self: TableFiles) -> list[Table]:
        found = sorted(load(self), key=lambda table: table.generation)
        return found[:-1] or found

    patch.setattr(TableFiles, "load", older)


def digest_not_compared(patch: pytest.MonkeyPatch) -> None:
    """Every second table is adopted with a little difference to what was built, and nobody looks."""
    adopted: list[int] = []
    adopt = follow.AdoptTable

    def forked(table: Table) -> follow.AdoptTable:
        adopted.append(table.generation)
        if len(adopted) % 2:
            return adopt(table)
        policy = replace(table.policy, group_size=table.policy.group_size + 1)
        return adopt(Table(table.generation, policy, table.targets, table.vdevs, table.rows))

    patch.setattr(follow, "AdoptTable", forked)


def given_table_not_checked(patch: pytest.MonkeyPatch) -> None:
    """Targets give older tables for newer ones, and who asks them takes what comes for
    what was announced."""
    reply = TableShelf.reply

    def mistaken(
        self: TableShelf, generation: int, now_ns: int
    ) -> cm.TableData | cm.ControlRefused:
        old = self.tables[min(self.tables)] if generation in self.tables else None
        if old is None or old.generation == generation:
            return reply(self, generation, now_ns)
        shelf = TableShelf()
        shelf.put(Table(generation, old.policy, old.targets, old.vdevs, old.rows))
        return reply(shelf, generation, now_ns)

    def believed(message: cm.TableData, digest: bytes) -> Table:
        table = Table.from_bytes(zlib.decompress(message.data))
        vars(table)["digest"] = digest  # as announced, not as computed
        return table

    patch.setattr(TableShelf, "reply", mistaken)
    patch.setattr(follow_tables, "verified", believed)


def wrong_clock_keeps_its_rows(patch: pytest.MonkeyPatch) -> None:
    """C7: the table names a leader whose clock is off, and which therefore answers nothing."""
    patch.setattr(Balancer, "_away", lambda self, *of: None)


def stops_without_a_hand_over(patch: pytest.MonkeyPatch) -> None:
    """A target that is told to stop gives its lease back, and its rows wait for the next table."""

    async def stop_at_once(self: HandOver, seconds: float) -> None:
        return

    patch.setattr(HandOver, "run", stop_at_once)
