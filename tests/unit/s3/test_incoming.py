"""The body of a request as it comes from aiohttp: in the pieces that the socket brought, or joined where
those are small; with a clock only while something has to be waited for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest
from aiohttp import StreamReader, web
from aiohttp.base_protocol import BaseProtocol

from replicast.gateway.s3.admission import SMALL_BODY_BYTES, Admission
from replicast.gateway.s3.errors import S3Error
from replicast.gateway.s3.incoming import JOINED_BYTES_MAX, Incoming

LARGE = bytes(range(256)) * (JOINED_BYTES_MAX // 256)
Fed = Callable[[StreamReader], None]


def no_matter() -> None:
    """Whether there is room."""


async def blocks_of(
    feed: Fed, stall_seconds: float = 60.0, has_room: Callable[[], None] = no_matter
) -> list[bytes]:
    """What comes of a body that was fed before it is read."""
    loop = asyncio.get_running_loop()
    protocol = BaseProtocol(loop)
    protocol.transport = cast(asyncio.Transport, object())  # connected
    body = StreamReader(protocol, 1 << 30, loop=loop)
    feed(body)
    request = cast(
        web.BaseRequest,
        SimpleNamespace(
            content=body,
            headers={},
            version=(1, 1),
            content_length=body.total_bytes,
            transport=object(),
        ),
    )
    share = Admission(1, 1 << 30, 1, 1.0).request()
    return [block async for block in Incoming(request, stall_seconds, has_room).blocks(share)]


def pieces(*data: bytes, end: bool = True) -> Fed:
    def feed(body: StreamReader) -> None:
        for each in data:
            body.feed_data(each)
        if end:
            body.feed_eof()

    return feed


def test_large_pieces__come_as_they_are() -> None:
    data = [LARGE + bytes([number]) for number in range(4)]
    found = asyncio.run(blocks_of(pieces(*data)))
    assert all(one is other for one, other in zip(found, data, strict=True))


def test_small_pieces__come_together() -> None:
    data = [bytes([number]) * 3 for number in range(200)]
    found = asyncio.run(blocks_of(pieces(*data)))
    assert b"".join(found) == b"".join(data)
    assert len(found) == 2, "the first, and all others"


def test_small_and_large_pieces__come_in_their_order() -> None:
    data = [b"a", LARGE, b"b", b"c", LARGE + b"d", LARGE + b"e", b"f"]
    assert b"".join(asyncio.run(blocks_of(pieces(*data)))) == b"".join(data)


@pytest.mark.parametrize("size", [1, len(LARGE)])
def test_chunks_of_the_transfer_encoding__do_not_end_it(size: int) -> None:
    data = [bytes([number]) * size for number in range(1, 9)]

    def feed(body: StreamReader) -> None:
        for each in data:
            body.begin_http_chunk_receiving()
            body.feed_data(each)
            body.end_http_chunk_receiving()
        body.feed_eof()

    assert b"".join(asyncio.run(blocks_of(feed))) == b"".join(data)


@pytest.mark.parametrize("more, times", [(0, 0), (1, 1)])
def test_room__is_told_of_where_it_is_taken(more: int, times: int) -> None:
    told: list[None] = []
    body = bytes(SMALL_BODY_BYTES + more)
    asyncio.run(blocks_of(pieces(body), has_room=lambda: told.append(None)))
    assert len(told) == times


def test_clock__only_while_something_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    timers: list[Any] = []
    timeout_at = asyncio.timeout_at

    def noted(when: float | None) -> asyncio.Timeout:
        timers.append(when)
        return timeout_at(when)

    monkeypatch.setattr(asyncio, "timeout_at", noted)
    asyncio.run(blocks_of(pieces(LARGE, LARGE, b"end")))
    assert not timers
    with pytest.raises(S3Error, match="socket connection"):
        asyncio.run(blocks_of(pieces(LARGE, b"never more", end=False), 0.01))
    assert len(timers) == 1
