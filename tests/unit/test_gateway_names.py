"""The named operation, the listing and the survey: each refusal has one reaction."""

import random
from types import SimpleNamespace

import pytest

from replicast.errors import NotFound, Unavailable
from replicast.gateway.context import NeedTable
from replicast.gateway.listing import ListDone, ListOperation
from replicast.gateway.names import PATIENT_BYTES, NameDone, NamedOperation, NameFailed
from replicast.gateway.outcome_errors import name_error
from replicast.gateway.survey import DOUBTED_NS, Survey, SurveyDone
from replicast.machine import Incoming
from replicast.metrics import Counters
from replicast.units import KIB, MS, SECOND
from replicast.wire.chunk_messages import ChunkQuery, Refused
from replicast.wire.name_messages import (
    NO_VERSION,
    Condition,
    ListEntry,
    NameDelete,
    NameEntries,
    NameGet,
    NameKey,
    NameList,
    NamePut,
    NameResult,
    OperationTime,
    VersionSummary,
)
from replicast.wire.reasons import Reason

OPERATION = b"operation-id-16b"
KEY = NameKey(row=5, tenant="default", bucket="photos", bucket_incarnation=1, name="a")
REQUEST = NameGet(key=KEY, version=NO_VERSION, want_body=False)
DELETE = NameDelete(
    key=KEY,
    time=OperationTime(first_sent_ns=1, begun_ns=1),
    condition=Condition(kind=0, version=NO_VERSION, etag=""),
    version=NO_VERSION,
    null=False,
    absent_too=False,
)


class FakeTable:
    """The two questions that named operations ask of a table."""

    def __init__(self, generation, leaders):
        self.generation, self.leaders = generation, leaders

    def row_leader(self, row):
        return self.leaders.get(row)

    def target_of(self, vdev_index):
        return SimpleNamespace(node_id=vdev_index * 100)


def put(body_bytes):
    return NamePut(
        key=KEY,
        time=OperationTime(first_sent_ns=1, begun_ns=1),
        condition=Condition(kind=0, version=NO_VERSION, etag=""),
        null=False,
        logical_size=body_bytes,
        etag="e",
        body_hash=bytes(32),
        body=bytes(body_bytes),
        short_of_copies=(),
        holders=(),
    )


def operation(table, deadline_ns=30 * SECOND, request=REQUEST):
    return NamedOperation(
        request=request,
        row=5,
        operation_id=OPERATION,
        table=table,
        deadline_ns=deadline_ns,
        rng=random.Random(1),
        counters=Counters(),
        now_ns=0,
    )


def refused(reason, generation=0, retry_after_ns=0):
    return Refused(
        reason=reason,
        current_generation=generation,
        vdevs=(),
        retry_after_ns=retry_after_ns,
        detail="x",
    )


def answer(core, message, sender=700, operation_id=OPERATION, now_ns=MS):
    core.receive(
        Incoming(message=message, sender=sender, operation_id=operation_id, generation=1), now_ns
    )


def summary(name="a"):
    return VersionSummary(
        version=NO_VERSION,
        replaces=NO_VERSION,
        kind=1,
        null=False,
        logical_size=1,
        etag="e",
        operation_id=OPERATION,
        body_hash=b"h",
        short_chunks=0,
    )


RESULT = NameResult(summary=summary(), copies=3, holders=(), body=b"")


def test_operation__asks_the_leader_once_and_ends():
    core = operation(FakeTable(1, {5: 7}))
    (out,) = core.take_outgoing()
    assert (out.to, out.operation_id, out.generation) == (700, OPERATION, 1)
    answer(core, RESULT)
    assert core.take_events() == [NameDone(RESULT)]
    answer(core, RESULT)
    assert core.take_events() == [] and core.deadline_ns() is None


def test_operation__stale_generation_is_one_refetch_then_success():
    core = operation(FakeTable(1, {5: 7}))
    core.take_outgoing()
    for _ in range(3):  # several replies name the same generation
        answer(core, refused(Reason.STALE_GENERATION, 4))
    assert core.take_events() == [NeedTable(4)]
    core.table_changed(FakeTable(4, {5: 8}), 2 * MS)
    (out,) = core.take_outgoing()
    assert (out.to, out.generation, out.operation_id) == (800, 4, OPERATION)
    answer(core, RESULT, sender=800)
    assert core.take_events() == [NameDone(RESULT)]


@pytest.mark.parametrize(
    "reason",
    [Reason.NOT_READY, Reason.ROW_UNAVAILABLE, Reason.BUSY, Reason.NO_LEASE, Reason.FAULTED],
)
def test_operation__waits_and_asks_again(reason):
    core = operation(FakeTable(1, {5: 7}))
    core.take_outgoing()
    answer(core, refused(reason, 1))
    assert core.take_outgoing() == []
    core.expire(core.deadline_ns())
    assert [o.operation_id for o in core.take_outgoing()] == [OPERATION]


