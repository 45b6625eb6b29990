"""flexhash/state.py, commands.py, snapshot.py: the replicated state machine."""

from __future__ import annotations

from dataclasses import replace

import pytest

from replicast.flexhash.commands import (
    ALLOWED,
    BucketEncryption,
    BucketState,
    Code,
    Command,
    EditKind,
    Role,
    decode_result,
    encode_command,
)
from replicast.flexhash.state import DOWN, DRAINING, OUT, STOPPING, UP, ControlState
from replicast.flexhash.versioning import Versioning
from replicast.sim.control import info, vdev_join
from replicast.wire import control_messages as cm
from replicast.wire.bucket_messages import (
    BucketCreate,
    BucketDeleteBegin,
    BucketDeleteEnd,
    BucketEncryptionSet,
    BucketVersioning,
)
from replicast.wire.codec import WireError
from replicast.wire.schema import Message

POLICY = cm.PolicyInfo(row_count=64, group_size=8, copies=3, min_copies=2, algorithm=1)


def init(targets: int = 2) -> cm.ClusterInit:
    return cm.ClusterInit(
        cluster_id=b"c" * 16,
        segment_id=1,
        recovery_epoch=0,
        expected_targets=targets,
        policy=POLICY,
    )


def target(node: int, key: str = "", vdevs: int = 1) -> cm.TargetJoin:
    return cm.TargetJoin(target=replace(info(node), public_key=key, vdev_count=vdevs))


def bucket(name: str, spread: int = 8, settings_floor: int = 0) -> BucketCreate:
    return BucketCreate(
        tenant="default",
        bucket=name,
        spread=spread,
        inline_max_bytes=1,
        created_ns=1,
        settings_floor=settings_floor,
        owner="",
        versioning=1,
        location="",
    )


def add(row: int, index: int = 2, opens: int = 1, by_opens: int = 1) -> cm.RowsChange:
    return cm.RowsChange(
        by=1,
        by_open_count=by_opens,
        vdev=index,
        open_count=opens,
        kind=EditKind.ADD,
        seen=1,
        rows=(row,),
    )


def do(state: ControlState, message: Message, client: int = 0, sequence: int = 0) -> Code:
    return decode_result(state.apply(encode_command(message, client, sequence)))[0]


def run(state: ControlState, message: Message) -> tuple[Code, int]:
    return decode_result(state.apply(encode_command(message)))


def formed() -> ControlState:
    """Two targets with one VDEV each, generation 1 active."""
    state = ControlState()
    for message in (init(), target(1), target(2), vdev_join(1), vdev_join(2)):
        assert do(state, message) == Code.OK
    generation(state)
    return state


def generation(state: ControlState) -> int:
    number = state.next_generation
    assert do(state, cm.Prepare(generation=number)) == Code.OK
    assert do(state, cm.Seal(generation=number, digest=b"d" * 32)) == Code.OK
    assert do(state, cm.Activate(generation=number)) == Code.OK
    return number


def test_apply__bytes_that_are_no_command_change_nothing() -> None:
    state = formed()
    before = state.snapshot()
    entries = (b"", b"\xff" * 40, encode_command(bucket("b"))[:-1], b"\x14" + bytes(60))
    for entry in (*entries, encode_command(bucket("x")) + b"0"):
        assert decode_result(state.apply(entry))[0] == Code.BAD_COMMAND
    assert state.snapshot() == before


def test_run__a_retried_command_takes_effect_once() -> None:
    state = formed()
    assert do(state, bucket("a"), 7, 1) == Code.OK
    assert do(state, bucket("a"), 7, 1) == Code.OK  # the first answer, not EXISTS
    assert do(state, bucket("b"), 7, 2) == Code.OK
    assert do(state, bucket("a"), 7, 1) == Code.OLD_SEQUENCE
    assert do(state, bucket("a"), 8, 1) == Code.EXISTS


