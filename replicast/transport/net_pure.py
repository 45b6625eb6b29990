"""The network thread in plain Python: the definition; native/_net.pyx is its fast twin.

One thread per process waits for all UDP sockets of a daemon while payload moves. A payload datagram
goes straight into Reassembly; every other one is queued (bounded in count and bytes,
overflow counted) with the tag of its socket. fileno() becomes readable once per batch,
and only when there is something for take(): control datagrams, completed transfers or
finished jobs, never for the middle of a transfer. So Python runs per chunk, not per
datagram. Payload jobs are sent slice by slice between receives: datagram by datagram,
each one to all addresses before the next, round-robin over the jobs.

While little moves, nobody has to be woken to wake the owner: it waits for the sockets itself, by
fileno(), and take() reads them; and submit_payload() sends OWN_SLICES of a job itself. What is more lends
the sockets to the thread, so that the owner is not woken in the middle of it: the first payload
datagrams of a transfer, when they are not all of it; what is left of a job; DATAGRAMS_PER_RECEIVE at once. They
come back when no job is left, and no transfer is incomplete or no payload has come for LENT_MS.

send_control() sends at once from the calling thread. What the kernel does not take is
lost and counted, as any datagram may be. Everything here is one node's own traffic:
checks on peers are Reassembly's and the endpoint's.

Invariants: a job's buffer stays referenced until its id was in take()'s `sent` (or
stop()); after remove_socket() the thread does not touch that descriptor again.
Limits: SOCKETS_MAX sockets, the four limits of __init__. Callers are one thread.
"""

from __future__ import annotations

import errno
import os
import select
import socket
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import ip_address
from threading import Lock, Thread

from replicast.clocks import now_ns
from replicast.machine import Address
from replicast.transfer_header import header_for, index_runs, is_payload
from replicast.transport.reassembly import FeedCode, Reassembly, check_shape
from replicast.units import MS

SOCKETS_MAX = 256
DATAGRAMS_PER_SLICE = 12
DATAGRAMS_PER_RECEIVE = 32
OWN_SLICES = 5  # a chunk of 1 MiB to three, or of 4 MiB to one, in the largest datagrams
DATAGRAM_BYTES_MAX = 65_536
LENT_MS = 20
TRY_LATER = (errno.EAGAIN, errno.ENOBUFS)

Control = tuple[int, bytes, Address]
COUNTERS = (
    "received_control",
    "received_payload",
    "received_bytes",
    "sent_control",
    "sent_payload",
    "sent_bytes",
    "sent_joined",  # of the payload datagrams, by UDP_SEGMENT: several a message (native only)
    "received_joined",  # of all received, by UDP_GRO (native only)
    "send_too_long",  # payload datagrams that do not fit the path's MTU
    "send_errors",  # payload messages that the kernel refused (no route)
    "send_blocked",  # times a full send buffer made the thread wait
    "wake_ups",  # times the thread made fileno() readable
    "dropped_queue_full",
    "dropped_truncated",
    "dropped_unsent",  # control datagrams not taken, jobs whose socket was gone
)


def check_job(
    transfer_id: bytes,
    buffer: bytes | bytearray | memoryview,
    datagram_bytes: int,
    size_bytes: int,
    addresses: list[Address],
    sender: int,
) -> None:
    """Raise ValueError for a payload job that could never be received."""
    check_shape(transfer_id, size_bytes, datagram_bytes)
    if memoryview(buffer).nbytes != size_bytes:
        raise ValueError(f"buffer has {memoryview(buffer).nbytes} bytes, not {size_bytes}")
    if not addresses:
        raise ValueError("no addresses")
    if not 0 <= sender < 1 << 64:
        raise ValueError(f"sender {sender} is not a node id")


def _check_address(address: Address) -> None:
    host, port = address
    try:
        ip_address(host)
    except ValueError:
        port = 0
    if not 0 < port < 65536:
        raise ValueError(f"not an IP address and port: {host!r}, {address[1]!r}")


def _now_ms() -> int:
    return now_ns() // MS


@dataclass(slots=True)
class _Socket:
    socket: socket.socket
    tag: int
    blocked: bool = False


@dataclass(slots=True)
class _Job:
    id: int
    tag: int
    transfer_id: bytes
    sender: int
    buffer: memoryview
    datagram_bytes: int
    messages: deque[tuple[int, Address]]  # (index, address) still to be sent, in order