@pytest.mark.parametrize(
    "reason",
    [Reason.CONDITION_FAILED, Reason.NO_SUCH_NAME, Reason.TOO_OLD, Reason.BAD_REQUEST],
)
def test_operation__final_answers_end_it(reason):
    core = operation(FakeTable(1, {5: 7}))
    core.take_outgoing()
    answer(core, refused(reason, 1))
    assert core.take_events() == [NameFailed(reason, "x")]
    core.expire(31 * SECOND)
    assert core.take_outgoing() == []


@pytest.mark.parametrize("heard", [True, False])
def test_operation__a_write_that_nobody_answered_may_yet_take_effect(heard):
    """One that was refused each time cannot; the client is told which of the two it is."""
    core = operation(FakeTable(1, {5: 7}), deadline_ns=3 * SECOND, request=DELETE)
    events = []
    while core.deadline_ns() is not None:
        now_ns = core.deadline_ns()
        if heard and core.take_outgoing():
            answer(core, refused(Reason.ROW_UNAVAILABLE), now_ns=now_ns - 1)
        core.expire(now_ns)
        events += core.take_events()
    assert events[-1].uncertain != heard
    text = str(name_error(events[-1], DELETE))
    assert ("may yet take effect" in text) != heard


@pytest.mark.parametrize("silent", [False, True])
def test_operation__a_bucket_that_went_does_not_hide_an_earlier_attempt(silent):
    """The old leader may have ordered the write before the bucket was emptied and removed."""
    core = operation(FakeTable(1, {5: 7}), request=DELETE)
    if silent:
        core.table_changed(FakeTable(2, {5: 8}), MS)
    answer(core, refused(Reason.NO_SUCH_BUCKET), sender=800)
    event = core.take_events()[-1]
    assert event == NameFailed(Reason.NO_SUCH_BUCKET, "x", silent)
    assert isinstance(name_error(event, DELETE), Unavailable if silent else NotFound)


def test_operation__a_read_of_a_bucket_that_went_is_certain():
    core = operation(FakeTable(1, {5: 7}))
    core.table_changed(FakeTable(2, {5: 8}), MS)
    answer(core, refused(Reason.NO_SUCH_BUCKET), sender=800)
    event = core.take_events()[-1]
    assert isinstance(name_error(event, REQUEST), NotFound)


def test_operation__silence_is_asked_again_until_the_deadline():
    core = operation(FakeTable(1, {5: 7}), deadline_ns=3 * SECOND)
    sent, events = len(core.take_outgoing()), []
    while core.deadline_ns() is not None:
        core.expire(core.deadline_ns())
        sent += len(core.take_outgoing())
        events += core.take_events()
    assert 4 <= sent <= 20
    assert isinstance(events[-1], NameFailed) and "deadline" in events[-1].detail
    assert NeedTable(2) in events


@pytest.mark.parametrize("heard", [None, Reason.NO_LEASE])
def test_operation__a_body_is_sent_again_ever_more_rarely(heard):
    sent = {}
    for body_bytes in (1, 64 * KIB):
        core = operation(FakeTable(1, {5: 7}), 60 * SECOND, put(body_bytes))
        sent[body_bytes] = len(core.take_outgoing())
        while core.deadline_ns() is not None:
            now_ns = core.deadline_ns()
            core.expire(now_ns)
            outgoing = core.take_outgoing()
            sent[body_bytes] += len(outgoing)
            if heard is not None and outgoing:
                answer(core, refused(heard), now_ns=now_ns)
    assert sent[1] > 60, "a small one costs nothing"
    assert sent[64 * KIB] * 64 * KIB < 60 * 2 * PATIENT_BYTES + 12 * 64 * KIB


def test_operation__unknown_reason_and_other_ids_change_nothing():
    core = operation(FakeTable(1, {5: 7}))
    answer(core, refused(250))
    answer(core, RESULT, operation_id=b"another-attempt!")
    assert core.take_events() == []


# -- listing --------------------------------------------------------------------------


def listing(table, rows, limit=10):
    request = NameList(
        rows=rows,
        tenant="default",
        bucket="photos",
        bucket_incarnation=1,
        prefix="",
        after="",
        limit=limit,
        deleted=False,
    )
    return ListOperation(
        request=request,
        operation_base=b"operation-id",
        table=table,
        deadline_ns=30 * SECOND,
        rng=random.Random(1),
        counters=Counters(),
        now_ns=0,
    )


def entries(rows, names, more=False):
    made = tuple(ListEntry(name=name, summary=summary(name)) for name in names)
    return NameEntries(rows=rows, entries=made, more=more)


