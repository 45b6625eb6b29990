"""flexhash/server.py and steward.py: who may ask what, who is told, who is fenced."""

from __future__ import annotations

from replicast.flexhash.commands import Code, EditKind, Role, encode_command
from replicast.flexhash.lease import LEASE_NS, LeaseReason, stretched
from replicast.flexhash.server import COMMAND_NS, READS_MAX, ControlServer, Sender, Standing
from replicast.flexhash.state import DOWN, STOPPING, UP, ControlState
from replicast.flexhash.steward import HAND_OVER_AGAIN_NS, HAND_OVER_NS, SLOW_PROOF_NS
from replicast.flexhash.tables import TableBook
from replicast.metrics import Counters
from replicast.sim.control import info, vdev_id, vdev_join
from replicast.units import MS, SECOND
from replicast.wire import control_messages as cm
from replicast.wire.bucket_messages import BucketCreate
from replicast.wire.codec import encode
from replicast.wire.reasons import Reason
from replicast.wire.schema import Message
from replicast.wire.user_messages import SealedSecret, UserCreate, UsersData, UsersGet

POLICY = cm.PolicyInfo(row_count=16, group_size=4, copies=2, min_copies=1, algorithm=1)
INIT = cm.ClusterInit(
    cluster_id=bytes(16), segment_id=1, recovery_epoch=0, expected_targets=3, policy=POLICY
)
LEADING = Standing(leading_term=1, leader=1, term=1)


class Voter:
    """One voter whose log commits at once; `leads` can be taken away."""

    def __init__(self) -> None:
        self.now_ns = 100 * SECOND
        self.state = ControlState()
        self.book = TableBook(self.state)
        self.counters = Counters()
        self.core = ControlServer(1, self.state, self.book, self.counters, INIT)
        self.standing = LEADING
        self.sequence = 0

    def turn(self, milliseconds: int = 60) -> None:
        self.now_ns += milliseconds * MS
        self.core.tick(self.now_ns, self.now_ns, self.standing)
        for token, entry in self.core.take_commands():
            self.core.command_done(token, self.state.apply(entry), self.now_ns, self.now_ns)
        while (job := self.book.wanted()) is not None:
            table = job.run()
            assert table is not None
            self.book.put(table)

    def ask(self, node: int, message: Message, role: Role = Role.TARGET) -> list[Message]:
        sender = Sender(bytes([node]), node, role)
        self.core.receive(sender, message, bytes(16), self.now_ns, self.now_ns)
        for token, entry in self.core.take_commands():
            self.core.command_done(token, self.state.apply(entry), self.now_ns, self.now_ns)
        return [r.message for r in self.core.take_replies() if r.peer == bytes([node])]

    def run(self, node: int, command: Message, role: Role = Role.TARGET) -> Code:
        self.sequence += 1
        submit = cm.CommandSubmit(
            client=node, sequence=self.sequence, kind=command.TYPE, body=encode(command)
        )
        (reply,) = self.ask(node, submit, role)
        assert isinstance(reply, cm.CommandResult)
        return Code(reply.code)

    def renew(
        self, node: int, sequence: int = 1, vouched: bool = True, adopted: int | None = None
    ) -> Message:
        (reply,) = self.ask(
            node,
            cm.LeaseRenew(
                session=1,
                sequence=sequence,
                adopted=self.state.active if adopted is None else adopted,
                settings_version=self.state.settings_version,
                stopping=False,
                may_lead=True,
                vouched=(vdev_id(node),) if vouched else (),
            ),
        )
        return reply


def target(node: int) -> cm.TargetJoin:
    return cm.TargetJoin(target=info(node))


def formed() -> Voter:
    voter = Voter()
    voter.turn()
    voter.turn()
    for node in (1, 2, 3):
        assert voter.run(node, target(node)) == Code.OK
        assert voter.run(node, vdev_join(node)) == Code.OK
    for _ in range(6):
        voter.turn()
    assert voter.state.active == 1
    return voter


