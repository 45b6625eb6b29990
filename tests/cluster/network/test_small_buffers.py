"""Without privileges a socket gets what net.core.rmem_max allows (208 KiB on a stock Debian).

Credit follows what the kernel really granted, so 8 chunks of 1 MiB in flight do not drown such
receivers: little is sent twice, and nothing waits for a retransmission most of the time.
"""

from __future__ import annotations

import asyncio
import random
import time
from functools import partial

import pytest

from replicast.gateway.manifest import payload_reference
from replicast.hashing import HashAlgorithm
from replicast.transport import sockets
from replicast.transport.sockets import open_unicast, receive_buffer_bytes

MIB = 1 << 20
STOCK_BYTES = 212_992
IN_FLIGHT, CHUNKS, COPIES = 8, 48, 3
RESENT_PERCENT_MAX = 10


async def _all(work) -> float:
    """Run all of it, IN_FLIGHT at a time; how long it took."""
    room = asyncio.Semaphore(IN_FLIGHT)

    async def one(each):
        async with room:
            return await each

    began = time.monotonic()
    await asyncio.gather(*(one(each) for each in work))
    return time.monotonic() - began


async def _scenario(data_path, datagram_bytes: int) -> tuple[float, float, float]:
    """Seconds of all puts, of all gets, percent of the payload that was sent again."""
    rng = random.Random(datagram_bytes)
    async with data_path() as path:
        initiator = path.initiator(datagram_bytes=datagram_bytes)
        chunks = [rng.randbytes(MIB) for _ in range(CHUNKS)]
        placed = {}

        async def put(number: int) -> None:
            placed[number] = await initiator.put_chunk(chunks[number])
            assert placed[number].copies == COPIES

        async def get(number: int) -> None:
            reference = payload_reference(
                offset=0,
                size_bytes=MIB,
                algorithm=HashAlgorithm.BLAKE3_256,
                chid=placed[number].chid,
                copies=COPIES,
            )
            assert await initiator.get_chunk(reference) == chunks[number]

        puts = await _all(put(n) for n in range(CHUNKS))
        sent = sum(each.sent_bytes for each in placed.values())
        gets = await _all(get(n) for n in range(CHUNKS))
    return puts, gets, 100 * (sent / (COPIES * CHUNKS * MIB) - 1)


@pytest.mark.parametrize("datagram_bytes", [1392, 61_440])
def test_stock_buffers__no_collapse(data_path, monkeypatch, datagram_bytes):
    small = partial(open_unicast, buffer_bytes=STOCK_BYTES)
    with small("127.0.0.1", 0) as probe:
        assert receive_buffer_bytes(probe) == STOCK_BYTES
    monkeypatch.setattr(sockets, "open_unicast", small)
    puts, gets, resent_percent = asyncio.run(_scenario(data_path, datagram_bytes))
    print(
        f"\n{datagram_bytes} bytes: put {CHUNKS / puts:.0f} MiB/s, {resent_percent:.1f} % sent "
        f"again; get {CHUNKS / gets:.0f} MiB/s"
    )
    assert resent_percent <= RESENT_PERCENT_MAX