def test_listing__merges_in_byte_order_and_stops_at_the_smallest_end():
    core = listing(FakeTable(1, {1: 7, 2: 7, 3: 8}), (1, 2, 3))
    asked = {o.to: o for o in core.take_outgoing()}
    assert asked[700].message.rows == (1, 2) and asked[800].message.rows == (3,)
    answer(core, entries((1, 2), ["b", "d", "x"]), 700, asked[700].operation_id)
    answer(core, entries((3,), ["a", "c", "e"], more=True), 800, asked[800].operation_id)
    (done,) = core.take_events()
    assert isinstance(done, ListDone) and done.more
    assert [e.name for e in done.entries] == ["a", "b", "c", "d", "e"]


def test_listing__never_partial__missing_rows_are_asked_at_the_new_leader():
    core = listing(FakeTable(1, {1: 7, 2: 7}), (1, 2))
    (first,) = core.take_outgoing()
    answer(core, entries((1,), ["b"]), 700, first.operation_id)
    assert core.take_events() == []
    core.table_changed(FakeTable(2, {1: 7, 2: 9}), 2 * MS)
    (second,) = core.take_outgoing()
    assert second.to == 900 and second.message.rows == (2,)
    answer(core, entries((2,), ["a"]), 900, second.operation_id)
    (done,) = core.take_events()
    assert [e.name for e in done.entries] == ["a", "b"] and not done.more


def test_listing__an_answer_that_takes_longer_than_patience_is_taken():
    core = listing(FakeTable(1, {1: 7, 2: 8}), (1, 2))
    first = {o.to: o for o in core.take_outgoing()}
    answer(core, entries((2,), ["a"]), 800, first[800].operation_id)
    for _ in range(3):
        core.expire(core.deadline_ns())
        (again,) = core.take_outgoing()
        assert again == first[700]
    core.take_events()
    answer(core, entries((1,), ["b"]), 700, first[700].operation_id)
    (done,) = core.take_events()
    assert [e.name for e in done.entries] == ["a", "b"]


def test_listing__an_answer_for_other_rows_is_not_taken_for_this_one():
    core = listing(FakeTable(1, {1: 7, 2: 7}), (1, 2))
    (first,) = core.take_outgoing()
    answer(core, entries((1,), ["b"]), 700, first.operation_id)
    core.expire(core.deadline_ns())
    (second,) = core.take_outgoing()
    assert second.message.rows == (2,)
    core.take_events()
    answer(core, entries((1, 2), ["a", "b"]), 700, first.operation_id)
    assert core.take_events() == []
    answer(core, entries((2,), ["a"]), 700, second.operation_id)
    assert isinstance(core.take_events()[0], ListDone)


def test_listing__a_silent_row_fails_the_page():
    core = listing(FakeTable(1, {1: 7}), (1, 2))
    events = []
    while core.deadline_ns() is not None:
        core.expire(core.deadline_ns())
        core.take_outgoing()
        events += core.take_events()
    assert isinstance(events[-1], NameFailed)


# -- survey ---------------------------------------------------------------------------


def survey(targets, doubted=()):
    return Survey(
        requests={target: ChunkQuery(row=1, chid=b"c") for target in targets},
        generation=1,
        operation_id=OPERATION,
        deadline_ns=SECOND,
        rng=random.Random(1),
        now_ns=0,
        doubted=doubted,
    )


def test_survey__does_not_wait_long_for_those_that_are_down():
    core = survey([1, 2], doubted=[2])
    answer(core, RESULT, sender=1)
    assert core.deadline_ns() <= DOUBTED_NS
    while core.deadline_ns() is not None:
        assert core.deadline_ns() <= DOUBTED_NS
        core.expire(core.deadline_ns())
    assert core.take_events() == [SurveyDone({1: RESULT}, (2,))]


def test_survey__waits_for_the_others_and_hears_the_doubted():
    core = survey([1, 2], doubted=[2])
    core.expire(DOUBTED_NS)
    answer(core, RESULT, sender=2)
    assert core.deadline_ns() is not None
    answer(core, RESULT, sender=1)
    assert core.take_events() == [SurveyDone({2: RESULT, 1: RESULT}, ())]


def test_survey__gathers_answers_and_names_the_silent():
    core = survey([3, 1, 2])
    assert [o.to for o in core.take_outgoing()] == [1, 2, 3]
    answer(core, RESULT, sender=1)
    answer(core, refused(Reason.NO_LEASE), sender=2)
    answer(core, RESULT, sender=9)
    while core.deadline_ns() is not None:
        core.expire(core.deadline_ns())
        assert all(o.to == 3 for o in core.take_outgoing())
    (done,) = core.take_events()
    assert isinstance(done, SurveyDone)
    assert sorted(done.answers) == [1, 2] and done.silent == (3,)


def test_survey__busy_is_asked_again():
    core = survey([1])
    core.take_outgoing()
    answer(core, refused(Reason.BUSY), sender=1)
    core.expire(core.deadline_ns())
    assert [o.to for o in core.take_outgoing()] == [1]
    answer(core, RESULT, sender=1)
    assert core.take_events() == [SurveyDone({1: RESULT}, ())]