class NetThread:
    """Sockets of one process, served by one thread."""

    def __init__(
        self,
        reassembly: Reassembly,
        *,
        control_count_max: int = 8192,
        control_bytes_max: int = 16 << 20,
        jobs_max: int = 1024,
        job_bytes_max: int = 256 << 20,
    ) -> None:
        self.reassembly = reassembly
        self._limits = (control_count_max, control_bytes_max, jobs_max, job_bytes_max)
        self._sockets: dict[int, _Socket] = {}  # by file descriptor
        self._table_lock = Lock()
        self._queue_lock = Lock()
        self._controls: list[Control] = []
        self._control_bytes = 0
        self._submitted: deque[_Job] = deque()
        self._jobs: deque[_Job] = deque()
        self._done: list[_Job] = []
        self._job_count = self._job_bytes = 0
        self._notified = self._stopping = False
        self._thread: Thread | None = None
        self._counters = dict.fromkeys(COUNTERS, 0)
        self._thread_epoll, self._owner_epoll = select.epoll(), select.epoll()
        self._lent = False  # the sockets, to the thread
        self._payload_ms = self._flood_ms = 0  # when payload came last, or too much for its owner
        self._wake_fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._notify_fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._thread_epoll.register(self._wake_fd, select.EPOLLIN)
        self._owner_epoll.register(self._notify_fd, select.EPOLLIN)
        reassembly.source_fd = self._owner_epoll.fileno()

    # -- sockets ----------------------------------------------------------------------
    def add_socket(self, fd: int, tag: int) -> None:
        """Serve this bound UDP socket; the caller keeps it open until remove_socket or stop."""
        with self._table_lock:
            if any(s.tag == tag for s in self._sockets.values()):
                raise ValueError(f"tag {tag} is taken")
            if len(self._sockets) >= SOCKETS_MAX:
                raise ValueError(f"more than {SOCKETS_MAX} sockets")
            # A duplicate, so that this object's end closes nothing of the caller's.
            self._sockets[fd] = _Socket(socket.socket(fileno=os.dup(fd)), tag)
            self._watcher.register(fd, select.EPOLLIN)

    def remove_socket(self, tag: int) -> None:
        """Stop serving it; when this returns the caller may close it."""
        with self._table_lock:
            for fd, place in self._sockets.items():
                if place.tag == tag:
                    self._watcher.unregister(fd)
                    del self._sockets[fd]
                    place.socket.close()
                    return
        raise ValueError(f"no socket with tag {tag}")

    @property
    def _watcher(self) -> select.epoll:
        return self._thread_epoll if self._lent else self._owner_epoll

    def _lend(self, lent: bool) -> None:
        """The sockets go to the thread, or back; with the table's lock held."""
        if self._lent == lent:
            return
        for fd in self._sockets:
            self._watcher.unregister(fd)
        self._lent = lent
        for fd in self._sockets:
            self._watcher.register(fd, select.EPOLLIN)
        self.reassembly.source_fd = self._watcher.fileno()

    def _find(self, tag: int) -> _Socket | None:
        return next((s for s in self._sockets.values() if s.tag == tag), None)

    # -- life -------------------------------------------------------------------------
    def start(self) -> None:
        """Start the thread; once."""
        if self._thread is not None or self._owner_epoll.closed:
            raise RuntimeError("started already")
        thread = Thread(target=self._loop, name="replicast-net", daemon=True)
        thread.start()  # where that fails, there is none to be joined
        self._thread = thread

    def stop(self) -> None:
        """Join the thread, forget unsent jobs, close what was opened here. Idempotent."""
        if self._owner_epoll.closed:
            return
        self._stopping = True
        os.eventfd_write(self._wake_fd, 1)
        if self._thread is not None:
            self._thread.join()
        for place in self._sockets.values():
            place.socket.close()
        self._sockets.clear()
        self._submitted.clear()
        self._jobs.clear()
        self._done.clear()
        self.reassembly.source_fd = -1
        self._thread_epoll.close()
        self._owner_epoll.close()
        os.close(self._wake_fd)
        os.close(self._notify_fd)
        self._notify_fd = -1

    def fileno(self) -> int:
        """Readable when take() has something."""
        return -1 if self._owner_epoll.closed else self._owner_epoll.fileno()

    def _loop(self) -> None:
        while not self._stopping:
            wait_seconds = 0 if self._runnable() else LENT_MS / 1000 if self._lent else None
            events = self._thread_epoll.poll(wait_seconds)
            with self._table_lock:
                news = [self._serve(fd, mask) for fd, mask in events]
                if self._jobs:
                    news.append(self._send_next())
                elif self._lent and not self._busy(_now_ms()):
                    self._lend(False)
            if any(news):
                self._notify()

    def _busy(self, now_ms: int) -> bool:
        """Would its owner be woken too often?"""
        if now_ms < self._flood_ms + LENT_MS:
            return True
        return now_ms < self._payload_ms + LENT_MS and self.reassembly.expects()

    def _runnable(self) -> bool:
        """Whether a job could go on now."""
        for job in self._jobs:
            place = self._find(job.tag)
            if place is None or not place.blocked:
                return True
        return False

    def _notify(self) -> None:
        with self._queue_lock:
            before, self._notified = self._notified, True
        if not before:
            self._counters["wake_ups"] += 1
            os.eventfd_write(self._notify_fd, 1)

    # -- receiving --------------------------------------------------------------------
    def _serve(self, fd: int, mask: int) -> bool:
        """What one descriptor has for us; whether that is news for Python."""
        if fd == self._wake_fd:
            os.eventfd_read(self._wake_fd)
            with self._queue_lock:
                self._jobs.extend(self._submitted)
                self._submitted.clear()
            self._lend(self._lent or bool(self._jobs))
            return False
        place = self._sockets.get(fd)
        if place is None:
            return False
        if place.blocked and mask & select.EPOLLOUT:
            place.blocked = False
            self._thread_epoll.modify(fd, select.EPOLLIN)
        news, _ = self._receive(place)
        return news

    def _receive(self, place: _Socket) -> tuple[bool, int]:
        """Whether that is news for Python, and how many datagrams there were."""
        news, taken = False, 0
        while taken < DATAGRAMS_PER_RECEIVE:
            try:
                data, _, flags, source = place.socket.recvmsg(
                    DATAGRAM_BYTES_MAX, 0, socket.MSG_DONTWAIT
                )
            except OSError:
                break
            taken += 1
            self._counters["received_bytes"] += len(data)
            if flags & socket.MSG_TRUNC:
                self._counters["dropped_truncated"] += 1
            elif self._deliver(place.tag, data, (source[0], source[1])):
                news = True
        return news, taken

    def _deliver(self, tag: int, data: bytes, source: Address) -> bool:
        if not is_payload(data):
            self._counters["received_control"] += 1
            return self._queue(tag, data, source)
        self._counters["received_payload"] += 1
        code = self.reassembly.feed(data)
        self._payload_ms = _now_ms()
        if code == FeedCode.DELIVER:
            return self._queue(tag, data, source)
        return code == FeedCode.COMPLETED

    def _queue(self, tag: int, data: bytes, source: Address) -> bool:
        count_max, bytes_max, _, _ = self._limits
        with self._queue_lock:
            full = len(self._controls) >= count_max or self._control_bytes + len(data) > bytes_max
            if not full:
                self._controls.append((tag, data, source))
                self._control_bytes += len(data)
        if full:
            self._counters["dropped_queue_full"] += 1
        return not full

    # -- sending ----------------------------------------------------------------------
    def _send_next(self) -> bool:
        """Give the first job that can go on one slice, then put it last; whether one ended."""
        for _ in range(len(self._jobs)):
            place = self._find(self._jobs[0].tag)
            if place is None or not place.blocked:
                return self._send_slice(self._jobs.popleft(), place)
            self._jobs.rotate(-1)
        return False

    def _send_slice(self, job: _Job, place: _Socket | None) -> bool:
        if place is None:
            self._counters["dropped_unsent"] += 1
            job.messages.clear()
        else:
            self._send_some(job, place, DATAGRAMS_PER_SLICE)
        if job.messages:
            self._jobs.append(job)
            return False
        with self._queue_lock:
            self._done.append(job)
        return True

    def _send_some(self, job: _Job, place: _Socket, count: int) -> None:
        """So many datagrams, fewer when the socket is full."""
        for _ in range(count):
            if not job.messages or not self._send_one(job, place):
                return

    def _send_one(self, job: _Job, place: _Socket) -> bool:
        """Send the next datagram; False when the socket is full."""
        index, address = job.messages[0]
        header = header_for(job.transfer_id, index, len(job.buffer), job.datagram_bytes, job.sender)
        start = index * job.datagram_bytes
        pieces: list[bytes | memoryview] = [
            header.pack(),
            job.buffer[start : start + header.length],
        ]
        try:
            size = place.socket.sendmsg(pieces, [], socket.MSG_DONTWAIT, address)
            self._counters["sent_payload"] += 1
            self._counters["sent_bytes"] += size
        except OSError as error:
            if error.errno in TRY_LATER:
                self._counters["send_blocked"] += 1
                if self._lent:  # else the thread will find that out again
                    place.blocked = True
                    events = select.EPOLLIN | select.EPOLLOUT
                    self._thread_epoll.modify(self._fd_of(place), events)
                return False
            # It cannot be sent (no route, too long, filtered): lost, like any other.
            too_long = error.errno == errno.EMSGSIZE
            self._counters["send_too_long" if too_long else "send_errors"] += 1
        job.messages.popleft()
        return True

    def _fd_of(self, place: _Socket) -> int:
        return next(fd for fd, s in self._sockets.items() if s is place)

    def submit_payload(
        self,
        job_id: int,
        tag: int,
        transfer_id: bytes,
        sender: int,
        buffer: bytes | bytearray | memoryview,
        ranges: list[tuple[int, int]],
        datagram_bytes: int,
        size_bytes: int,
        addresses: list[Address],
    ) -> bool:
        """Send the datagrams that cover `ranges` of `buffer` (the whole chunk) to all addresses.

        False when too much is queued already: the caller keeps the ranges and tries again.
        The id comes back from take() when the last datagram was handed to the kernel.
        Raises ValueError for a job that makes no sense, RuntimeError when not running.
        """
        check_job(transfer_id, buffer, datagram_bytes, size_bytes, addresses, sender)
        runs = index_runs(ranges, size_bytes, datagram_bytes)
        if self._thread is None or self._stopping:
            raise RuntimeError("not running")
        if not runs:
            raise ValueError("no ranges")
        for address in addresses:
            _check_address(address)
        indexes = [index for first, end in runs for index in range(first, end)]
        messages = deque((index, address) for index in indexes for address in addresses)
        view = memoryview(buffer).cast("B")
        job = _Job(job_id, tag, transfer_id, sender, view, datagram_bytes, messages)
        _, _, jobs_max, job_bytes_max = self._limits
        with self._queue_lock:
            if self._job_count >= jobs_max or self._job_bytes + size_bytes > job_bytes_max:
                return False
            self._job_count += 1
            self._job_bytes += size_bytes
            own = not self._submitted
        self._begin_job(job, own)
        return True

    def _begin_job(self, job: _Job, own: bool) -> None:
        """Send it at once, as far as that goes without waiting and `own` says so: the thread need
        not be woken for it. The rest is the thread's."""
        with self._table_lock:
            place = self._find(job.tag)
            if own and not self._lent and place is not None:
                self._send_some(job, place, OWN_SLICES * DATAGRAMS_PER_SLICE)
        with self._queue_lock:
            ended = not job.messages
            (self._done if ended else self._submitted).append(job)
        if ended:
            self._notify()
        else:
            os.eventfd_write(self._wake_fd, 1)

    def send_control(self, datagrams: list[Control]) -> int:
        """Send (tag, datagram, address) now; how many the kernel took. The rest is lost."""
        sent = 0
        for tag, payload, address in datagrams:
            place = self._find(tag)
            try:
                _check_address(address)
                if place is not None:
                    place.socket.sendto(payload, socket.MSG_DONTWAIT, address)
                    sent += 1
                    self._counters["sent_bytes"] += len(payload)
            except (OSError, ValueError):
                continue
        self._counters["sent_control"] += sent
        self._counters["dropped_unsent"] += len(datagrams) - sent
        return sent

    def _read_own(self) -> None:
        """What the owner was woken for: the thread's news, or datagrams where it has not the sockets."""
        events = self._owner_epoll.poll(0)
        with self._table_lock:
            for fd, _ in events:
                if fd == self._notify_fd:
                    with suppress(BlockingIOError):
                        os.eventfd_read(self._notify_fd)
                elif not self._lent and fd in self._sockets:
                    self._read_socket(self._sockets[fd])

    def _read_socket(self, place: _Socket) -> None:
        """All that waits there; lent to the thread when that is too much, or more payload is to come."""
        before = self._counters["received_payload"]
        _, taken = self._receive(place)
        flood = taken == DATAGRAMS_PER_RECEIVE
        if flood:
            self._flood_ms = _now_ms()
        payload = self._counters["received_payload"] != before
        if flood or (payload and self.reassembly.expects()):
            self._lend(True)

    def take(self) -> tuple[list[Control], list[bytes], list[int]]:
        """(control datagrams, ids of completed transfers, ids of finished jobs) since last time."""
        if not self._owner_epoll.closed:
            self._read_own()
        with self._queue_lock:
            self._notified = False
            controls, self._controls = self._controls, []
            done, self._done = self._done, []
            self._control_bytes = 0
            self._job_count -= len(done)
            self._job_bytes -= sum(len(job.buffer) for job in done)
        return controls, self.reassembly.take_completed(), [job.id for job in done]

    @property
    def send_too_long(self) -> int:
        """That counter alone: cheap enough to be asked for with every finished job."""
        return self._counters["send_too_long"]

    def stats(self) -> dict[str, int]:
        """COUNTERS since the start; 1 for `segmenting` (several datagrams a message are sent, and
        the kernel has not refused that) and for `joining` (it gives several), else 0."""
        return self._counters | {"segmenting": 0, "joining": 0}