def test_cluster_init__once_and_only_a_possible_policy() -> None:
    state = ControlState()
    bad = cm.PolicyInfo(row_count=63, group_size=8, copies=3, min_copies=2, algorithm=1)
    wrong = cm.ClusterInit(
        cluster_id=bytes(16), segment_id=1, recovery_epoch=0, expected_targets=1, policy=bad
    )
    assert do(state, wrong) == Code.BAD_COMMAND
    assert do(state, init()) == Code.OK
    assert do(state, init()) == Code.OK  # each voter that comes to lead may propose it
    assert do(state, wrong) == Code.EXISTS


def test_prepare__waits_for_all_expected_vdevs() -> None:
    state = ControlState()
    do(state, init())
    do(state, target(1))
    do(state, target(2, vdevs=2))
    do(state, vdev_join(1))
    do(state, vdev_join(2))
    assert do(state, cm.Prepare(generation=state.next_generation)) == Code.NOT_FORMED
    do(state, replace(vdev_join(2), vdev_id=b"z" * 16))
    assert do(state, cm.Prepare(generation=state.next_generation)) == Code.OK


def test_generations__count_up_and_are_used_once() -> None:
    state = formed()
    assert state.active == 1 and not state.pending
    assert do(state, cm.Prepare(generation=2)) == Code.CONFLICT  # nothing to do
    do(state, vdev_join(1, 2))
    assert do(state, cm.Prepare(generation=3)) == Code.CONFLICT
    assert do(state, cm.Prepare(generation=2)) == Code.OK
    assert do(state, cm.Prepare(generation=3)) == Code.CONFLICT  # one at a time
    assert do(state, cm.Activate(generation=2)) == Code.CONFLICT  # not sealed
    assert do(state, cm.Seal(generation=2, digest=b"a" * 32)) == Code.OK
    assert do(state, cm.Seal(generation=2, digest=b"b" * 32)) == Code.CONFLICT
    assert do(state, cm.Abort(generation=2)) == Code.OK
    assert state.active == 1 and state.pending and state.next_generation == 3
    assert generation(state) == 3


def test_recovery_epoch__is_the_high_part() -> None:
    state = ControlState()
    message = cm.ClusterInit(
        cluster_id=bytes(16), segment_id=1, recovery_epoch=2, expected_targets=1, policy=POLICY
    )
    do(state, message)
    assert state.next_generation == (2 << 48) + 1


def test_abort__keeps_the_row_changes_for_the_next() -> None:
    state = formed()
    assert do(state, add(3)) == Code.OK
    do(state, cm.Prepare(generation=2))
    assert not state.edits
    do(state, cm.Abort(generation=2))
    assert [e.row for e in state.edits] == [3]


def test_vdev_join__value_is_the_generation_that_knows() -> None:
    state = formed()
    first = decode_result(state.apply(encode_command(vdev_join(1, 2))))
    assert first == (Code.OK, 2)
    assert decode_result(state.apply(encode_command(vdev_join(1, 2)))) == (Code.OK, 2)
    assert generation(state) == 2
    assert decode_result(state.apply(encode_command(vdev_join(1, 2)))) == (Code.OK, 2)
    assert not state.pending


@pytest.mark.parametrize(
    "join",
    [
        vdev_join(2, 1, opener=99),
        replace(vdev_join(2, 0, opener=99), uncounted=True),
        replace(vdev_join(2, 5), damaged=True),
        replace(vdev_join(2, 1, opener=99), damaged=True, uncounted=True),
    ],
    ids=["rolled back", "rolled back, not counted", "damaged", "damaged, not counted"],
)
def test_vdev_join__lost_ones_leave_every_set(join: cm.VdevJoin) -> None:
    state = formed()
    assert do(state, add(3, index=2)) == Code.OK
    assert do(state, join) == Code.OK
    assert list(state.damaged) == [2] and not state.edits
    do(state, cm.Prepare(generation=2))
    assert state.history[2].damaged == (2,) and not state.damaged
    do(state, cm.Abort(generation=2))
    assert list(state.damaged) == [2]  # not forgotten with the number


def test_vdev_join__known_higher_open_stays_in_sync() -> None:
    state = formed()
    change = cm.VdevChange(index=2, open_count=1, state=DOWN)
    do(state, cm.VdevStates(changes=(change,)))
    assert do(state, vdev_join(2, 4)) == Code.OK
    assert state.vdevs[2].state == UP and not state.damaged


