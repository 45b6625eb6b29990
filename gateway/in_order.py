"""Work on a stream of items side by side, results in the order of the items.

At most `limit` items are under way, so a slow one stops the reading ahead. Leaving the
iteration early, or an error, cancels what runs.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")
R = TypeVar("R")


async def in_order(
    items: AsyncIterator[T], work: Callable[[T], Coroutine[Any, Any, R]], limit: int
) -> AsyncGenerator[R, None]:
    """`work(item)` for each item; raises what the first failing one raised."""
    under_way: deque[asyncio.Task[R]] = deque()
    try:
        async for item in items:
            under_way.append(asyncio.ensure_future(work(item)))
            if len(under_way) >= limit:
                yield await under_way.popleft()
        while under_way:
            yield await under_way.popleft()
    finally:
        for task in under_way:
            task.cancel()
        await asyncio.gather(*under_way, return_exceptions=True)
