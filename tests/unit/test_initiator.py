"""UdpInitiator without a network: what a caller gets, and what is left when it has gone."""

from __future__ import annotations

import asyncio
import random
from types import SimpleNamespace
from typing import Any

import pytest

from replicast import clocks
from replicast.credit import CreditPool
from replicast.errors import InvalidRequest
from replicast.flexhash.build import build
from replicast.flexhash.table import Policy, Table, TargetEntry, VdevEntry, VdevState
from replicast.gateway.context import ChunkContext, ChunkSettings
from replicast.gateway.initiator import UdpInitiator
from replicast.hashing import HashAlgorithm, content_hash
from replicast.machine import Outgoing
from replicast.metrics import Counters
from replicast.transfer import SendPayload
from replicast.transport.reassembly import Reassembly
from replicast.units import KIB, MIB
from replicast.wire.codec import encode
from replicast.wire.name_messages import (
    ALWAYS,
    NO_VERSION,
    Condition,
    NameDelete,
    NameKey,
    OperationTime,
)
from replicast.wire.status_messages import TargetStatusQuery

ALGORITHM = HashAlgorithm.BLAKE3_256
HOSTS = 3
KEY = NameKey(row=5, tenant="default", bucket="photos", bucket_incarnation=1, name="a")


class Network:
    """Encodes what is sent, and loses it."""

    def __init__(self) -> None:
        self.sent: list[str] = []

    def send(self, outgoing: Outgoing, now_ns: int) -> None:
        encode(outgoing.message)
        self.sent.append(outgoing.message.NAME)

    def send_payload(self, event: SendPayload) -> None:
        pass

    def flush(self) -> None:
        pass


def table() -> Table:
    place = ("127.0.0.1", 1)
    targets = [
        TargetEntry(n, f"t{n}", f"h{n}", "z", place, place, place, "", place)
        for n in range(1, HOSTS + 1)
    ]
    vdevs = [
        VdevEntry(n, n.to_bytes(16, "big"), n, 100, VdevState.UP, 1) for n in range(1, HOSTS + 1)
    ]
    return build(None, targets, vdevs, Policy(8, HOSTS, 3, 2), (), 1)


def initiator(network: Network) -> UdpInitiator:
    rng = random.Random(1)
    buffers, counters = Reassembly(MIB, 16), Counters()
    context = ChunkContext(ChunkSettings(), buffers, counters, rng, CreditPool(MIB))
    made = UdpInitiator(
        source=SimpleNamespace(table=table(), source_age_ns=lambda now_ns: 0),  # type: ignore[arg-type]
        context=context,
        algorithm=ALGORITHM,
        rng=rng,
        now_ns=clocks.now_ns,
        wall_ns=clocks.wall_ns,
    )
    made.connect(network)
    return made


def delete(etag: str) -> NameDelete:
    return NameDelete(
        key=KEY,
        time=OperationTime(first_sent_ns=1, begun_ns=1),
        condition=Condition(kind=ALWAYS, version=NO_VERSION, etag=etag),
        version=NO_VERSION,
        null=False,
        absent_too=False,
    )


def nothing_is_left(made: Any) -> bool:
    deadlines = (made._chunks.deadline_ns(), made._requests.deadline_ns(), made._timer.due_ns)
    return deadlines == (None, None, None) and not made._futures


def test_a_message_that_cannot_be_sent__fails_its_operation_and_no_other() -> None:
    async def run() -> None:
        network = Network()
        made = initiator(network)
        asking = asyncio.ensure_future(made.survey({1: TargetStatusQuery()}))
        await asyncio.sleep(0)
        with pytest.raises(InvalidRequest, match="NAME_DELETE"):
            await made.named(delete("x" * 1000), row=5)
        assert made._timer.due_ns is not None, "the survey is still timed"
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
        assert nothing_is_left(made)
        made.close()

    asyncio.run(run())


@pytest.mark.parametrize("size", [KIB, 200 * KIB])
def test_cancelled_put__leaves_nothing(size: int) -> None:
    async def run() -> None:
        network = Network()
        made = initiator(network)
        putting = asyncio.ensure_future(made.put_chunk(bytes(size)))
        while not network.sent:
            await asyncio.sleep(0)
        putting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await putting
        assert nothing_is_left(made)
        made.close()

    asyncio.run(run())


@pytest.mark.parametrize("size", [KIB, 200 * KIB])
def test_put__a_hash_that_is_given_is_not_made_again(
    size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def run() -> None:
        network, data, made_again = Network(), bytes(size), []
        chid = content_hash(ALGORITHM, data)

        def counting(*arguments: Any) -> bytes:
            made_again.append(arguments)
            return chid

        monkeypatch.setattr("replicast.gateway.initiator.content_hash", counting)
        for given, times in ((chid, 0), (None, 1)):
            made = initiator(network)
            network.sent.clear()
            putting = asyncio.ensure_future(made.put_chunk(data, chid=given))
            while not network.sent:
                await asyncio.sleep(0)
            putting.cancel()
            await asyncio.gather(putting, return_exceptions=True)
            assert len(made_again) == times
            made.close()

    asyncio.run(run())


def test_cancelled_get__leaves_nothing() -> None:
    async def run() -> None:
        network = Network()
        made = initiator(network)
        made.known_holders.put(content_hash(ALGORITHM, b"x"), (1,))
        reference: Any = SimpleNamespace(
            chid=content_hash(ALGORITHM, b"x"), hash_algorithm=ALGORITHM, stored_bytes=1
        )
        getting = asyncio.ensure_future(made.get_chunk(reference))
        while not network.sent:
            await asyncio.sleep(0)
        assert made._context.credit.granted_bytes == 1
        getting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await getting
        assert network.sent[-1] == "PAYLOAD_DONE"
        assert nothing_is_left(made) and made._context.credit.granted_bytes == 0
        assert made._context.buffers.stats()["transfers"] == 0  # type: ignore[attr-defined]
        made.close()

    asyncio.run(run())
