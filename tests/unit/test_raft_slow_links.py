"""Stewards on Raft whose links are slow: a slow leader hands over to one that is not, or leads on."""

from __future__ import annotations

import pytest

from replicast.flexhash.commands import STEWARD_CLIENT, encode_command
from replicast.flexhash.raft.node import Outcome
from replicast.flexhash.state import ControlState
from replicast.flexhash.steward import HAND_OVER_NS, Steward
from replicast.flexhash.tables import TableBook
from replicast.wire.control_messages import Noop
from tests.unit.test_raft_node import MS, SECOND, Cluster

LOOK_NS = 100 * MS  # between turns of a leader


class Led(Cluster):
    """What ControlService does: each voter has a steward, and steps aside when that wants it."""

    def __init__(self, seed: int = 1, count: int = 3) -> None:
        self.stewards: dict[str, Steward] = {}
        self.slow_ns: dict[str, int] = {}  # what passes a voter's link is so long on its way
        self.hand_overs = 0
        super().__init__(seed, count)

    def start(self, name: str, *, new_voter: bool = False, epoch: int = 1) -> None:
        super().start(name, new_voter=new_voter, epoch=epoch)
        state = ControlState(epoch)
        self.machines[name].apply = state.apply  # type: ignore[method-assign]
        self.nodes[name]._apply_command = state.apply
        self.stewards[name] = Steward(state, TableBook(state), self.counters[name])

    def _turn(self, name: str) -> None:
        super()._turn(name)
        node, steward = self.nodes[name], self.stewards[name]
        if self.now_ns % LOOK_NS == 0 or steward.term != self.leading(name):
            steward.tick(self.now_ns, self.now_ns, self.leading(name))
            if steward.take_hand_over(self.now_ns):
                self.hand_overs += 1
                node.step_aside(self.now_ns)
        for token, entry in steward.take_commands():
            self._propose(name, token, entry)

    def _propose(self, name: str, token: int, entry: bytes) -> None:
        def done(result: bytes | None, outcome: Outcome) -> None:
            applied = result if outcome is Outcome.APPLIED else None
            now_ns = self.now_ns
            self.stewards[name].command_done(token, applied, now_ns, now_ns, self.leading(name))

        self.nodes[name].submit(entry, done, self.now_ns)
        self.woken.add(name)

    def _post(self, sender: str, receiver: str, frame: bytes) -> None:
        super()._post(sender, receiver, frame)
        _, *rest = self.in_flight.pop()
        arrival = self.now_ns + self.rng.randrange(20 * MS)
        arrival += self.slow_ns.get(sender, 0) + self.slow_ns.get(receiver, 0)
        arrival = max(arrival, self.last_arrival.get((sender, receiver), 0))
        self.last_arrival[sender, receiver] = arrival
        self.in_flight.append((arrival, *rest))

    def leading(self, name: str) -> int | None:
        node = self.nodes[name]
        return node.term if node.is_leader else None

    def proved(self) -> bool:
        return any(steward.started for steward in self.stewards.values())

    def slow_down(self, names: list[str], way_ms: int) -> None:
        """Ever slower for half a minute: leaders whose links become slow at once step down."""
        for percent in range(1, 101):
            self.slow_ns = dict.fromkeys(names, way_ms * MS * percent // 100)
            self.run(300)
            assert self.proved()


@pytest.mark.parametrize("busy", [False, True])
@pytest.mark.parametrize("count", [3, 5])
def test_slow_leader__another_leads(count: int, busy: bool) -> None:
    """Though followers have more and more entries, some sooner than others."""
    cluster = Led(count=count)
    slow = cluster.elect()
    cluster.run(3000)
    term = cluster.nodes[slow].term
    cluster.slow_down([slow], 700)
    cluster.slow_ns = {slow: 1000 * MS}
    began_ns = cluster.now_ns
    while cluster.leader() in (None, slow):
        if busy:
            cluster.submit(slow, encode_command(Noop(term=term, number=1), STEWARD_CLIENT))
        cluster.step()
    assert cluster.now_ns - began_ns <= 7 * SECOND
    cluster.run(30_000)
    assert cluster.hand_overs == 1 and cluster.leader() != slow
    assert cluster.nodes[slow].term <= term + 1 + busy


@pytest.mark.parametrize("way_ms", [800, 1500])
@pytest.mark.parametrize(("count", "others"), [(3, 1), (3, 2), (5, 2), (5, 4)])
def test_slow_majority__is_led_by_whom_it_has(count: int, others: int, way_ms: int) -> None:
    """Whoever deposed the slow leader would not be elected: its votes would come too late."""
    cluster = Led(count=count)
    leader = cluster.elect()
    cluster.run(3000)
    term = cluster.nodes[leader].term
    followers = [name for name in cluster.names if name != leader]
    cluster.slow_down([leader, *followers[:others]], way_ms)
    for _ in range(30):
        cluster.run(1000)
        assert cluster.leader() == leader and cluster.proved()
    assert cluster.hand_overs and {node.term for node in cluster.nodes.values()} == {term}


@pytest.mark.parametrize("count", [3, 5])
def test_all_commits_slow__leadership_does_not_go_round(
    count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As with slow disks: each leader finds that it is slow, whatever the links are like."""
    monkeypatch.setattr("replicast.flexhash.steward.SLOW_PROOF_NS", 0)
    cluster = Led(count=count)
    term = cluster.nodes[cluster.elect()].term
    began_ns = cluster.now_ns
    cluster.run(180_000)
    rounds = 1 + (cluster.now_ns - began_ns) // HAND_OVER_NS
    assert count <= cluster.nodes[cluster.leader() or ""].term - term <= rounds * count


def test_one_voter__has_nobody_to_hand_over_to(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("replicast.flexhash.steward.SLOW_PROOF_NS", 0)
    cluster = Led(count=1)
    leader = cluster.elect()
    term = cluster.nodes[leader].term
    cluster.run(20_000)
    assert cluster.hand_overs > 1 and cluster.proved()
    assert cluster.nodes[leader].term == term and cluster.now_ns > 20 * SECOND
