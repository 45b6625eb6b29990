"""flexhash/lease.py: who may act until when."""

from __future__ import annotations

from replicast.flexhash.lease import (
    LAG_NS,
    LATE_NS,
    LEASE_NS,
    MAX_SKEW_NS,
    LeaseGranter,
    LeaseHolder,
    LeaseReason,
    stretched,
)
from replicast.units import MS, SECOND
from replicast.wire import control_messages as cm

T0 = 100 * SECOND


def granter(active: int = 3, targets: tuple[int, ...] = (1, 2)) -> LeaseGranter:
    """A leader whose first no-op, proposed at T0, is just committed."""
    made = LeaseGranter()
    made.begin(list(targets), T0, 0)
    made.prove(T0)
    made.observe(list(targets), active, 0, T0)
    return made


def renew(
    g: LeaseGranter, node: int, now_ns: int, adopted: int = 3, sequence: int = 1,
    session: int = 1, vouched: tuple[bytes, ...] = (), stopping: bool = False,
) -> cm.LeaseGrant | cm.LeaseRefused:  # fmt: skip
    message = cm.LeaseRenew(
        session=session,
        sequence=sequence,
        adopted=adopted,
        settings_version=0,
        stopping=stopping,
        may_lead=True,
        vouched=vouched,
    )
    return g.renew(node, message, now_ns)


def reason(reply: cm.LeaseGrant | cm.LeaseRefused) -> int:
    assert isinstance(reply, cm.LeaseRefused)
    return reply.reason


def test_renew__runs_to_the_proof_plus_one_lease_whenever_asked() -> None:
    g = granter()
    for sequence, late_ns in enumerate((0, SECOND, 5 * SECOND), 1):
        reply = renew(g, 1, T0 + late_ns, sequence=sequence)
        assert isinstance(reply, cm.LeaseGrant)
        assert reply.duration_ns == LEASE_NS - late_ns
    assert reason(renew(g, 1, T0 + LEASE_NS, sequence=9)) == LeaseReason.NOT_READY


def test_renew__unknown_old_and_fenced() -> None:
    g = granter()
    assert reason(renew(g, 9, T0)) == LeaseReason.UNKNOWN
    assert isinstance(renew(g, 1, T0, sequence=5), cm.LeaseGrant)
    assert reason(renew(g, 1, T0, sequence=5)) == LeaseReason.OLD
    assert isinstance(renew(g, 1, T0, sequence=1, session=2), cm.LeaseGrant)
    assert reason(renew(g, 1, T0, sequence=9, session=1)) == LeaseReason.OLD
    g.fence(1, True)
    assert reason(renew(g, 1, T0, sequence=2, session=2)) == LeaseReason.FENCED


def test_new_leader__rules_nobody_out_before_one_lease() -> None:
    g = granter()
    end = T0 + stretched(LEASE_NS)
    assert not g.ruled_out(1, end - 1) and g.may_hold(1, end - 1)
    assert g.ruled_out(1, end)
    frozen = LeaseGranter()
    frozen.begin([1], T0, 60 * SECOND)
    assert not frozen.ruled_out(1, T0 + 60 * SECOND)


def test_new_leader__never_renews_who_lags() -> None:
    """It cannot know whether that target's lease ended and the floor passed it by."""
    g = granter(active=3)
    assert reason(renew(g, 1, T0, adopted=2)) == LeaseReason.ADOPT_FIRST


def test_lagging__renewed_for_one_second_when_it_holds_a_lease_of_this_leader() -> None:
    g = granter(active=3)
    renew(g, 1, T0, adopted=3, sequence=1)
    g.prove(T0 + SECOND)
    g.observe([1, 2], 4, 0, T0 + SECOND)
    later = T0 + SECOND + LAG_NS // 2
    assert isinstance(renew(g, 1, later, adopted=3, sequence=2), cm.LeaseGrant)
    assert reason(renew(g, 1, later, 3, 1, session=2)) == LeaseReason.ADOPT_FIRST
    g2 = granter(active=3)
    renew(g2, 1, T0)
    g2.observe([1, 2], 4, 0, T0)
    assert reason(renew(g2, 1, T0 + LAG_NS, sequence=2)) == LeaseReason.ADOPT_FIRST


def test_floor__unknown_until_everybody_was_heard_or_is_out() -> None:
    g = granter()
    renew(g, 1, T0)
    assert g.floor(T0) == 0
    assert g.floor(T0 + stretched(LEASE_NS)) == 3
    renew(g, 2, T0)
    assert g.floor(T0) == 3


def test_floor__is_the_lowest_adopted_of_those_who_may_act() -> None:
    g = granter()
    renew(g, 1, T0)
    renew(g, 2, T0)
    g.observe([1, 2], 4, 0, T0 + SECOND)
    renew(g, 1, T0 + SECOND, adopted=4, sequence=2)
    assert g.floor(T0 + SECOND) == 3
    renew(g, 2, T0 + SECOND, adopted=4, sequence=2)
    assert g.floor(T0 + SECOND) == 4


def test_joined_later__counts_for_the_floor_from_its_first_grant_only() -> None:
    g = granter(targets=(1,))
    renew(g, 1, T0)
    g.observe([1, 2], 3, 0, T0)
    assert g.floor(T0) == 3
    assert not g.ruled_out(2, T0) and not g.may_hold(2, T0)


def test_stopping__ends_the_lease_at_once() -> None:
    g = granter()
    renew(g, 1, T0)
    assert reason(renew(g, 1, T0 + 1, sequence=2, stopping=True)) == LeaseReason.OLD
    assert g.ruled_out(1, T0 + 1)
    assert reason(renew(g, 1, T0 + 2, sequence=1)) == LeaseReason.OLD