def test_formation__nothing_is_prepared_before_all_are_there() -> None:
    voter = Voter()
    for _ in range(4):
        voter.turn()
    voter.run(1, target(1))
    voter.run(1, vdev_join(1))
    for _ in range(8):
        voter.turn()
    assert voter.state.prepared == voter.state.active == 0


def test_commands__only_by_role_and_only_about_oneself() -> None:
    voter = formed()
    assert voter.run(2, target(3)) == Code.FORBIDDEN
    assert voter.run(2, vdev_join(3, 2)) == Code.FORBIDDEN
    assert voter.run(2, cm.Activate(generation=2)) == Code.FORBIDDEN
    assert voter.run(2, cm.VdevStates(changes=())) == Code.FORBIDDEN
    rows = cm.RowsChange(
        by=3, by_open_count=1, vdev=2, open_count=1, kind=EditKind.ADD, seen=1, rows=(1,)
    )
    assert voter.run(2, rows) == Code.FORBIDDEN
    assert voter.run(3, rows) == Code.OK
    bucket = BucketCreate(
        tenant="d",
        bucket="b",
        spread=4,
        inline_max_bytes=1,
        created_ns=1,
        settings_floor=0,
        owner="",
        versioning=1,
        location="",
    )
    assert voter.run(2, bucket) == Code.FORBIDDEN
    assert voter.run(9, bucket, Role.GATEWAY) == Code.OK
    assert voter.run(9, vdev_join(9), Role.GATEWAY) == Code.FORBIDDEN


def test_requests__leases_and_keys_are_not_for_gateways() -> None:
    voter = formed()
    renew = cm.LeaseRenew(
        session=1,
        sequence=1,
        adopted=1,
        settings_version=0,
        stopping=False,
        may_lead=True,
        vouched=(),
    )
    for message in (renew, cm.KeysGet(have_count=0), cm.Redirect(leader=1)):
        (reply,) = voter.ask(9, message, Role.GATEWAY)
        assert isinstance(reply, cm.ControlRefused)
        assert reply.reason in (Reason.UNAUTHORIZED, Reason.BAD_REQUEST)


def test_follower__redirects() -> None:
    voter = formed()
    voter.standing = Standing(leading_term=None, leader=2, term=2)
    voter.turn()
    assert voter.renew(2) == cm.Redirect(leader=2)
    submit = cm.CommandSubmit(client=1, sequence=1, kind=91, body=b"")
    assert voter.ask(2, submit) == [cm.Redirect(leader=2)]


def settings_get(*, current: bool) -> cm.SettingsGet:
    return cm.SettingsGet(have_version=0, current=current)


def answers(voter: Voter, node: int) -> list[Message]:
    return [r.message for r in voter.core.take_replies() if r.peer == bytes([node])]


def test_current_settings__wait_for_a_proof_later_than_the_question() -> None:
    voter = formed()
    assert voter.ask(9, settings_get(current=True), Role.GATEWAY) == []
    voter.core.tick(voter.now_ns, voter.now_ns, LEADING)
    ((token, noop),) = voter.core.take_commands()
    assert answers(voter, 9) == [], "proposed, not committed"
    voter.now_ns += MS
    assert voter.ask(8, settings_get(current=True), Role.GATEWAY) == []
    voter.core.command_done(token, voter.state.apply(noop), voter.now_ns, voter.now_ns)
    voter.core.tick(voter.now_ns, voter.now_ns, LEADING)
    replies = voter.core.take_replies()
    assert [(r.peer, type(r.message)) for r in replies] == [(bytes([9]), cm.SettingsData)]
    assert len(voter.core.take_commands()) == 1, "for the question that came after it"


