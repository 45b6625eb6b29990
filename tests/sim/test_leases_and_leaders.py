"""The checkers of leases, leaders and voter epochs report every planted breach, and nothing else."""

from __future__ import annotations

from replicast.flexhash.lease import stretched
from replicast.sim.epochs import Epochs
from replicast.sim.leaders import Leaders
from replicast.sim.leases import Leases
from replicast.units import SECOND

GRANT_NS = 6 * SECOND


class Voter:
    """A voter's clock."""

    def __init__(self) -> None:
        self.now_ns = 0

    def clock(self) -> int:
        return self.now_ns


def granted(voter: Voter, sent_ns: int = 0) -> Leases:
    """t1 asked when its clock showed `sent_ns`, and was granted six seconds."""
    leases = Leases()
    leases.asked("t1", 1, 7, sent_ns, False)
    leases.granted("t1", 7, voter.now_ns)
    leases.arrived("t1", 1, 7, GRANT_NS, voter.clock)
    return leases


def test_answer_under_a_lease__is_ok() -> None:
    leases = granted(Voter())
    assert leases.answered("t1", 1, GRANT_NS - 1, "NAME_RESULT") is None
    assert leases.verdict() == ("ok", [])


def test_nothing_said__is_unknown() -> None:
    assert granted(Voter()).verdict()[0] == "unknown"


def test_answer_after_the_end__is_bad() -> None:
    leases = granted(Voter(), sent_ns=1000)
    assert "ended" in str(leases.answered("t1", 1, 1000 + GRANT_NS, "NAME_RESULT"))
    assert leases.verdict()[0] == "bad"


def test_answer_by_a_slow_clock__is_bad_when_the_voter_counts_no_longer() -> None:
    voter = Voter()
    leases = granted(voter)
    voter.now_ns = stretched(GRANT_NS)
    assert leases.answered("t1", 1, GRANT_NS // 2, "NAME_RESULT") is not None


def test_answer_before_the_grant_arrived__is_bad() -> None:
    leases = Leases()
    leases.asked("t1", 1, 7, 0, False)
    leases.granted("t1", 7, 0)
    assert "none was granted" in str(leases.answered("t1", 1, 1, "CHUNK_STORED"))


def test_grant_that_no_voter_gave__counts_for_nothing() -> None:
    leases = Leases()
    leases.asked("t1", 1, 7, 0, False)
    leases.arrived("t1", 1, 7, GRANT_NS, Voter().clock)
    assert leases.answered("t1", 1, 1, "CHUNK_STORED") is not None


def test_grant_of_an_earlier_life__counts_for_nothing() -> None:
    voter = Voter()
    leases = granted(voter)
    assert leases.answered("t1", 2, 1, "NAME_RESULT") is not None
    leases.asked("t1", 2, 1, 0, False)
    leases.arrived("t1", 1, 1, GRANT_NS, voter.clock)
    assert leases.answered("t1", 2, 1, "NAME_RESULT") is not None


def test_answer_after_the_lease_was_given_back__is_bad() -> None:
    leases = granted(Voter())
    leases.asked("t1", 1, 8, 1, True)
    assert "given back" in str(leases.answered("t1", 1, 2, "NAME_RESULT"))


def test_late_grant_of_an_early_renewal__does_not_shorten_the_lease() -> None:
    voter = Voter()
    leases = Leases()
    leases.asked("t1", 1, 1, 0, False)
    leases.asked("t1", 1, 2, SECOND, False)
    for sequence in (2, 1):
        leases.granted("t1", sequence, voter.now_ns)
        leases.arrived("t1", 1, sequence, GRANT_NS, voter.clock)
    assert leases.answered("t1", 1, GRANT_NS + SECOND - 1, "NAME_RESULT") is None


def test_leaders_one_after_the_other__are_ok() -> None:
    leaders = Leaders()
    assert leaders.acted(3, 10, "t1", "t1") is None
    assert leaders.acted(4, 12, "t2", "t2") is None
    assert leaders.acted(3, 12, "t2", "t2") is None
    assert leaders.acted(3, 14, "t1", "t1") is None
    assert leaders.verdict() == ("ok", [])


def test_no_leader_seen__is_unknown() -> None:
    assert Leaders().verdict()[0] == "unknown"


def test_two_targets_in_one_epoch__are_bad() -> None:
    leaders = Leaders()
    leaders.acted(3, 10, "t1", "t1")
    assert "both answer" in str(leaders.acted(3, 10, "t2", "t2"))
    assert leaders.verdict()[0] == "bad"


def test_old_leader_after_the_new_one__is_bad() -> None:
    leaders = Leaders()
    leaders.acted(3, 10, "t1", "t1")
    leaders.acted(3, 12, "t2", "t2")
    assert "after t2" in str(leaders.acted(3, 10, "t1", "t1"))


def test_answer_of_who_does_not_lead__is_bad() -> None:
    assert "leads by its table" in str(Leaders().acted(3, 10, "t1", "t2"))
    assert "leads by its table" in str(Leaders().acted(3, 10, "t1", None))


def test_epoch_that_is_over__grants_by_what_it_had_committed_before() -> None:
    epochs = Epochs()
    assert epochs.verdict()[0] == "unknown"
    assert epochs.granted("t1", 1, SECOND, 10 * SECOND) is None
    assert epochs.granted("t2", 2, 0, 12 * SECOND) is None
    assert epochs.granted("t1", 1, 2 * SECOND, 13 * SECOND) is None
    assert epochs.verdict() == ("ok", [])
    assert "after epoch 2 had begun" in str(epochs.granted("t1", 1, 0, 13 * SECOND))
    assert epochs.verdict()[0] == "bad"
    assert epochs.granted("t2", 2, 0, 13 * SECOND) is None