def test_vouching__dropped_ones_are_remembered() -> None:
    g = granter()
    renew(g, 1, T0, vouched=(b"a", b"b"))
    renew(g, 1, T0, sequence=2, vouched=(b"b",))
    assert g.records[1].dropped == {b"a"}
    renew(g, 1, T0, sequence=3, vouched=(b"a", b"b"))
    assert not g.records[1].dropped


def grant(sequence: int, duration_ns: int = LEASE_NS, floor: int = 0) -> cm.LeaseGrant:
    return cm.LeaseGrant(
        sequence=sequence,
        duration_ns=duration_ns,
        age_ns=SECOND,
        floor=floor,
        settings_floor=0,
        active=1,
    )


def test_holder__counts_from_its_send() -> None:
    holder = LeaseHolder(1)
    assert not holder.valid(0)
    asked = holder.request(10 * SECOND, 0, ())
    assert holder.granted(grant(asked.sequence), 10 * SECOND)
    assert holder.valid(16 * SECOND - 1) and not holder.valid(16 * SECOND)
    assert holder.age_ns(10 * SECOND) == SECOND
    assert not holder.granted(grant(asked.sequence), 10 * SECOND)  # a repeated answer


def test_holder__keeps_the_highest_floor_and_the_longest_lease() -> None:
    holder = LeaseHolder(1)
    first, second = (holder.request(n * SECOND, 0, ()) for n in (0, 1))
    holder.granted(grant(second.sequence, floor=5), SECOND)
    holder.granted(grant(first.sequence, floor=4), SECOND)
    assert holder.floor == 5 and holder.remaining_ns(SECOND) == LEASE_NS


def test_holder__given_back_or_fenced_is_not_valid() -> None:
    holder = LeaseHolder(1)
    asked = holder.request(0, 0, ())
    holder.granted(grant(asked.sequence), 0)
    late = holder.request(1, 0, ())
    assert holder.give_back().stopping
    assert not holder.valid(1) and not holder.granted(grant(late.sequence), 1)
    fenced = LeaseHolder(1)
    fenced.granted(grant(fenced.request(0, 0, ()).sequence), 0)
    fenced.fenced = True
    assert not fenced.valid(1)


def test_holder__takes_grants_that_are_seconds_under_way() -> None:
    """Asked for each 100 ms, as when there is none: the answer to each is still known."""
    holder = LeaseHolder(1)
    asked = [holder.request(n * 100 * MS, 0, ()) for n in range(50)]
    assert holder.granted(grant(asked[0].sequence), 5 * SECOND)
    assert holder.valid(5 * SECOND)


def late_ones(holder: LeaseHolder, first_ns: int, left_ns: int, seconds: int) -> int:
    """A renewal a second, each answered when only `left_ns` of its lease is left; the time then."""
    for second in range(seconds + 1):
        sent_ns = first_ns + second * SECOND
        asked = holder.request(sent_ns, 0, (b"v",))
        holder.granted(grant(asked.sequence), sent_ns + LEASE_NS - left_ns)
    return sent_ns + LEASE_NS - left_ns


def test_holder__gives_up_when_all_grants_are_over_when_they_come() -> None:
    holder = LeaseHolder(1)
    now_ns = late_ones(holder, 0, -1, 2)
    assert holder.request(now_ns, 0, (b"v",)).vouched == (b"v",), "not for long yet"
    now_ns = late_ones(holder, now_ns, -1, 2)
    assert holder.request(now_ns, 0, (b"v",)).vouched == ()
    now_ns = late_ones(holder, now_ns, LATE_NS - 1, 5)
    assert not holder.valid(now_ns), "it is not sure of the next one"
    now_ns = late_ones(holder, now_ns, LATE_NS, 0)
    assert holder.valid(now_ns)
    assert holder.request(now_ns, 0, (b"v",)).vouched == (b"v",)


def test_holder__does_not_give_up_for_one_late_grant_or_for_silence() -> None:
    holder = LeaseHolder(1)
    now_ns = late_ones(holder, 0, -1, 0)
    now_ns = late_ones(holder, now_ns, 1, 0)
    now_ns = late_ones(holder, now_ns, -1, 1)
    assert holder.request(now_ns, 0, (b"v",)).vouched == (b"v",)
    silent = LeaseHolder(1)
    for second in range(20):
        assert silent.request(second * SECOND, 0, (b"v",)).vouched == (b"v",)


def test_holder__does_not_give_up_a_lease_for_late_grants_of_an_earlier_leader() -> None:
    holder = LeaseHolder(1)
    early = holder.request(0, 0, (b"v",))
    asked = holder.request(7 * SECOND, 0, (b"v",))
    holder.granted(grant(asked.sequence), 7 * SECOND)
    holder.granted(grant(early.sequence), 7 * SECOND)
    now_ns = 7 * SECOND + LATE_NS
    assert holder.request(now_ns, 0, (b"v",)).vouched == (b"v",) and holder.valid(now_ns)


def test_holder__knows_how_far_its_clock_is_off() -> None:
    holder = LeaseHolder(1)
    assert holder.skew_ns(0, 50 * SECOND) == 0  # nothing is known yet
    holder.cluster_wall_offset_ns = -SECOND
    assert holder.skew_ns(3 * SECOND, 10 * SECOND) == 8 * SECOND
    assert holder.skew_ns(3 * SECOND, 3600 * SECOND) > MAX_SKEW_NS  # a step shows at once
