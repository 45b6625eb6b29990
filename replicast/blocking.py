"""The library for programs without an event loop: the methods of replicast.connect(), blocking.

    from replicast import blocking

    with blocking.connect() as cluster:
        cluster.put("photos", "a.jpg", open("a.jpg", "rb"))
        for block in cluster.get("photos", "a.jpg"):
            ...

One thread runs the initiator; any number of threads may use one connection at the same time, and
their operations run side by side. An interrupted call (Ctrl-C) is cancelled. A connection does
not survive fork(): what the child calls on it is refused. docs/library.md is the guide.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
from collections.abc import AsyncIterator, Coroutine, Iterable, Iterator, Mapping
from concurrent.futures import CancelledError, Future, wait
from functools import partial
from types import TracebackType
from typing import Any, BinaryIO, Self, TypeVar, overload

from replicast import embed
from replicast.embed import READ_BYTES, Version
from replicast.errors import InvalidRequest, Unavailable
from replicast.gateway.config import InitiatorConfig
from replicast.gateway.initiation import Block
from replicast.gateway.objects import ObjectInfo
from replicast.gateway.put_stream import PutReport

T = TypeVar("T")
Data = Block | BinaryIO | Iterable[Block]
LISTED_AT_ONCE = 256  # entries handed from thread to thread together
ENDING_SECONDS = 1.0


class Cluster:
    """A connection to one cluster; made by connect(), closed by `with` or close()."""

    def __init__(self, thread: _LoopThread, cluster: embed.Cluster) -> None:
        self._thread, self._cluster = thread, cluster

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Fail what is in flight (Unavailable) and close all sockets; harmless when repeated."""
        self._thread.close(self._cluster.close())

    def with_deadline(self, seconds: float | None) -> Cluster:
        """As embed.Cluster.with_deadline()."""
        return Cluster(self._thread, self._cluster.with_deadline(seconds))

    # -- buckets ----------------------------------------------------------------------

    def create_bucket(self, bucket: str) -> None:
        """Create a bucket; raises Conflict when it exists."""
        self._thread.run(self._cluster.create_bucket(bucket))

    def delete_bucket(self, bucket: str) -> None:
        """Delete a bucket; raises Conflict when it is not empty."""
        self._thread.run(self._cluster.delete_bucket(bucket))

    def list_buckets(self) -> list[str]:
        """Names of all buckets, sorted."""
        return self._thread.run(self._cluster.list_buckets())

    # -- objects ----------------------------------------------------------------------

    def put(
        self,
        bucket: str,
        name: str,
        data: Data,
        *,
        metadata: Mapping[str, str] | None = None,
        if_none_match: str | None = None,
        if_match: str | None = None,
        report: PutReport | None = None,
    ) -> ObjectInfo:
        """As embed.Cluster.put(); `data`: bytes, a file open for reading in binary, or an iterable
        of bytes. Files and iterables are read in the caller's thread; when one raises, the put is
        cancelled."""
        begin = partial(
            self._cluster.put,
            bucket,
            name,
            metadata=metadata,
            if_none_match=if_none_match,
            if_match=if_match,
            report=report,
        )
        if isinstance(data, bytes | bytearray | memoryview):
            return self._thread.run(begin(data))
        return self._put_blocks(begin, _blocks(data))

    def copy(
        self,
        bucket: str,
        name: str,
        to_bucket: str,
        to_name: str,
        *,
        version: Version | None = None,
        metadata: Mapping[str, str] | None = None,
        if_none_match: str | None = None,
        if_match: str | None = None,
        report: PutReport | None = None,
    ) -> ObjectInfo:
        """As embed.Cluster.copy()."""
        return self._thread.run(
            self._cluster.copy(
                bucket,
                name,
                to_bucket,
                to_name,
                version=version,
                metadata=metadata,
                if_none_match=if_none_match,
                if_match=if_match,
                report=report,
            )
        )

    def get(
        self,
        bucket: str,
        name: str,
        *,
        range: tuple[int, int] | None = None,
        version: Version | None = None,
    ) -> Iterator[Block]:
        """The verified bytes, block by block; `range` is (first, last), both included."""
        blocks = self._cluster.get(bucket, name, range=range, version=version)
        return self._each(blocks, at_once=1)

    def read(self, bucket: str, name: str, *, version: Version | None = None) -> bytes:
        """The whole object; for objects that fit in memory."""
        return self._thread.run(self._cluster.read(bucket, name, version=version))

    def stat(self, bucket: str, name: str, *, version: Version | None = None) -> ObjectInfo:
        """Size, ETag, version and metadata; raises NotFound."""
        return self._thread.run(self._cluster.stat(bucket, name, version=version))

    def versions(self, bucket: str, name: str) -> list[ObjectInfo]:
        """All versions and delete markers, newest first."""
        return self._thread.run(self._cluster.versions(bucket, name))

    def delete(
        self,
        bucket: str,
        name: str,
        *,
        version: Version | None = None,
        if_match: str | None = None,
    ) -> ObjectInfo:
        """Put a delete marker, or remove one version for good."""
        return self._thread.run(
            self._cluster.delete(bucket, name, version=version, if_match=if_match)
        )

    @overload
    def list(self, bucket: str, prefix: str = "", *, after: str = "") -> Iterator[ObjectInfo]: ...
    @overload
    def list(
        self, bucket: str, prefix: str = "", *, after: str = "", delimiter: str
    ) -> Iterator[ObjectInfo | str]: ...
    def list(
        self, bucket: str, prefix: str = "", *, after: str = "", delimiter: str = ""
    ) -> Iterator[ObjectInfo | str]:
        """Objects in byte order of their names; common prefixes as str with a delimiter."""
        entries = self._cluster.list(bucket, prefix, after=after, delimiter=delimiter)
        return self._each(entries, at_once=LISTED_AT_ONCE)

    # -- inside -----------------------------------------------------------------------

    def _each(self, items: AsyncIterator[T], at_once: int) -> Iterator[T]:
        try:
            while found := self._thread.run(_some(items, at_once)):
                yield from found
        finally:
            with contextlib.suppress(Unavailable):  # closed meanwhile: then that is, too
                self._thread.run(embed.end(items))

    def _put_blocks(self, begin: Any, blocks: Iterable[Block]) -> ObjectInfo:
        feed = _Feed()
        put: asyncio.Task[ObjectInfo] = self._thread.run(_start(begin(feed)))
        try:
            for block in blocks:
                if not self._thread.run(feed.give(block, put)):
                    break  # it has ended already: with an error
            else:
                self._thread.run(feed.give(None, put))
            return self._thread.run(_result(put))
        except BaseException:
            with contextlib.suppress(Unavailable):
                self._thread.run(_cancel(put))
            raise


