"""Who holds a chunk: what a gateway remembers, what a name tells the others, and what is made of it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from replicast.gateway import known_holders
from replicast.gateway.bodies import ObjectLimits
from replicast.gateway.known_holders import KnownHolders
from replicast.gateway.objects import Objects
from replicast.hashing import content_hash
from replicast.wire.documents import REFERENCES_MAX
from replicast.wire.name_messages import HOLDERS_MAX, NameResult

from .name_desk import Desk, desk
from .object_memory import ALGORITHM, CHUNK, MemoryInitiator, noise, read
from .test_initiator import Network, initiator

__all__ = ["desk"]


def of(*chids: bytes) -> Any:
    return tuple(SimpleNamespace(chid=chid) for chid in chids)


def test_known__what_was_seen_here_is_newer_than_what_a_name_says() -> None:
    known = KnownHolders()
    known.put(b"a", (4,))
    known.learn(of(b"a", b"b", b"c"), ((1, 2), (2, 3), ()))
    assert (known.of(b"a"), known.of(b"b"), known.of(b"c")) == ((4,), (2, 3), ())
    known.forget(b"a")
    known.forget(b"never heard of")
    assert known.of(b"a") == () and len(known) == 1


def test_known__what_a_name_gets() -> None:
    known = KnownHolders()
    assert known.of_all((b"a", b"b")) == ()
    known.put(b"b", tuple(range(HOLDERS_MAX + 1)))
    assert known.of_all((b"a", b"b")) == ((), tuple(range(HOLDERS_MAX)))


def test_known__fewer_lists_than_chunks_are_those_of_the_first() -> None:
    known = KnownHolders()
    known.learn(of(b"a", b"b"), ((1,),))
    known.learn(of(b"c"), ((2,), (3,)))
    assert [known.of(chid) for chid in (b"a", b"b", b"c")] == [(1,), (), (2,)]


def test_known__the_chunk_that_was_not_needed_for_longest_goes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(known_holders, "CHUNKS_MAX", 2)
    known = KnownHolders()
    known.put(b"a", (1,))
    known.put(b"b", (2,))
    assert known.of(b"a") == (1,)
    known.put(b"c", (3,))
    assert [known.of(chid) for chid in (b"a", b"b", b"c")] == [(1,), (), (3,)]


@pytest.fixture
def gateways() -> Iterator[tuple[MemoryInitiator, MemoryInitiator]]:
    """Two of one cluster."""
    writer, reader = MemoryInitiator(), MemoryInitiator()
    reader.chunks, reader.names, reader.holders = writer.chunks, writer.names, writer.holders
    yield writer, reader


def test_name__tells_another_gateway_who_holds_the_chunks(
    gateways: tuple[MemoryInitiator, MemoryInitiator],
) -> None:
    writer, reader = gateways
    data = noise(3 * CHUNK + 1)

    async def run() -> None:
        limits = ObjectLimits(chunk_size_bytes=CHUNK)
        await Objects(writer, limits).put("b", "o", data)
        objects = Objects(reader, limits)
        await objects.summary("b", "o")
        assert len(reader.known_holders) == 0, "only who will read is told"
        assert await read(objects, "o") == data

    asyncio.run(run())
    chids = [content_hash(ALGORITHM, data[at : at + CHUNK]) for at in range(0, len(data), CHUNK)]
    assert [reader.known_holders.of(chid) for chid in chids] == [(1, 2, 3)] * len(chids)


def test_copied_name__tells_it_too(gateways: tuple[MemoryInitiator, MemoryInitiator]) -> None:
    writer, reader = gateways
    data = noise(2 * CHUNK)

    async def run() -> None:
        limits = ObjectLimits(chunk_size_bytes=CHUNK)
        await Objects(writer, limits).put("b", "o", data)
        await Objects(writer, limits).copy("b", "o", "b", "copy")
        assert await read(Objects(reader, limits), "copy") == data

    asyncio.run(run())
    assert reader.known_holders.of(content_hash(ALGORITHM, data[:CHUNK])) == (1, 2, 3)


def test_row__keeps_them_over_a_loss_of_power(desk: Desk) -> None:
    holders = ((1, 2, 3), (), (0xFFFF,))
    assert desk.put("a", holders=holders).holders == ()
    desk.put("all", holders=(tuple(range(HOLDERS_MAX)),) * REFERENCES_MAX)
    desk.restart()
    found = desk.get("a")
    assert isinstance(found, NameResult) and found.holders == holders
    assert len(desk.get("all").holders) == REFERENCES_MAX


def test_read__asks_a_known_holder_at_once_and_looks_for_an_unknown_one() -> None:
    chid = content_hash(ALGORITHM, b"x")
    reference: Any = SimpleNamespace(chid=chid, hash_algorithm=ALGORITHM, stored_bytes=1)

    async def first(known: tuple[int, ...]) -> str:
        network = Network()
        made = initiator(network)
        made.known_holders.learn((reference,), (known,))
        getting = asyncio.ensure_future(made.get_chunk(reference))
        while not network.sent:
            await asyncio.sleep(0)
        getting.cancel()
        await asyncio.gather(getting, return_exceptions=True)
        made.close()
        return network.sent[0]

    assert asyncio.run(first((2,))) == "CHUNK_SEND"
    assert asyncio.run(first(())) == "CHUNK_QUERY"
    assert asyncio.run(first((99,))) == "CHUNK_QUERY", "no VDEV of this table"
