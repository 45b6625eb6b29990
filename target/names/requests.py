"""One named request at the row's leader: refuse, answer, order, or say that it must wait.

judge() returns None when the request is done with (answered, refused or ordered), else the
reason with which it is refused if it is still waiting at its deadline. Reads answer committed
state: an operation that this leader has ordered and not committed was answered to nobody, so
a read may come before it. One inherited from an earlier leader may have been answered, so
reads of its name wait until it is decided. One whose entry cannot be read here waits until it
has come back from another replica.
"""

from __future__ import annotations

from dataclasses import replace

from replicast.buggify import buggify
from replicast.flexhash.versioning import Versioning
from replicast.machine import Incoming
from replicast.target.names.context import RowContext
from replicast.target.names.heal import Healer
from replicast.target.names.leader import Leadership
from replicast.target.names.operations import CONDITIONS, NULLABLE, NameWrite, make_operation
from replicast.target.names.outbox import Outbox
from replicast.target.names.state import key_prefix
from replicast.target.names.undecided import WAITERS_MAX
from replicast.units import MS
from replicast.wire.name_messages import (
    DELETE_MARKER,
    INCARNATION_MAX,
    NO_VERSION,
    NULL_VERSION,
    HolderLists,
    NameDelete,
    NameGet,
    NameKey,
    NameList,
    NamePut,
    NameRestored,
    NameResult,
    NameVersionList,
    NameVersions,
)
from replicast.wire.reasons import Reason
from replicast.wire.row_messages import RowOutcome

VERSIONS_MAX = 4096
RETRY_NS = 50 * MS
BUCKET_ACTIVE = 1

RowRequest = NameWrite | NameGet | NameVersions
WRITES = (NamePut, NameDelete, NameRestored)
ROW_REQUESTS = (*WRITES, NameGet, NameVersions)


def bucket_refusal(context: RowContext, of: NameKey | NameList) -> Reason | None:
    """NOT_READY: the gateway has newer settings, which made the bucket; they are on their way."""
    bucket = context.buckets.get((of.tenant, of.bucket))
    incarnation = of.bucket_incarnation & INCARNATION_MAX
    if bucket is not None and bucket.incarnation == incarnation:
        return None
    behind = incarnation > context.settings_version
    return Reason.NOT_READY if behind else Reason.NO_SUCH_BUCKET


def by_versioning(context: RowContext, request: NameWrite) -> NameWrite:
    """The request as the bucket's versioning has it now.

    A gateway may not have heard of a change yet. Who changed it has waited until every leader that
    may act has heard, so here is the last word, or a version that should be kept would be lost.
    """
    if not isinstance(request, NULLABLE) or request.key.bucket_incarnation > INCARNATION_MAX:
        return request  # uploads and their parts never have versions
    versioning = context.buckets[request.key.tenant, request.key.bucket].versioning
    null = versioning != Versioning.ENABLED
    if isinstance(request, NamePut):
        return request if request.null == null else replace(request, null=null)
    any_version = request.version == NO_VERSION or (
        request.version == NULL_VERSION and request.null
    )
    if not any_version:
        return request
    version = NULL_VERSION if versioning == Versioning.OFF else NO_VERSION
    return replace(request, null=null, version=version)


def well_formed(request: RowRequest) -> bool:
    """What the wire format alone does not say."""
    name = request.key.name
    if not name or "\0" in name or not request.key.bucket_incarnation & INCARNATION_MAX:
        return False
    if isinstance(request, (NamePut, NameDelete)):
        return request.condition.kind in CONDITIONS
    return True


