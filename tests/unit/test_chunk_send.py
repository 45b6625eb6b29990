"""SendResponder: what a reader may ask for, without a cluster around it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from replicast.machine import Incoming
from replicast.metrics import Counters
from replicast.target.admission import Admission
from replicast.target.get import IDLE_NS, ReadChunk, SendResponder
from replicast.transfer import SendPayload
from replicast.wire.chunk_messages import ChunkSend, Refused
from replicast.wire.reasons import Reason

SIZE = 3000


def responder() -> tuple[SendResponder, Admission]:
    view: Any = SimpleNamespace(has=lambda chid: True, size_of=lambda chid: SIZE)
    table: Any = SimpleNamespace(generation=1)
    lease: Any = SimpleNamespace(valid=lambda now_ns: True)
    admission = Admission(9, table, lease, {4: view}, Counters())
    return SendResponder(admission), admission


def ask(datagram_bytes: int, *, authenticated: bool = False) -> Incoming:
    message = ChunkSend(
        chid=b"h" * 32,
        vdev_index=4,
        transfer_id=b"t" * 16,
        datagram_bytes=datagram_bytes,
        credit_bytes=SIZE,
        authenticated=authenticated,
    )
    return Incoming(message, 7, b"o" * 16, 1, ("127.0.0.1", 9), None)


@pytest.mark.parametrize("datagram_bytes", [0, 7, 255, 1001, 65_535])
def test_chunk_send__of_datagrams_that_cannot_be_sent_is_refused(datagram_bytes: int) -> None:
    core, admission = responder()
    core.receive(ask(datagram_bytes), 0)
    (reply,) = admission.take_outgoing()
    assert isinstance(reply.message, Refused) and reply.message.reason == Reason.BAD_REQUEST
    assert admission.take_events() == [] and core.due_ns is None


def test_chunk_send__reads_the_chunk() -> None:
    core, admission = responder()
    core.receive(ask(1000), 0)
    (read,) = admission.take_events()
    assert isinstance(read, ReadChunk) and read.to_kernel and admission.take_outgoing() == []


def test_chunk_send__with_macs_reads_bytes_of_its_own() -> None:
    core, admission = responder()
    core.receive(ask(1000, authenticated=True), 0)
    (read,) = admission.take_events()
    assert isinstance(read, ReadChunk) and not read.to_kernel, (
        "what is mapped may go while MACs are made"
    )


def test_silent_reader__is_dropped_and_no_message_moves_the_time_to_look() -> None:
    core, admission = responder()
    core.receive(ask(1000), 0)
    (read,) = admission.take_events()
    assert isinstance(read, ReadChunk) and core.due_ns == IDLE_NS
    core.read_done(read.token, bytes(SIZE), 5)
    (job,) = admission.take_events()
    assert isinstance(job, SendPayload) and core.due_ns == IDLE_NS
    core.payload_sent(7, b"t" * 16, job.token, 10)
    core.expire(IDLE_NS)
    assert len(core) == 1 and core.due_ns == IDLE_NS + 10
    core.expire(IDLE_NS + 10)
    assert len(core) == 0 and core.due_ns is None


def test_done__ends_a_transfer_from_here_and_no_other() -> None:
    core, _ = responder()
    core.receive(ask(1000), 0)
    assert not core.done(8, b"t" * 16) and not core.done(7, b"u" * 16) and len(core) == 1
    assert core.done(7, b"t" * 16) and len(core) == 0
    core.receive(ask(1000), 99)
    assert core.due_ns == 99 + IDLE_NS
