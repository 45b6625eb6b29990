"""flexhash/shelf.py: what a target that does not vote hands out, and how much of it."""

from __future__ import annotations

import pytest

from replicast.flexhash import shelf as shelves
from replicast.flexhash.shelf import KEEP, TableShelf
from replicast.flexhash.tables import unpack_table
from replicast.units import SECOND
from replicast.wire import control_messages as cm
from replicast.wire.reasons import Reason

from .small_tables import table


def refused(answer: object) -> Reason:
    assert isinstance(answer, cm.ControlRefused)
    return Reason(answer.reason)


def test_reply__the_tables_put_here_and_a_typed_refusal_of_others() -> None:
    shelf = TableShelf()
    tables = {generation: table(generation) for generation in range(1, KEEP + 2)}
    for each in tables.values():
        shelf.put(each)
    for generation in range(2, KEEP + 2):
        answer = shelf.reply(generation, 0)
        assert isinstance(answer, cm.TableData)
        assert unpack_table(answer, tables[generation].digest) == tables[generation]
    for generation in (0, 1, KEEP + 2):  # which one is active is for voters to say
        assert refused(shelf.reply(generation, 0)) is Reason.NOT_READY
    assert len(shelf.tables) == len(shelf._packed) == KEEP


def test_reply__so_many_bytes_a_second_and_at_least_one_table(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shelf = TableShelf()
    shelf.put(table(1))
    given = shelf.reply(1, 10 * SECOND)
    assert isinstance(given, cm.TableData)
    monkeypatch.setattr(shelves, "GIVEN_BYTES_MAX", 3 * len(given.data))
    answers = [shelf.reply(1, 10 * SECOND + n) for n in range(10)]
    assert answers[:2] == [given, given]
    assert {refused(each) for each in answers[2:]} == {Reason.BUSY}
    assert shelf.reply(1, 11 * SECOND) == given
    monkeypatch.setattr(shelves, "GIVEN_BYTES_MAX", 1)
    assert shelf.reply(1, 12 * SECOND) == given
    assert refused(shelf.reply(1, 12 * SECOND)) is Reason.BUSY
