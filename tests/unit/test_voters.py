"""Replacing a voter, the cores: the command that ends an epoch, what is told of the next, its files."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path
from typing import Any, cast

import pytest

from replicast.cli.raft_command import chosen, complete, refusal, report_of, report_text
from replicast.errors import Conflict, InvalidRequest, Unauthorized, Unavailable
from replicast.flexhash.cluster_clock import ClusterClock
from replicast.flexhash.commands import ALLOWED, Code, Role, decode_result, encode_command
from replicast.flexhash.follow import COMMAND_NS, WATCH_NS, Follower
from replicast.flexhash.follow_events import LaterVoters
from replicast.flexhash.lease import LEASE_NS, LeaseGranter, Record
from replicast.flexhash.raft.beginning import LAST, begin, read_start
from replicast.flexhash.raft.journal import VOTE, Journal, Voter
from replicast.flexhash.raft.sealed import Damaged
from replicast.flexhash.raft.snapshot import Snapshots
from replicast.flexhash.state import ControlState
from replicast.flexhash.steward import Steward
from replicast.flexhash.succession import Succession
from replicast.flexhash.tables import TableBook
from replicast.flexhash.voter_channels import VoterChannels
from replicast.flexhash.voter_file import VOTERS_FILE, VoterFile, VoterFileError
from replicast.flexhash.voters import VoterEntry, digest_of, told, voter_set
from replicast.formation import Formation, Member, Parameters
from replicast.keys import Role as KeyRole
from replicast.memory_disk import MemoryDisk
from replicast.metrics import Counters
from replicast.sim.control import INIT, info, place, vdev_join
from replicast.units import SECOND
from replicast.wire import control_messages as cm
from replicast.wire.frame import NO_OPERATION
from replicast.wire.reasons import Reason
from replicast.wire.voter_messages import (
    START_PIECE_BYTES_MAX,
    ReplaceVoters,
    StartData,
    StartGet,
    VotersData,
    VotersGet,
)

CLUSTER = bytes(range(16))
FOLDER = Path("/member")


def voter(node: int) -> cm.VoterInfo:
    return cm.VoterInfo(
        node_id=node, name=f"t{node}", control=place(node), raft=place(node), public_key=""
    )


def replace(epoch: int, *nodes: int) -> ReplaceVoters:
    return ReplaceVoters(voter_epoch=epoch, voters=tuple(voter(n) for n in nodes))


def formed(epoch: int = 1) -> ControlState:
    state = ControlState(epoch)
    run(state, INIT)
    for node in range(1, 7):
        run(state, cm.TargetJoin(target=info(node)))
        run(state, vdev_join(node))
    return state


def run(state: ControlState, message: Any, client: int = 0, sequence: int = 0) -> tuple[Code, int]:
    return decode_result(state.apply(encode_command(message, client, sequence)))


# -- the command ------------------------------------------------------------------------


def test_end_of_an_epoch__nothing_behind_it_changes_anything() -> None:
    states = [formed(), formed()]
    for state in states:
        assert run(state, replace(1, 1, 2, 4), client=7, sequence=1) == (Code.OK, 2)
        assert state.ended and state.epoch == 2
    start = states[0].snapshot()
    assert states[1].snapshot() == start
    behind = (cm.Noop(term=9, number=1), cm.Prepare(generation=1), replace(2, 1, 2, 5), INIT)
    for command in behind:
        assert run(states[0], command, client=8, sequence=1)[0] == Code.ENDED
    assert states[0].snapshot() == start
    # Asked again, here or in the next epoch, the command has the result that it had.
    after = ControlState(2)
    after.restore(start)
    for state in (states[0], after):
        assert run(state, replace(1, 1, 2, 4), client=7, sequence=1) == (Code.OK, 2)
    assert not after.ended and run(after, cm.Noop(term=1, number=1))[0] == Code.OK
    assert run(after, replace(2, 1, 4, 5)) == (Code.OK, 3)


@pytest.mark.parametrize(
    ("command", "code"),
    [
        (replace(2, 1, 2, 4), Code.CONFLICT),
        (replace(1, 1, 2, 2), Code.EXISTS),
        (replace(1, 1, 2), Code.BAD_COMMAND),
        (replace(1), Code.BAD_COMMAND),
        (replace(1, 1, 2, 99), Code.NO_SUCH),
    ],
)
def test_end_of_an_epoch__is_refused(command: ReplaceVoters, code: Code) -> None:
    state = formed()
    before = state.snapshot()
    assert run(state, command)[0] == code
    assert state.snapshot() == before


def test_end_of_an_epoch__by_another_key_or_two_at_once_is_refused() -> None:
    state = formed()
    stranger = cm.VoterInfo(
        node_id=4, name="t4", control=place(4), raft=place(4), public_key="x" * 40
    )
    wrong = ReplaceVoters(voter_epoch=1, voters=(voter(1), voter(2), stranger))
    assert run(state, wrong) == (Code.BAD_COMMAND, 4)
    assert run(state, replace(1, 1, 2, 4))[0] == Code.OK
    after = ControlState(2)
    after.restore(state.snapshot())
    assert run(after, replace(2, 1, 5, 6))[0] == Code.BAD_COMMAND


def test_steward__what_is_behind_the_end_proves_nothing() -> None:
    state = formed()
    steward = Steward(state, TableBook(state), Counters())
    steward.tick(0, 0, 3)
    ((token, entry),) = steward.take_commands()
    run(state, replace(1, 1, 2, 4))
    steward.command_done(token, state.apply(entry), 1, 1, 3)
    assert not steward.started and steward.granter.proof_ns is None
    steward.tick(5 * SECOND, 0, 3)
    assert steward.take_commands() == []


# -- what is told -----------------------------------------------------------------------


def test_succession__tells_voters_and_start_to_those_who_may_ask() -> None:
    state = formed()
    succession = Succession(state)
    assert succession.answer(VotersGet(have_epoch=0), 9) == Reason.NOT_READY
    run(state, replace(1, 1, 2, 4))
    start = state.snapshot()
    answer = succession.answer(VotersGet(have_epoch=1), 9)
    assert isinstance(answer, VotersData)
    assert told(answer).node_ids == (1, 2, 4) and answer.start == digest_of(start)
    assert succession.answer(VotersGet(have_epoch=2), 9) == Reason.NOT_READY
    assert succession.answer(StartGet(voter_epoch=2, offset=0), 3) == Reason.UNAUTHORIZED
    assert succession.answer(StartGet(voter_epoch=3, offset=0), 4) == Reason.NOT_READY
    piece = succession.answer(StartGet(voter_epoch=2, offset=5), 4)
    assert isinstance(piece, StartData) and piece.total_bytes == len(start)
    assert piece.data == start[5 : 5 + START_PIECE_BYTES_MAX]
    # The same in the epoch itself, whatever has changed since.
    state.group_epoch = 2
    succession.began(start)
    run(state, cm.Noop(term=1, number=1))
    assert succession.answer(StartGet(voter_epoch=2, offset=5), 4) == piece


def test_succession__objects_to_who_is_not_up() -> None:
    state, granter, before = formed(), LeaseGranter(), (1, 2, 3)
    succession = Succession(state)

    def code(command: ReplaceVoters) -> Code | None:
        return succession.objection(command, before, granter, 0)

    assert code(replace(1, 1, 2, 4)) == Code.NOT_UP
    granter.records[4] = Record(LEASE_NS, LEASE_NS)
    assert code(replace(1, 1, 2, 4)) == Code.NOT_UP  # of an earlier leader, as far as is known
    granter.records[4].granted = True
    assert code(replace(1, 1, 2, 4)) is None
    assert code(replace(1, 1, 2, 3)) == code(replace(1, 1, 2, 2)) == Code.EXISTS
    assert code(replace(1, 1, 4, 5)) == Code.BAD_COMMAND
    assert code(replace(1, 1, 2, 99)) is None  # the log says that it is unknown
    assert code(replace(7, 1, 2, 5)) is None  # or that it is too late


# -- who hears of it --------------------------------------------------------------------


def notice(leader: int, epoch: int, active: int = 1) -> cm.Notice:
    return cm.Notice(
        leader=leader, age_ns=0, active=active, active_digest=bytes(32), prepared=0,
        prepared_digest=bytes(32), settings_version=0, floor=0, settings_floor=0, wall_ns=0,
        voter_epoch=epoch, users_version=0,
    )  # fmt: skip


def test_follower__hears_of_later_voters_and_believes_nobody_of_an_earlier_epoch() -> None:
    follower = Follower(1, (11, 12, 13), random.Random(1), Counters(), voter_epoch=1)
    follower.tick(WATCH_NS)
    follower.receive(1, notice(12, 2), NO_OPERATION, WATCH_NS)
    assert [e for e in follower.take_events() if isinstance(e, LaterVoters)] == [LaterVoters(2, 1)]
    token = follower.submit(INIT, 60 * SECOND)
    follower.tick(WATCH_NS + 1)
    follower.take_asks()
    follower.voters_replaced(2, (12, 13, 14))
    follower.tick(WATCH_NS + 2)
    asked = [(follower.voters[a.voter], type(a.message)) for a in follower.take_asks()]
    assert (12, cm.CommandSubmit) in asked, "again at once, of the leader, by its new number"
    assert (14, cm.Watch) in asked and (12, cm.Watch) not in asked
    follower.receive(1, notice(13, 1, active=9), NO_OPERATION, WATCH_NS + 3)
    assert follower._active == 1 and follower.voters[follower._leader] == 12
    follower.tick(WATCH_NS + 3 + COMMAND_NS)
    assert token == 1 and follower.age_ns(WATCH_NS) > 0


def test_cluster_clock__those_who_stay_are_heard_on() -> None:
    clock = ClusterClock(3)
    for number, wall_ns in enumerate((100, 200, 300)):
        clock.heard(number, 0, 0, wall_ns * SECOND)
    clock.renumber([1, 2, None])
    clock.heard(2, 0, 0, 250 * SECOND)
    assert {n: offset for n, (_, offset) in clock._heard.items()} == {
        0: 200 * SECOND,
        1: 300 * SECOND,
        2: 250 * SECOND,
    }


class FakeVoters(VoterChannels):
    """Voters that give what the test says, and nothing on a wire."""

    def __init__(self, starts: dict[int, bytes]) -> None:
        self.starts = starts
        self._channels: dict[int, Any] = {n: n for n in (1, 2, 3, 4)}

    async def _ask(self, channel: Any, message: Any, generation: int, timeout: float) -> Any:
        start = self.starts.get(channel)
        if start is None:
            return None
        return StartData(
            voter_epoch=2,
            offset=message.offset,
            total_bytes=len(start),
            data=start[message.offset : message.offset + 7],
        )


def test_fetch_start__other_bytes_than_announced_are_refused() -> None:
    start = b"what epoch two begins with"
    voters = voter_set(2, [VoterEntry(n, ("h", n), "") for n in (1, 2, 3)], digest_of(start))

    before = voter_set(1, [VoterEntry(n, ("h", n), "") for n in (1, 2, 4)])

    def fetch(starts: dict[int, bytes]) -> tuple[bytes | None, float]:
        counters = Counters()
        found = asyncio.run(FakeVoters(starts).fetch_start(voters, before, counters))
        return found, counters.get("control_refused", "digest_mismatch")

    assert fetch({3: start}) == (start, 0)
    assert fetch({4: start}) == (start, 0)  # the voter that is replaced
    assert fetch({1: b"something else", 2: start}) == (start, 1)
    assert fetch({1: b"", 3: start[:-1]}) == (None, 2)
    assert fetch({}) == (None, 0)


# -- files ------------------------------------------------------------------------------


def test_voter_file__is_kept_and_guarded() -> None:
    disk = MemoryDisk()
    file = VoterFile(disk, FOLDER, CLUSTER)
    assert file.load() is None
    voters = voter_set(
        3,
        [VoterEntry(n, ("::1", n), "k" * 40, ("10.0.0.1", n + 1), f"t{n}") for n in (2, 1)],
        digest_of(b"x"),
    )
    file.save(voters)
    disk.power_loss(None)
    assert file.load() == voters and voters.node_ids == (1, 2)
    with pytest.raises(VoterFileError, match="another cluster"):
        VoterFile(disk, FOLDER, bytes(16)).load()
    damaged = disk.open(FOLDER / VOTERS_FILE)
    damaged.write(0, [b"\xff["])
    with pytest.raises(VoterFileError, match="copy the file of another member"):
        file.load()


def test_beginning__power_may_go_at_any_operation() -> None:
    me, state = Voter(CLUSTER, 2, "v"), b"state" * 999
    for number in range(1000):
        disk = MemoryDisk()
        left = [number]

        def fault(operation: str, path: Path, left: list[int] = left) -> None:
            left[0] -= 1
            if left[0] < 0:
                raise OSError(5, "the power is gone")

        disk.fault = fault
        try:
            begin(disk, FOLDER / "raft-2", me, state, 1)
            done = True
        except OSError:
            done = False
        disk.fault = lambda operation, path: None
        disk.power_loss(random.Random(number))
        names = disk.list(FOLDER / "raft-2") if number else []
        assert VOTE in names or not done
        begin(disk, FOLDER / "raft-2", me, state, 2)
        assert read_start(disk, FOLDER / "raft-2") == state
        restored: list[bytes] = []
        journal = Journal.open(disk, FOLDER / "raft-2", me, 3)
        snapshots = Snapshots(disk, FOLDER / "raft-2", journal, bytes, restored.append)
        snapshots.open()
        snapshots.deserialize()
        assert restored == [state] and journal.entries[-1] == LAST and journal.last_index == 2
        assert journal.getVotedForNodeId() is None
        if done:
            break
    assert number > 10
    with pytest.raises(Damaged):
        read_start(disk, FOLDER)


# -- the command line -------------------------------------------------------------------


def member(node: int, role: KeyRole = KeyRole.TARGET) -> Member:
    name = f"t{node}" if role == KeyRole.TARGET else f"g{node}"
    addresses = dict.fromkeys(("control", "raft"), ("h", node)) if name[0] == "t" else {}
    return Member(
        node_id=node, role=role, name=name, host="h", zone="z", public_key="k", **addresses
    )


FORMATION = Formation(
    cluster_id=CLUSTER,
    segment_id=1,
    voter_epoch=1,
    parameters=Parameters(),
    voters=(1, 2, 3),
    members=(*(member(n) for n in (1, 2, 3, 4)), member(9, KeyRole.GATEWAY)),
)
VOTERS = voter_set(5, [VoterEntry(n, ("h", n), "k", label=f"t{n}") for n in (1, 2, 3)])


def test_chosen__names_that_cannot_be_meant_are_refused() -> None:
    after = chosen(FORMATION, VOTERS, "t2", "t4")
    assert (after.epoch, after.node_ids) == (6, (1, 3, 4))
    assert all(v.raft == ("h", v.node_id) for v in after.voters)
    for old, new, why in (
        ("t7", "t4", "no target t7"),
        ("t1", "g9", "no target g9"),
        ("t4", "t4", "t4 is no voter"),
        ("t1", "t3", "t3 is a voter already"),
    ):
        with pytest.raises(InvalidRequest, match=why):
            chosen(FORMATION, VOTERS, old, new)


def test_refusal__each_code_has_its_error() -> None:
    assert refusal(Code.OK, "t4") is None
    kinds = {Code.NOT_UP: Unavailable, Code.CONFLICT: Conflict, Code.EXISTS: Conflict}
    kinds |= {Code.FORBIDDEN: Unauthorized, Code.NO_SUCH: InvalidRequest}
    kinds |= {Code.BAD_COMMAND: InvalidRequest}
    for code, kind in kinds.items():
        error = refusal(code, "t4")
        assert isinstance(error, kind) and error.reason == code.name


def status(node: int, leader: int = 1, epoch: int = 5, quorum: bool = True) -> cm.StatusData:
    voters = tuple(cm.VoterStatus(node_id=n, name="", connected=True) for n in (1, 2, 3))
    return cast(
        cm.StatusData,
        type("Status", (), {
            "node_id": node, "leader": leader, "voter_epoch": epoch, "term": 3,
            "has_quorum": quorum, "voters": voters,
        }),
    )  # fmt: skip


def test_report__says_who_is_missing() -> None:
    whole = report_of(VOTERS, {n: status(n) for n in (1, 2, 3)})
    assert complete(whole) and whole["leader"] == "t1"
    assert [v["state"] for v in whole["voters"]] == ["leader", "follower", "follower"]
    some = report_of(VOTERS, {1: status(1), 2: status(2, leader=9, epoch=4), 3: None})
    assert [v["state"] for v in some["voters"]] == ["leader", "behind", "missing"]
    assert some["quorum"] and not complete(some)
    assert "MISSING" in report_text(some) and "voter epoch 5" in report_text(some)
    none = report_of(VOTERS, {1: None, 2: None, 3: None})
    assert none["leader"] is None and not none["quorum"] and "NO QUORUM" in report_text(none)


def test_roles__only_administrators_replace_voters() -> None:
    allowed = {role for role, commands in ALLOWED.items() if ReplaceVoters in commands}
    assert allowed == {Role.ADMIN}
