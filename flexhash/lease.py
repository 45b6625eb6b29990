"""Leases: the right to act for rows, VDEVs and misses; granted by the Raft leader (DESIGN 6).

    target (LeaseHolder)                      Raft leader (LeaseGranter)
      | -- LEASE_RENEW (each second, at once on adopting) --> |
      | <------------- LEASE_GRANT or LEASE_REFUSED --------- |

A grant is backed by proof: it runs at most until t0 + LEASE_NS, t0 being when the
leader proposed its last committed no-op; the target counts from its own send. So a
deposed leader, which commits nothing, stops granting, and no clock of one machine
is ever compared with another's (rates may differ by DRIFT_PERCENT).

`floor` is the lowest generation adopted by any target whose lease may still be
valid. Invariant: a floor once true stays true, because nobody gets a lease with an
older table than the active one, except who holds one from this very leader and lags
for less than LAG_NS. So holders keep the highest floor that they were told, and a
new leader, which knows nobody's adoption, says 0 until everybody was heard or out.

A target to which grants come only when they are over (a link with seconds of bytes waiting in
front of it) never acts, yet its renewals tell the leader that it lives: nobody would take its rows
from it. So after LATE_NS of such grants it gives up: it vouches for no VDEV, which has them
declared down, and does not act until a grant comes with LATE_NS left of it.

Cores: flexhash/steward.py drives the granter, flexhash/follow.py the holder.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from replicast.units import SECOND
from replicast.wire import control_messages as cm

LEASE_NS = 6 * SECOND
LAG_NS = SECOND
DRIFT_PERCENT = 2
LATE_NS = LEASE_NS // 2
MAX_SKEW_NS = 5 * SECOND
IN_FLIGHT_MAX = 64  # as many as are asked for in one lease when there is none


class LeaseReason(IntEnum):
    """Why there is no lease; the comment is the target's one reaction."""

    NOT_READY = 1  # the leader cannot prove itself now: ask again
    ADOPT_FIRST = 2  # adopt the active generation and settings, then ask
    FENCED = 3  # built another table than the cluster: stop serving, alarm
    OLD = 4  # a newer request of this target was seen, or it gave its lease back
    UNKNOWN = 5  # not registered: join first


def stretched(duration_ns: int) -> int:
    """How long `duration_ns` of another machine's clock may last on ours."""
    return duration_ns + duration_ns * DRIFT_PERCENT // 100


@dataclass(slots=True)
class Record:
    """What the leader knows of one target's lease; times on the leader's clock."""

    lease_until_ns: int  # may be valid until then
    grace_until_ns: int  # not declared down before then, lease or not
    adopted: int = 0  # 0: not heard from in this term
    settings_version: int = 0
    session: int = 0
    sequence: int = 0
    granted: bool = False
    fenced: bool = False
    vouched: frozenset[bytes] = frozenset()
    may_lead: bool = True
    dropped: frozenset[bytes] = frozenset()  # vouched for in this term, and no more