def test_vdev_join__of_an_ended_process_changes_nothing() -> None:
    """It lay in a paused voter's queue while its target was started again."""
    state = formed()
    assert do(state, vdev_join(2, 5, opener=50)) == Code.OK
    known = state.vdevs[2]
    assert do(state, vdev_join(2, 4, opener=40)) == Code.CONFLICT
    assert state.vdevs[2] == known and not state.damaged


def test_vdev_join__in_another_target_is_judged_by_its_open_count() -> None:
    state = formed()
    assert do(state, vdev_join(2, 5, opener=50)) == Code.OK
    assert do(state, replace(vdev_join(2, 6, opener=40), target=1)) == Code.OK
    assert state.vdevs[2].target == 1 and not state.damaged


def test_vdev_join__one_that_takes_no_writes_stays_in_sync_and_is_down() -> None:
    state = formed()
    assert do(state, add(3, index=2)) == Code.OK
    reopened = replace(vdev_join(2, 1, opener=99), uncounted=True)
    assert do(state, reopened) == Code.OK
    assert state.vdevs[2].state == DOWN and not state.damaged and state.edits
    assert do(state, vdev_join(2, 2, opener=100)) == Code.OK  # its disk is well again
    assert state.vdevs[2].state == UP and not state.damaged


def test_vdev_join__a_new_one_that_takes_no_writes_is_down() -> None:
    state = formed()
    join = replace(vdev_join(2, 0), vdev_id=b"n" * 16, opener=7, uncounted=True)
    assert do(state, join) == Code.OK
    assert state.vdevs[state.index_of[b"n" * 16]].state == DOWN


def test_vdev_states__only_of_the_same_open() -> None:
    state = formed()
    down = cm.VdevStates(changes=(cm.VdevChange(index=2, open_count=1, state=DOWN),))
    do(state, vdev_join(2, 2))
    assert do(state, down) == Code.CONFLICT
    assert state.vdevs[2].state == UP
    for goal in (DRAINING, OUT):
        step = cm.VdevChange(index=2, open_count=2, state=goal)
        assert do(state, cm.VdevStates(changes=(step,))) == Code.OK
    back = cm.VdevStates(changes=(cm.VdevChange(index=2, open_count=2, state=UP),))
    assert do(state, back) == Code.CONFLICT  # out is for good
    assert do(state, vdev_join(2, 3)) == Code.OK
    assert list(state.damaged) == [2]  # its loss was declared


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (add(3), Code.OK),
        (add(64), Code.BAD_COMMAND),
        (add(3, index=9), Code.NO_SUCH),
        (add(3, opens=2), Code.CONFLICT),
        (add(3, by_opens=2), Code.CONFLICT),
    ],
)
def test_rows_change__fenced_by_open_counts(change: cm.RowsChange, code: Code) -> None:
    assert do(formed(), change) == code


def test_rows_change__a_leader_that_reopened_has_forgotten_it() -> None:
    state = formed()
    do(state, add(3))
    do(state, vdev_join(1, 2))
    assert not state.edits


def test_buckets__two_step_delete_and_incarnations() -> None:
    state = formed()
    assert do(state, bucket("b", spread=3)) == Code.BAD_COMMAND
    assert do(state, bucket("b", spread=4096)) == Code.OK
    assert state.buckets["default", "b"].spread == 64  # never more than rows
    key = {"tenant": "default", "bucket": "b"}
    end = BucketDeleteEnd(**key, incarnation=1, marked=2, remove=True)
    assert do(state, end) == Code.CONFLICT
    assert do(state, BucketDeleteBegin(**key)) == Code.OK
    assert state.buckets["default", "b"].state == BucketState.DELETING
    assert do(state, bucket("b")) == Code.EXISTS
    assert run(state, end) == (Code.OK, 3)
    assert do(state, bucket("b", settings_floor=3)) == Code.OK
    assert state.buckets["default", "b"].incarnation == state.settings_version == 4
    assert do(state, end) == Code.NO_SUCH  # an end of the earlier life
    assert do(state, BucketDeleteBegin(tenant="x", bucket="b")) == Code.NO_SUCH