def test_current_settings__a_deposed_leader_sends_them_away() -> None:
    voter = formed()
    assert voter.ask(9, settings_get(current=True), Role.GATEWAY) == []
    follows = Standing(leader=2, term=2)
    voter.core.tick(voter.now_ns, voter.now_ns, follows)
    assert answers(voter, 9) == [cm.Redirect(leader=2)]
    voter.core.standing = follows
    assert voter.ask(9, settings_get(current=True), Role.GATEWAY) == [cm.Redirect(leader=2)]
    (any_voter,) = voter.ask(9, settings_get(current=False), Role.GATEWAY)
    assert isinstance(any_voter, cm.SettingsData)


def test_current_settings__a_leader_without_a_quorum_refuses_in_the_end() -> None:
    voter = formed()
    assert voter.ask(9, settings_get(current=True), Role.GATEWAY) == []
    voter.now_ns += COMMAND_NS
    voter.core.tick(voter.now_ns, voter.now_ns, LEADING)
    (refused,) = answers(voter, 9)
    assert isinstance(refused, cm.ControlRefused) and refused.reason == Reason.BUSY


def test_current_settings__questions_under_way_are_bounded() -> None:
    voter = formed()
    for _ in range(READS_MAX):
        assert voter.ask(9, settings_get(current=True), Role.GATEWAY) == []
    (refused,) = voter.ask(9, settings_get(current=True), Role.GATEWAY)
    assert isinstance(refused, cm.ControlRefused) and refused.reason == Reason.BUSY


def test_outcome_of_another_term__is_no_proof() -> None:
    voter = Voter()
    voter.core.tick(voter.now_ns, 0, LEADING)
    ((token, entry),) = voter.core.take_commands()
    voter.core.standing = Standing(leading_term=2, leader=1, term=2)
    voter.core.command_done(token, voter.state.apply(entry), voter.now_ns, 0)
    assert not voter.core.steward.started


def slow_proof(voter: Voter, took_ns: int) -> None:
    """One no-op that is committed so late."""
    voter.now_ns += SECOND
    voter.core.tick(voter.now_ns, voter.now_ns, voter.standing)
    commands = voter.core.take_commands()
    voter.now_ns += took_ns
    for token, entry in commands:
        voter.core.command_done(token, voter.state.apply(entry), voter.now_ns, voter.now_ns)


def test_slow_commits__a_leader_wants_another_to_lead() -> None:
    voter = formed()
    steward = voter.core.steward
    for took_ns in (SLOW_PROOF_NS, SLOW_PROOF_NS - 1, SLOW_PROOF_NS):
        slow_proof(voter, took_ns)
        assert not steward.take_hand_over(voter.now_ns), "one slow commit says nothing"
    slow_proof(voter, SLOW_PROOF_NS)
    assert steward.take_hand_over(voter.now_ns)
    assert not steward.take_hand_over(voter.now_ns), "asked for: told once"


def test_slow_commits__a_hand_over_is_asked_for_again_after_a_while() -> None:
    """In the same term soon: nobody took over. In a later one not before a minute has passed."""
    voter = formed()
    for pause_ns, standing in (
        (0, LEADING),
        (HAND_OVER_AGAIN_NS, LEADING),
        (HAND_OVER_NS, Standing(leading_term=3, leader=1, term=3)),
    ):
        voter.standing, asked_ns = standing, voter.now_ns
        while True:
            slow_proof(voter, SLOW_PROOF_NS)
            if voter.core.steward.take_hand_over(voter.now_ns):
                break
        assert 0 <= voter.now_ns - asked_ns - pause_ns <= 3 * (SECOND + SLOW_PROOF_NS)


def test_new_leader__renews_nobody_who_lags_before_its_first_look_at_the_state() -> None:
    voter = formed()
    assert isinstance(voter.renew(2), cm.LeaseGrant)
    voter.standing = Standing(leading_term=2, leader=1, term=2)
    voter.turn()  # the first no-op of the term is committed, and nothing else was looked at
    assert voter.core.steward.started
    refused = voter.renew(2, sequence=2, adopted=0)
    assert isinstance(refused, cm.LeaseRefused) and refused.reason == LeaseReason.ADOPT_FIRST