class LeaseGranter:
    """The leader's side, for one term: made new at each election."""

    def __init__(self) -> None:
        self.records: dict[int, Record] = {}
        self._proof_ns: int | None = None  # t0 of the last committed no-op
        self._active = self._settings = 0
        self._activated_ns = self._settings_ns = 0

    # -- what the steward tells ------------------------------------------------------

    def begin(self, targets: list[int], now_ns: int, bound_ns: int) -> None:
        """The first no-op of the term is committed. Leases of earlier leaders may run on:
        one lease from here, or `bound_ns` from here when a freeze made them longer."""
        until = now_ns + stretched(max(LEASE_NS, bound_ns))
        self.records = {node: Record(until, until) for node in targets}

    def prove(self, proposed_ns: int) -> None:
        """A no-op of this term, proposed at `proposed_ns`, is committed."""
        self._proof_ns = max(proposed_ns, self._proof_ns or 0)

    def observe(self, targets: list[int], active: int, settings_version: int, now_ns: int) -> None:
        """The state moved: targets joined or left, a generation or settings became current."""
        for node in targets:
            if node not in self.records:
                self.records[node] = Record(0, now_ns + stretched(LEASE_NS))
        if active != self._active:
            self._active, self._activated_ns = active, now_ns
        if settings_version != self._settings:
            self._settings, self._settings_ns = settings_version, now_ns

    def fence(self, node_id: int, fenced: bool) -> None:
        """Renew no more (its table differs), or again."""
        if node_id in self.records:
            self.records[node_id].fenced = fenced

    # -- questions --------------------------------------------------------------------

    @property
    def proof_ns(self) -> int | None:
        """When the last no-op that is committed was proposed; None before the first."""
        return self._proof_ns

    def age_ns(self, now_ns: int) -> int | None:
        """Age of the proof behind everything said here; None before the first."""
        return None if self._proof_ns is None else max(0, now_ns - self._proof_ns)

    def may_hold(self, node_id: int, now_ns: int) -> bool:
        """True when that target may hold a valid lease."""
        record = self.records.get(node_id)
        return record is not None and record.lease_until_ns > now_ns

    def ruled_out(self, node_id: int, now_ns: int) -> bool:
        """True when its lease has surely ended and it had its time to renew."""
        record = self.records.get(node_id)
        if record is None:
            return False
        return max(record.lease_until_ns, record.grace_until_ns) <= now_ns

    def floor(self, now_ns: int) -> int:
        """Lowest generation adopted by any target whose lease may still be valid."""
        held = [r.adopted for r in self.records.values() if r.lease_until_ns > now_ns]
        return min(held, default=self._active)

    def settings_floor(self, now_ns: int) -> int:
        """The same for settings (a bucket being deleted waits for it)."""
        held = [r.settings_version for r in self.records.values() if r.lease_until_ns > now_ns]
        return min(held, default=self._settings)

    def settled(self, now_ns: int) -> bool:
        """Everybody who may act has adopted the active generation, or had its time to."""
        return self.floor(now_ns) >= self._active or now_ns >= self._activated_ns + LAG_NS

    # -- renewing --------------------------------------------------------------------------

    def renew(
        self, node_id: int, m: cm.LeaseRenew, now_ns: int, run_to_ns: int = 0
    ) -> cm.LeaseGrant | cm.LeaseRefused:
        """Answer one renewal; `run_to_ns` is how long a freeze lets leases run."""
        refusal = self._refusal(node_id, m, now_ns)
        if refusal is not None:
            return cm.LeaseRefused(
                sequence=m.sequence,
                reason=refusal,
                active=self._active,
                settings_version=self._settings,
            )
        assert self._proof_ns is not None
        record = self.records[node_id]
        duration_ns = max(self._proof_ns + LEASE_NS - now_ns, run_to_ns)
        record.lease_until_ns = max(record.lease_until_ns, now_ns + stretched(duration_ns))
        record.adopted, record.settings_version = m.adopted, m.settings_version
        vouched = frozenset(m.vouched)
        record.dropped = (record.dropped | record.vouched) - vouched
        record.vouched, record.granted = vouched, True
        record.may_lead = bool(m.may_lead)
        return cm.LeaseGrant(
            sequence=m.sequence,
            duration_ns=duration_ns,
            age_ns=max(0, now_ns - self._proof_ns),
            floor=self.floor(now_ns),
            settings_floor=self.settings_floor(now_ns),
            active=self._active,
        )

    def _refusal(self, node_id: int, m: cm.LeaseRenew, now_ns: int) -> LeaseReason | None:
        record = self.records.get(node_id)
        if record is None:
            return LeaseReason.UNKNOWN
        if (m.session, m.sequence) <= (record.session, record.sequence):
            return LeaseReason.OLD
        restarted = m.session != record.session
        record.session, record.sequence = m.session, m.sequence
        if m.stopping:
            record.lease_until_ns = record.grace_until_ns = now_ns
            record.vouched = frozenset()
            return LeaseReason.OLD
        if self._proof_ns is None or self._proof_ns + LEASE_NS <= now_ns:
            return LeaseReason.NOT_READY
        if record.fenced:
            return LeaseReason.FENCED
        lags = self._lags(m, now_ns)
        holds = record.granted and not restarted and record.lease_until_ns > now_ns
        return LeaseReason.ADOPT_FIRST if lags and not (holds and lags < LAG_NS) else None

    def _lags(self, m: cm.LeaseRenew, now_ns: int) -> int:
        """For how long something has been current that the target has not adopted (0: none)."""
        since = []
        if m.adopted < self._active:
            since.append(self._activated_ns)
        if m.settings_version < self._settings:
            since.append(self._settings_ns)
        return max(1, now_ns - min(since)) if since else 0