def test_buckets__belong_to_who_made_them() -> None:
    state, restored = formed(), ControlState()
    assert do(state, replace(bucket("b"), owner="c0ffee")) == Code.OK
    assert do(state, replace(bucket("c"), owner='c"')) == Code.BAD_COMMAND
    assert do(state, replace(bucket("b"), owner="other")) == Code.EXISTS
    restored.restore(state.snapshot())
    assert restored.buckets["default", "b"].owner == "c0ffee"


def test_buckets__remember_the_location_they_were_made_with() -> None:
    state, restored = formed(), ControlState()
    assert do(state, replace(bucket("b"), location="eu-1")) == Code.OK
    assert do(state, replace(bucket("c"), location="eu 1")) == Code.BAD_COMMAND
    restored.restore(state.snapshot())
    assert restored.buckets["default", "b"].location == "eu-1"


def test_buckets__encrypted_from_some_time_on() -> None:
    state, restored = formed(), ControlState()
    assert do(state, bucket("b")) == Code.OK
    assert state.buckets["default", "b"].encryption == BucketEncryption.NONE
    ask = BucketEncryptionSet(tenant="default", bucket="b", incarnation=1, encryption=1)
    assert run(state, ask) == (Code.OK, 2)
    assert run(state, ask) == (Code.OK, 2), "nothing new"
    restored.restore(state.snapshot())
    assert restored.buckets["default", "b"].encryption == BucketEncryption.SERVER
    assert do(state, replace(ask, encryption=2)) == Code.BAD_COMMAND
    assert run(state, replace(ask, encryption=BucketEncryption.NONE)) == (Code.OK, 3)
    assert do(state, replace(ask, incarnation=2)) == Code.NO_SUCH
    assert do(state, replace(ask, bucket="c")) == Code.NO_SUCH


def test_buckets__versions_kept_from_some_time_on_and_no_way_back() -> None:
    state = formed()
    for versioning in (Versioning.SUSPENDED, 9):
        assert do(state, replace(bucket("b"), versioning=versioning)) == Code.BAD_COMMAND
    assert do(state, replace(bucket("b"), versioning=Versioning.OFF)) == Code.OK
    ask = BucketVersioning(tenant="default", bucket="b", incarnation=1, versioning=1)
    assert run(state, ask) == (Code.OK, 2)
    assert run(state, ask) == (Code.OK, 2), "nothing new"
    for versioning in (Versioning.OFF, 9):
        assert do(state, replace(ask, versioning=versioning)) == Code.BAD_COMMAND
    assert run(state, replace(ask, versioning=Versioning.SUSPENDED)) == (Code.OK, 3)
    assert state.buckets["default", "b"].versioning == Versioning.SUSPENDED
    assert do(state, replace(ask, incarnation=2)) == Code.NO_SUCH
    assert do(state, replace(ask, bucket="c")) == Code.NO_SUCH


def test_buckets__none_is_made_before_a_removal_is_adopted() -> None:
    """A row leader that knows the old one would say that the new one's objects are not there."""
    state = formed()
    do(state, bucket("b"))
    begin = BucketDeleteBegin(tenant="default", bucket="b")
    _, marked = run(state, begin)
    end = {"tenant": "default", "bucket": "b", "incarnation": 1}
    do(state, BucketDeleteEnd(**end, marked=marked, remove=False))
    assert do(state, bucket("c")) == Code.OK  # nothing was removed
    _, marked = run(state, begin)
    _, removed = run(state, BucketDeleteEnd(**end, marked=marked, remove=True))
    restored = ControlState()
    restored.restore(state.snapshot())
    for known in (state, restored):
        assert run(known, bucket("b", settings_floor=removed - 1)) == (Code.CONFLICT, removed)
        assert do(known, bucket("b", settings_floor=removed)) == Code.OK