def test_watcher__is_told_of_changes_once() -> None:
    voter = formed()
    (notice,) = voter.ask(9, cm.Watch(active=0, settings_version=0), Role.GATEWAY)
    assert isinstance(notice, cm.Notice) and notice.active == 1
    voter.turn()
    voter.core.take_replies()
    voter.run(8, cm.SettingSet(setting=cm.Setting(key="a", value="b")), Role.ADMIN)
    voter.turn()
    (push,) = [r for r in voter.core.take_replies() if r.peer == bytes([9])]
    assert isinstance(push.message, cm.Notice)
    assert push.message.settings_version == 1
    voter.turn()
    assert not voter.core.take_replies()


def test_another_digest__fences_the_target() -> None:
    voter = formed()
    assert isinstance(voter.renew(2), cm.LeaseGrant)
    voter.ask(2, cm.PrepareAck(generation=1, digest=b"x" * 32))
    refused = voter.renew(2, 2)
    assert isinstance(refused, cm.LeaseRefused) and refused.reason == LeaseReason.FENCED
    digest = voter.state.history[1].digest
    voter.ask(2, cm.PrepareAck(generation=1, digest=digest))
    assert isinstance(voter.renew(2, 3), cm.LeaseGrant)


def test_vdev_no_longer_vouched_for__is_down_at_once_and_up_again() -> None:
    voter = formed()
    voter.renew(2, 1)
    voter.renew(2, 2, vouched=False)
    voter.turn(100)
    assert voter.state.vdevs[2].state == DOWN
    voter.renew(2, 3)
    voter.turn(100)
    assert voter.state.vdevs[2].state == UP


def stopping(node: int, state: int = STOPPING) -> cm.VdevStates:
    return cm.VdevStates(changes=(cm.VdevChange(index=node, open_count=1, state=state),))


def test_stopping_target__says_so_of_its_own_vdevs_only() -> None:
    voter = formed()
    assert voter.run(2, stopping(3)) == Code.FORBIDDEN
    assert voter.run(2, stopping(9)) == Code.FORBIDDEN
    assert voter.run(2, stopping(2, DOWN)) == Code.FORBIDDEN
    assert voter.run(2, stopping(2), Role.GATEWAY) == Code.FORBIDDEN
    assert voter.run(2, stopping(2)) == Code.OK
    assert [v.state for v in voter.state.vdevs.values()] == [UP, STOPPING, UP]


def test_stopping_target__keeps_its_lease_and_is_down_once_it_gave_it_back() -> None:
    voter = formed()
    for node in (1, 2, 3):
        assert isinstance(voter.renew(node), cm.LeaseGrant)
    assert voter.run(2, stopping(2)) == Code.OK
    for _ in range(8):
        voter.turn()
        if voter.state.prepared:
            digest = voter.state.history[2].digest
            for node in (1, 2, 3):
                voter.ask(node, cm.PrepareAck(generation=2, digest=digest))
    assert voter.state.active == 2 and voter.state.vdevs[2].state == STOPPING
    assert voter.book.tables[2].row_leader(0) != 2
    assert isinstance(voter.renew(2, sequence=2), cm.LeaseGrant)
    back = cm.LeaseRenew(
        session=1, sequence=3, adopted=2, settings_version=0, stopping=True, may_lead=True,
        vouched=(),
    )  # fmt: skip
    voter.ask(2, back)
    for _ in range(4):
        voter.turn()
    assert voter.state.vdevs[2].state == DOWN