def connect(
    cluster: str | os.PathLike[str] | None = None, config: InitiatorConfig | None = None
) -> Cluster:
    """Connect to the cluster at `cluster` (data folder or cluster.toml; default: where the CLI
    looks). Raises Unavailable when no voter answers."""
    thread = _LoopThread()
    try:
        return Cluster(thread, thread.run(embed.connect(cluster, config)))
    except BaseException:
        thread.close()
        raise


class _LoopThread:
    """An event loop in a thread of its own. The lock orders what is begun before what closes it."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._lock = threading.Lock()
        self._closed = False
        self._process = os.getpid()
        self._thread = threading.Thread(target=self._serve, name="replicast", daemon=True)
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Its result or error. When the caller is interrupted it is cancelled, and has ended."""
        done: Future[T] = Future()
        tasks: list[asyncio.Task[T]] = []

        def begin() -> None:
            tasks.append(self._loop.create_task(work))
            tasks[0].add_done_callback(partial(_settle, done))

        if self._forked:  # before the lock: another thread may have held it at the fork
            work.close()
            raise self._gone()
        with self._lock:
            if self._closed:
                work.close()
                raise self._gone()
            self._loop.call_soon_threadsafe(begin)
        try:
            return done.result()
        except CancelledError:  # by close() in another thread
            raise self._gone() from None
        except BaseException:
            if not done.done():
                self._loop.call_soon_threadsafe(lambda: tasks[0].cancel())
                wait([done])
            raise

    def close(self, last: Coroutine[Any, Any, None] | None = None) -> None:
        """Run `last`, end what was begun, then the thread. Harmless when repeated."""
        if self._forked:
            if last is not None:
                last.close()
            return
        with self._lock:
            if self._closed:
                if last is not None:
                    last.close()
                return
            self._closed = True
            future = asyncio.run_coroutine_threadsafe(_finish(last), self._loop)
        try:
            future.result()
        finally:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()

    @property
    def _forked(self) -> bool:
        return os.getpid() != self._process

    def _gone(self) -> Unavailable:
        if self._forked:
            text = "this connection was made before the process was forked: connect again"
            return Unavailable(text, reason="FORKED")
        return Unavailable("the connection to the cluster is closed", reason="CLOSED")

    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()
        self._loop.close()


class _Feed:
    """Blocks from the caller's thread to a put: one at a time, and it is used up when give() returns."""

    def __init__(self) -> None:
        self._blocks: asyncio.Queue[Block | None] = asyncio.Queue()

    async def give(self, block: Block | None, put: asyncio.Task[ObjectInfo]) -> bool:
        """None: the end. False: the put has ended."""
        self._blocks.put_nowait(block)
        used = asyncio.ensure_future(self._blocks.join())
        try:
            await asyncio.wait({used, put}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            used.cancel()
        return not put.done()

    async def __aiter__(self) -> AsyncIterator[Block]:
        while True:
            block = await self._blocks.get()
            if block is None:
                self._blocks.task_done()
                return
            yield block
            self._blocks.task_done()


def _blocks(data: BinaryIO | Iterable[Block]) -> Iterable[Block]:
    read = getattr(data, "read", None)
    found = iter(partial(read, READ_BYTES), b"") if read is not None else data
    if isinstance(found, str) or not isinstance(found, Iterable):
        kind = type(data).__name__
        raise InvalidRequest(f"data is {kind}: bytes, a binary file or an iterable is wanted")
    return map(_block, found)


def _block(block: Any) -> Block:
    if not isinstance(block, bytes | bytearray | memoryview):
        kind = type(block).__name__
        raise InvalidRequest(f"data holds {kind}: bytes are wanted (open files in binary)")
    return block


async def _some(items: AsyncIterator[T], at_once: int) -> list[T]:
    """The next items; empty at the end."""
    found: list[T] = []
    async for item in items:
        found.append(item)
        if len(found) == at_once:
            break
    return found


async def _start(work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
    return asyncio.ensure_future(work)


async def _result(task: asyncio.Task[T]) -> T:
    return await task


async def _cancel(task: asyncio.Task[Any]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def _settle(done: Future[T], task: asyncio.Task[T]) -> None:
    error = CancelledError() if task.cancelled() else task.exception()
    if error is not None:
        done.set_exception(error)
    else:
        done.set_result(task.result())


async def _finish(last: Coroutine[Any, Any, None] | None) -> None:
    if last is not None:
        await last
    others = asyncio.all_tasks() - {asyncio.current_task()}
    if others:
        # What waits for the cluster ends with the error that it was given; what waits for a
        # caller, who feeds it blocks, would not.
        _, waiting = await asyncio.wait(others, timeout=ENDING_SECONDS)
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
    await asyncio.get_running_loop().shutdown_asyncgens()