class LeaseHolder:
    """The target's side. Whoever must not act without a lease asks valid(now_ns).

    `session` grows from one start of the daemon to the next (a durable boot number).
    """

    def __init__(self, session: int) -> None:
        self.session = session
        self.generation = 0
        self.floor = 0
        self.settings_floor = 0
        self.fenced = False
        self.stopped = False
        self.gave_up = False  # grants come too late: see the head of this module
        self.may_lead = True  # set by the owner, told with each renewal
        self.cluster_wall_offset_ns: int | None = None  # see ClusterClock
        self._sequence = 0
        self._expires_ns = 0
        self._proof_ns: int | None = None
        self._sent_ns: dict[int, int] = {}
        self._late_ns: int | None = None  # since when all grants were over when they came

    def valid(self, now_ns: int) -> bool:
        """True while this target may act."""
        return now_ns < self._expires_ns and not (self.fenced or self.stopped or self.gave_up)

    def age_ns(self, now_ns: int) -> int | None:
        """Age of the leader's proof behind the newest grant; None before the first."""
        return None if self._proof_ns is None else max(0, now_ns - self._proof_ns)

    def remaining_ns(self, now_ns: int) -> int:
        """How long the lease runs on."""
        return max(0, self._expires_ns - now_ns) if self.valid(now_ns) else 0

    def skew_ns(self, now_ns: int, wall_ns: int) -> int:
        """How far this wall clock is ahead of the cluster's; a step of it shows at once."""
        if self.cluster_wall_offset_ns is None:
            return 0
        return wall_ns - (now_ns + self.cluster_wall_offset_ns)

    def request(
        self, now_ns: int, settings_version: int, vouched: tuple[bytes, ...]
    ) -> cm.LeaseRenew:
        """The next renewal; reports `generation`, whose lost leaderships are given up."""
        if self._late_ns is not None and now_ns - self._late_ns >= LATE_NS:
            self.gave_up = True
        if self.gave_up:
            vouched = ()
        self._sequence += 1
        self._sent_ns[self._sequence] = now_ns
        if len(self._sent_ns) > IN_FLIGHT_MAX:
            del self._sent_ns[next(iter(self._sent_ns))]
        return self._renew(settings_version, vouched)

    def give_back(self) -> cm.LeaseRenew:
        """Stop for good, after the hand-over; the message lets the leader know at once."""
        self.stopped = True
        self._sent_ns.clear()
        self._sequence += 1
        return self._renew(0, ())

    def _renew(self, settings_version: int, vouched: tuple[bytes, ...]) -> cm.LeaseRenew:
        return cm.LeaseRenew(
            session=self.session,
            sequence=self._sequence,
            adopted=self.generation,
            settings_version=settings_version,
            stopping=self.stopped,
            may_lead=self.may_lead,
            vouched=vouched,
        )

    def granted(self, m: cm.LeaseGrant, now_ns: int) -> bool:
        """Take a grant; False when it answers nothing that is in flight."""
        sent_ns = self._sent_ns.pop(m.sequence, None)
        if sent_ns is None or self.stopped:
            return False
        self._expires_ns = max(self._expires_ns, sent_ns + m.duration_ns)
        left_ns = self._expires_ns - now_ns  # one of an earlier leader may come late, too
        if left_ns > 0:
            self._late_ns = None
        elif self._late_ns is None:
            self._late_ns = now_ns
        if left_ns >= LATE_NS:
            self.gave_up = False
        self._proof_ns = max(self._proof_ns or 0, sent_ns - m.age_ns)
        self.raise_floor(m.floor, m.settings_floor)
        return True

    def raise_floor(self, floor: int, settings_floor: int) -> None:
        """A leader's floor, pushed or granted; once true it stays true."""
        self.floor = max(self.floor, floor)
        self.settings_floor = max(self.settings_floor, settings_floor)