def test_buckets__a_deletion_that_was_overtaken_removes_nothing() -> None:
    """It found the bucket empty; then another one unmarked it, a name was put, and it was marked
    again."""
    state = formed()
    do(state, bucket("b"))
    begin = BucketDeleteBegin(tenant="default", bucket="b")
    _, first = run(state, begin)
    assert run(state, begin) == (Code.OK, first)
    slow = BucketDeleteEnd(tenant="default", bucket="b", incarnation=1, marked=first, remove=True)
    assert do(state, replace(slow, remove=False)) == Code.OK
    code, second = run(state, begin)
    assert code == Code.OK and second != first
    assert do(state, slow) == Code.CONFLICT
    assert do(state, replace(slow, marked=second)) == Code.OK


def test_tokens__one_use_by_one_role() -> None:
    state = formed()
    key = cm.KeyInfo(public_key="k" * 40, node_id=5, role=Role.GATEWAY, name="g")
    use = cm.TokenUse(token_hash=b"t" * 32, key=key)
    assert do(state, use) == Code.NO_SUCH
    assert do(state, cm.TokenAdd(token_hash=b"t" * 32, role=Role.TARGET)) == Code.OK
    assert do(state, use) == Code.NO_SUCH  # bound to another role
    assert do(state, cm.TokenAdd(token_hash=b"u" * 32, role=Role.GATEWAY)) == Code.OK
    use = cm.TokenUse(token_hash=b"u" * 32, key=key)
    assert do(state, use) == Code.OK
    assert do(state, use) == Code.CONFLICT
    assert do(state, cm.KeyRevoke(public_key="k" * 40)) == Code.OK
    assert state.keys["k" * 40].role == Role.REVOKED


def test_freeze__bounded_and_remembered_when_ended_early() -> None:
    state = formed()
    long = cm.Freeze(until_wall_ns=10**15, now_wall_ns=1)
    assert do(state, long) == Code.BAD_COMMAND
    assert do(state, cm.Freeze(until_wall_ns=200, now_wall_ns=100)) == Code.OK
    assert do(state, cm.Freeze(until_wall_ns=0, now_wall_ns=150)) == Code.OK
    assert (state.freeze_until_wall_ns, state.lease_bound_wall_ns) == (0, 200)


def test_snapshot__restores_everything() -> None:
    state = formed()
    messages = (bucket("b"), add(3), vdev_join(2, 1, opener=9), target(3, key="k" * 40))
    for number, message in enumerate(messages):
        do(state, message, 5, number + 1)
    do(state, cm.TokenAdd(token_hash=b"t" * 32, role=Role.TARGET))
    do(state, cm.SettingSet(setting=cm.Setting(key="a", value="b")))
    other = ControlState()
    other.restore(state.snapshot())
    assert vars(other) == vars(state)
    assert other.snapshot() == state.snapshot()
    with pytest.raises(WireError):
        other.restore(state.snapshot()[:-1])


def test_allowed__nobody_sends_the_stewards_commands() -> None:
    for role, commands in ALLOWED.items():
        assert cm.Activate not in commands, role
        assert cm.Noop not in commands
    assert cm.RowsChange not in ALLOWED[Role.GATEWAY]
    assert not ALLOWED[Role.REVOKED]


def test_remember__clients_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("replicast.flexhash.state.CLIENTS_MAX", 3)
    state = formed()
    for client in range(1, 9):
        state.run(Command(client, 1, bucket(f"b{client}")))
    assert list(state.clients) == [6, 7, 8]


def test_vdev_states__stopping_ends_with_down_or_the_next_open() -> None:
    state = formed()

    def change(goal: int) -> Code:
        step = cm.VdevChange(index=2, open_count=state.vdevs[2].open_count, state=goal)
        return do(state, cm.VdevStates(changes=(step,)))

    assert change(STOPPING) == Code.OK
    assert do(state, add(3)) == Code.OK  # under way when it was told to stop
    assert change(UP) == Code.CONFLICT
    assert change(DOWN) == Code.OK
    assert change(STOPPING) == Code.CONFLICT
    assert do(state, vdev_join(2, 2)) == Code.OK
    assert change(STOPPING) == Code.OK
    assert do(state, vdev_join(2, 3)) == Code.OK
    assert state.vdevs[2].state == UP and not state.damaged