def test_silent_target__is_down_only_after_its_lease_surely_ended() -> None:
    voter = formed()
    for node in (1, 2, 3):
        voter.renew(node)
    end_ns = voter.core.steward.granter.records[3].lease_until_ns
    sequence = 1
    while voter.now_ns + 500 * MS < end_ns:
        voter.turn(500)
        sequence += 1
        voter.renew(1, sequence)
        voter.renew(2, sequence)
        assert voter.state.vdevs[3].state == UP
    voter.turn(2000)
    assert voter.state.vdevs[3].state == DOWN
    assert voter.state.vdevs[1].state == UP


def test_freeze__nobody_is_declared_down() -> None:
    voter = formed()
    now_ns = voter.now_ns
    freeze = cm.Freeze(until_wall_ns=now_ns + 60 * SECOND, now_wall_ns=now_ns)
    assert voter.run(8, freeze, Role.ADMIN) == Code.OK
    granted = voter.renew(1)
    assert isinstance(granted, cm.LeaseGrant) and granted.duration_ns == 60 * SECOND
    for _ in range(8):
        voter.turn(2000)
    assert stretched(LEASE_NS) < 16 * SECOND
    assert voter.state.vdevs[3].state == UP


def test_unknown_entries__change_nothing_at_the_server() -> None:
    voter = formed()
    before = voter.state.snapshot()
    for kind, body in ((91, b""), (7, b""), (120, b"\xff" * 90)):
        submit = cm.CommandSubmit(client=1, sequence=1, kind=kind, body=body)
        (reply,) = voter.ask(2, submit)
        assert isinstance(reply, cm.ControlRefused)
    assert voter.state.snapshot() == before
    assert voter.state.apply(encode_command(INIT)) is not None


# -- users ------------------------------------------------------------------------------


def user_create(name: str) -> UserCreate:
    secret = SealedSecret(key_epoch=1, nonce=bytes(12), data=bytes(56))
    return UserCreate(
        name=name, key_id=f"KEY{name}", canonical_id="c", display_name="d", secret=secret
    )


def test_users__are_made_by_administrators_and_read_by_gateways_too_but_not_by_targets() -> None:
    voter = formed()
    for role in (Role.TARGET, Role.GATEWAY, Role.VOTER):
        assert voter.run(9, user_create("ann"), role) == Code.FORBIDDEN
    assert voter.run(9, user_create("ann"), Role.ADMIN) == Code.OK
    for role in (Role.GATEWAY, Role.ADMIN):
        (data,) = voter.ask(9, UsersGet(after=0, current=False), role)
        assert isinstance(data, UsersData)
        assert [user.name for user in data.users] == ["ann"] and data.version == 1
    for role in (Role.TARGET, Role.VOTER, Role.REVOKED):
        for current in (False, True):
            (refused,) = voter.ask(9, UsersGet(after=0, current=current), role)
            assert isinstance(refused, cm.ControlRefused)
            assert refused.reason == Reason.UNAUTHORIZED


def test_users__a_change_is_pushed_to_watchers() -> None:
    voter = formed()
    voter.ask(9, cm.Watch(active=0, settings_version=0), Role.GATEWAY)
    assert voter.run(8, user_create("ann"), Role.ADMIN) == Code.OK
    voter.core.tick(voter.now_ns, voter.now_ns, voter.standing)
    pushed = [r.message for r in voter.core.take_replies() if r.peer == bytes([9])]
    assert [m.users_version for m in pushed if isinstance(m, cm.Notice)] == [1]


def test_users__what_holds_now_is_told_after_a_proof_only() -> None:
    voter = formed()
    assert voter.run(8, user_create("ann"), Role.ADMIN) == Code.OK
    ask = UsersGet(after=0, current=True)
    sender = Sender(bytes([9]), 9, Role.ADMIN)
    voter.core.receive(sender, ask, bytes(16), voter.now_ns, voter.now_ns)
    assert voter.core.take_replies() == []
    voter.turn()
    voter.turn()
    replies = [r.message for r in voter.core.take_replies() if r.peer == bytes([9])]
    assert [len(m.users) for m in replies if isinstance(m, UsersData)] == [1]