class Judge:
    """Decides requests; one per target."""

    def __init__(self, context: RowContext, outbox: Outbox, healer: Healer) -> None:
        self._context, self._outbox, self._healer = context, outbox, healer

    def judge(
        self, leadership: Leadership, incoming: Incoming, now_ns: int, names_full: bool
    ) -> Reason | None:
        """See the module header. The caller checked row, generation, leader and lease."""
        if not leadership.acting(now_ns) or not leadership.readable:
            return Reason.NOT_READY
        request = incoming.message
        if isinstance(request, NameGet):
            return self._get(leadership, incoming, request)
        if isinstance(request, NameVersions):
            return self._versions(leadership, incoming, request)
        assert isinstance(request, WRITES)
        self._write(leadership, incoming, request, now_ns, names_full)
        return None

    def _get(self, lead: Leadership, incoming: Incoming, request: NameGet) -> Reason | None:
        prefix = key_prefix(request.key)
        if lead.undecided.inherited(prefix):
            return Reason.ROW_UNAVAILABLE
        state, newest = lead.replica.state, request.version == NO_VERSION
        if not newest and request.version == NULL_VERSION:
            found = state.null_version(prefix)
        else:
            found = state.version(prefix, request.version)
        if found is None or (newest and found.summary.kind == DELETE_MARKER):
            self._refuse(incoming, Reason.NO_SUCH_NAME)
            return None
        body = b""
        holders: HolderLists = ()
        if request.want_body:
            entry = lead.replica.log.get(found.index)
            if entry is None or buggify("names/entry-unreadable"):
                self._healer.want(lead.replica, found.index, found.summary)
                return Reason.FAULTED
            body, holders = entry.operation.body, entry.operation.holders
        self._outbox.reply(
            incoming,
            NameResult(summary=found.summary, copies=lead.copies, holders=holders, body=body),
        )
        return None

    def _versions(
        self, lead: Leadership, incoming: Incoming, request: NameVersions
    ) -> Reason | None:
        prefix = key_prefix(request.key)
        if lead.undecided.inherited(prefix):
            return Reason.ROW_UNAVAILABLE
        found = tuple(v.summary for v in lead.replica.state.versions(prefix, VERSIONS_MAX))
        self._outbox.reply(incoming, NameVersionList(versions=found))
        return None

    def _write(
        self,
        lead: Leadership,
        incoming: Incoming,
        request: NameWrite,
        now_ns: int,
        names_full: bool,
    ) -> None:
        pending = lead.undecided.of_operation(incoming.operation_id)
        if pending is not None:
            if len(pending.waiters) < WAITERS_MAX:
                pending.waiters[incoming.sender] = incoming
            return
        outcome = lead.replica.state.outcome(incoming.operation_id)
        if outcome is not None:
            self._again(lead, incoming, outcome)
            return
        version = lead.next_version(now_ns)
        # The row's clock, not ours alone: its results are forgotten by that one.
        reason = self._refusal(lead, request, version.time_ns, names_full)
        if reason is not None:
            self._refuse(incoming, reason)
            return
        operation = make_operation(
            by_versioning(self._context, request),
            lead.undecided,
            key_prefix(request.key),
            incoming.operation_id,
            lead.tenure,
            version,
        )
        lead.order(operation, incoming)

    def _again(self, lead: Leadership, incoming: Incoming, outcome: RowOutcome) -> None:
        """The answer that the operation got, or would have got, the first time."""
        if outcome.reason:
            self._refuse(incoming, Reason(outcome.reason))
            return
        self._outbox.reply(
            incoming,
            NameResult(summary=outcome.summary, copies=lead.copies, holders=(), body=b""),
        )

    def _refusal(
        self, lead: Leadership, request: NameWrite, clock_ns: int, names_full: bool
    ) -> Reason | None:
        limits = self._context.limits
        if clock_ns - request.time.first_sent_ns > limits.retry_window_ns:
            return Reason.TOO_OLD
        if clock_ns - request.time.begun_ns > limits.put_begun_max_ns:
            return Reason.TOO_OLD
        if request.time.first_sent_ns - clock_ns > 2 * limits.max_skew_ns:
            return Reason.BAD_REQUEST  # sent in the future: it would outlive its own result
        if isinstance(request, NamePut):
            if not self._takes_names(request.key):
                return Reason.NO_SUCH_BUCKET
            if names_full:
                return Reason.NO_SPACE
        if not lead.writable:
            return Reason.ROW_UNAVAILABLE
        return Reason.BUSY if lead.full else None

    def _takes_names(self, key: NameKey) -> bool:
        """Not while the bucket is being removed. What was ordered before is answered as ever: who
        asks again would take it for refused, and it is there."""
        return self._context.buckets[key.tenant, key.bucket].state == BUCKET_ACTIVE

    def _refuse(self, incoming: Incoming, reason: Reason) -> None:
        self._outbox.refuse(incoming, reason, retry_after_ns=RETRY_NS)
