"""Clients of the simulated name rows: they ask the leader that some recent table names, again."""

from __future__ import annotations

from typing import Any

from replicast.machine import Incoming
from replicast.target.names.limits import NameLimits
from replicast.units import MS, SECOND
from replicast.wire.chunk_messages import Refused
from replicast.wire.name_messages import (
    ALWAYS,
    NO_VERSION,
    Condition,
    NameDelete,
    NameGet,
    NameKey,
    NamePut,
    NameResult,
    NameVersionList,
    NameVersions,
    OperationTime,
    VersionId,
)
from replicast.wire.reasons import Reason
from replicast.wire.schema import Message

from .checkers import Operation, converged
from .control import ROWS, ControlPlane
from .targets import LIMITS, WALL_NS


class World(ControlPlane):
    """Everything; `operations` is what the checkers judge."""

    def __init__(
        self,
        seed: int,
        count: int = 4,
        loss: float = 0.0,
        copies: int = 3,
        limits: NameLimits = LIMITS,
    ) -> None:
        super().__init__(seed, count, loss, copies, limits)
        self.operations: list[Operation] = []
        self.waiting: dict[bytes, tuple[Operation, int]] = {}
        self.at(0, self._tick)

    def put(
        self,
        name: str,
        condition: Condition | None = None,
        body: bytes = b"x",
        *,
        null: bool = False,
    ) -> Operation:
        condition = condition or Condition(kind=ALWAYS, version=NO_VERSION, etag="")
        wall_ns = WALL_NS + self.now_ns
        message = NamePut(
            key=key_of(name), time=OperationTime(first_sent_ns=wall_ns, begun_ns=wall_ns),
            condition=condition, null=null,
            logical_size=len(body), etag="e", body_hash=b"h" * 32, body=body,
            short_of_copies=(),
            holders=(),
        )  # fmt: skip
        return self.operate("put", name, message, condition)

    def delete(
        self, name: str, version: VersionId = NO_VERSION, *, null: bool = False
    ) -> Operation:
        """Mark a name deleted, or remove one version of it."""
        condition = Condition(kind=ALWAYS, version=NO_VERSION, etag="")
        wall_ns = WALL_NS + self.now_ns
        message = NameDelete(
            key=key_of(name), time=OperationTime(first_sent_ns=wall_ns, begun_ns=wall_ns),
            condition=condition, version=version, null=null, absent_too=null,
        )  # fmt: skip
        kind = "delete" if version == NO_VERSION else "remove"
        return self.operate(kind, name, message, condition)

    def get(self, name: str) -> Operation:
        message = NameGet(key=key_of(name), version=NO_VERSION, want_body=True)
        return self.operate("get", name, message)

    def versions(self, name: str) -> list[Any]:
        operation = self.operate("versions", name, NameVersions(key=key_of(name)))
        self.until(lambda: operation.end_ns is not None)
        return list(operation.found)

    def operate(
        self, kind: str, name: str, message: Message, condition: Condition | None = None
    ) -> Operation:
        operation = Operation(kind, name, self.rng.randbytes(16), message, self.now_ns)
        operation.condition = condition
        self.operations.append(operation)
        self.waiting[operation.operation_id] = (operation, self.now_ns + 8 * SECOND)
        self._attempt(operation)
        return operation

    def assert_durable(self, operation: Operation) -> None:
        """An acknowledged write is on the disk of every in-sync replica, whoever that is now."""
        row = key_of(operation.name).row
        for vdev in self.table.name_replicas(row):
            store = self.nodes[vdev].store
            entries = (store.entry(row, i) for i in store.held(row, 0, 1 << 30))
            # One that cannot be read may be the one.
            held = any(entry is None or operation.operation_id in entry[1] for entry in entries)
            # A null version may have been superseded, and cut, before a repeat was answered.
            cut = getattr(operation.message, "null", False) and store.base(row) is not None
            assert held or cut, f"{vdev} is in sync without {operation.kind} {operation.name}"

    def ask(self, vdev: int, operation: Operation) -> None:
        """One attempt at this very target, by the table that it has."""
        node = self.nodes[vdev]
        assert node.service is not None and node.table is not None
        known = node.table.generation
        incoming = Incoming(operation.message, 9, operation.operation_id, known)
        node.service.receive(incoming, self.now_ns)
        self.drain(node)

    def settle(self) -> None:
        """Peace, until everything is where it should be."""
        self.loss, self.hold_commands = 0.0, False
        for node in self.nodes.values():
            node.cut = node.deaf = False
            self.start(node.vdev)
        self.until(lambda: not self.waiting, 30 * SECOND)
        self.until(lambda: converged(self), 60 * SECOND)

    def done(self, *operations: Operation) -> None:
        """Wait for answers."""
        self.until(lambda: all(o.end_ns is not None for o in operations))

    def _attempt(self, operation: Operation) -> None:
        """Ask the leader that some recent table names; again until answered or given up."""
        known = self.waiting.get(operation.operation_id)
        if known is None or self.now_ns > known[1]:
            self.waiting.pop(operation.operation_id, None)
            return
        table = self.table
        row = getattr(operation.message, "key").row  # noqa: B009
        leader = table.row_leader(row)
        if leader is not None:
            node = self.nodes[leader]
            incoming = Incoming(operation.message, 9, operation.operation_id, table.generation)

            def arrive() -> None:
                if node.service is not None:
                    node.service.receive(incoming, self.now_ns)
                    self.drain(node)

            self.send(arrive)
        self.at(self.rng.randrange(60 * MS, 200 * MS), lambda: self._attempt(operation))

    def _answered(self, operation_id: bytes, message: Message) -> None:
        known = self.waiting.get(operation_id)
        if known is None:
            return
        operation = known[0]
        if isinstance(message, Refused):
            if message.reason == Reason.TOO_OLD:  # an earlier attempt may have been carried out
                del self.waiting[operation_id]
                return
            final = (Reason.CONDITION_FAILED, Reason.NO_SUCH_NAME)
            if message.reason not in final:
                assert message.reason not in (Reason.BAD_REQUEST, Reason.NO_SUCH_BUCKET)
                return
            operation.reason = message.reason
        elif isinstance(message, NameResult):
            operation.version = message.summary.version
            if operation.kind in ("put", "delete"):
                self.assert_durable(operation)
        else:
            assert isinstance(message, NameVersionList)
            operation.found = message.versions
        del self.waiting[operation_id]
        operation.end_ns = self.now_ns
        self.trace.append((self.now_ns, f"{operation.kind} {operation.name} {operation.reason}"))


def key_of(name: str) -> NameKey:
    row = sum(name.encode()) % ROWS
    return NameKey(row=row, tenant="default", bucket="b", bucket_incarnation=1, name=name)
