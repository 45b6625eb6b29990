"""flexhash/state.py under random logs: deterministic, restorable, generations never go back."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from replicast.flexhash.commands import Code, decode_result, encode_command
from replicast.flexhash.state import ControlState
from replicast.flexhash.state_users import users_after
from replicast.wire import control_messages as cm
from replicast.wire.bucket_messages import BucketCreate, BucketDeleteBegin, BucketDeleteEnd
from replicast.wire.schema import Message
from replicast.wire.user_messages import (
    SealedSecret,
    UserCreate,
    UserInfo,
    UserRotate,
    UserStateSet,
)

PLACE = cm.Place(host="h", port=1)
POLICY = cm.PolicyInfo(row_count=8, group_size=4, copies=2, min_copies=1, algorithm=1)
SMALL = st.integers(0, 3)
FLAGS = st.booleans()
INIT = cm.ClusterInit(
    cluster_id=bytes(16), segment_id=1, recovery_epoch=0, expected_targets=1, policy=POLICY
)


def target(node: int, zone: int) -> cm.TargetJoin:
    return cm.TargetJoin(
        target=cm.TargetInfo(
            node_id=node,
            name="t",
            host=f"h{node}",
            zone=str(zone),
            udp=PLACE,
            peer=PLACE,
            control=PLACE,
            metrics=PLACE,
            public_key="",
            vdev_count=1,
        )
    )


def vdev(
    number: int, node: int, opens: int, opener: int, damaged: bool, uncounted: bool
) -> cm.VdevJoin:
    return cm.VdevJoin(
        vdev_id=bytes([number]) * 16,
        target=node,
        weight=1,
        open_count=opens,
        opener=opener,
        damaged=damaged,
        uncounted=uncounted,
    )


def change(by: int, index: int, opens: int, kind: int, seen: int, row: int) -> cm.RowsChange:
    return cm.RowsChange(
        by=by, by_open_count=opens, vdev=index, open_count=opens, kind=kind, seen=seen, rows=(row,)
    )


def state_of(index: int, opens: int, state: int) -> cm.VdevStates:
    return cm.VdevStates(changes=(cm.VdevChange(index=index, open_count=opens, state=state),))


def bucket(number: int) -> BucketCreate:
    return BucketCreate(
        tenant="d",
        bucket=str(number),
        spread=4,
        inline_max_bytes=1,
        created_ns=1,
        settings_floor=0,
        owner="",
        versioning=1,
        location="",
    )


def sealed(number: int) -> SealedSecret:
    return SealedSecret(key_epoch=1, nonce=bytes(12), data=bytes([number]) * 40)


def user(name: int, key: int, secret: int) -> UserCreate:
    return UserCreate(
        name=f"u{name}",
        key_id=f"key{key}",
        canonical_id="c",
        display_name="d",
        secret=sealed(secret),
    )


def rotate(name: int, seen: int, secret: int) -> UserRotate:
    return UserRotate(name=f"u{name}", seen=seen, secret=sealed(secret))


USER_COMMANDS: st.SearchStrategy[Message] = st.one_of(
    st.builds(user, SMALL, SMALL, SMALL),
    st.builds(rotate, SMALL, st.integers(0, 9), SMALL),
    st.builds(lambda n, s: UserStateSet(name=f"u{n}", state=s), SMALL, SMALL),
)
COMMANDS: st.SearchStrategy[Message] = st.one_of(
    st.builds(target, SMALL, SMALL),
    st.builds(vdev, SMALL, SMALL, SMALL, SMALL, FLAGS, FLAGS),
    st.builds(change, SMALL, SMALL, SMALL, SMALL, SMALL, st.integers(0, 9)),
    st.builds(state_of, SMALL, SMALL, st.integers(0, 5)),
    st.builds(bucket, SMALL),
    USER_COMMANDS,
    st.builds(lambda n: BucketDeleteBegin(tenant="d", bucket=str(n)), SMALL),
    st.builds(
        lambda n, i, r: BucketDeleteEnd(
            tenant="d", bucket=str(n), incarnation=i, marked=1, remove=r
        ),
        SMALL,
        SMALL,
        FLAGS,
    ),
    st.builds(lambda g: cm.Prepare(generation=g), st.integers(1, 6)),
    st.builds(lambda g, d: cm.Seal(generation=g, digest=bytes([d]) * 32), st.integers(1, 6), SMALL),
    st.builds(lambda g: cm.Activate(generation=g), st.integers(1, 6)),
    st.builds(lambda g: cm.Abort(generation=g), st.integers(1, 6)),
)
LOG = st.lists(st.tuples(COMMANDS, SMALL, st.integers(0, 9)), max_size=40)


@settings(max_examples=150)
@given(LOG, st.integers(0, 40))
def test_replicas_agree_and_generations_only_grow(
    log: list[tuple[Message, int, int]], restart_at: int
) -> None:
    one, two = ControlState(), ControlState()
    digests: dict[int, bytes] = {}
    for number, (message, client, sequence) in enumerate([(INIT, 0, 0), *log]):
        entry = encode_command(message, client, sequence)
        before = one.active
        if number == restart_at:
            restored = ControlState()
            restored.restore(two.snapshot())
            two = restored
        assert one.apply(entry) == two.apply(entry)
        assert one.snapshot() == two.snapshot()
        assert before <= one.active <= one.last_generation
        for generation, inputs in one.history.items():
            if inputs.digest:
                assert digests.setdefault(generation, inputs.digest) == inputs.digest


@settings(max_examples=200)
@given(st.binary(max_size=200), st.integers(90, 120))
def test_any_bytes_are_answered(body: bytes, kind: int) -> None:
    state = ControlState()
    for entry in (body, bytes([kind]) + bytes(16) + body):
        code, _ = decode_result(state.apply(entry))
        assert code in list(Code)


@settings(max_examples=150)
@given(st.lists(USER_COMMANDS, max_size=40), st.lists(st.integers(0, 40), max_size=6))
def test_users__who_hears_changes_at_any_time_ends_with_all_of_them(
    log: list[Message], told_at: list[int]
) -> None:
    """And at every moment names and key ids are unique, and revisions only grow."""
    state, heard, known = ControlState(), 0, dict[str, UserInfo]()
    for number, message in enumerate(log):
        before = state.users_version
        code, value = decode_result(state.apply(encode_command(message)))
        assert state.users_version == before + (state.users_version > before)
        if code == Code.OK:
            assert value in [u.revision for u in state.users.values()]
        assert sorted(state.user_of_key.values()) == sorted(state.users)
        assert [u.revision for u in state.users.values()] == sorted(
            {u.revision for u in state.users.values()}
        )
        if number in told_at:
            data = users_after(state.users, state.users_version, heard)
            known.update({u.name: u for u in data.users})
            heard = data.version
    data = users_after(state.users, state.users_version, heard)
    known.update({u.name: u for u in data.users})
    assert known == state.users and data.version == state.users_version and not data.more
