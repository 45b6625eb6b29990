"""NetThread over real loopback sockets; every test runs with both twins."""

from __future__ import annotations

import gc
import mmap
import os
import random
import resource
import select
import socket
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from replicast.auth.keyring import KeyRing
from replicast.file_io import MAP_FROM_BYTES
from replicast.native._net import NetThread as FastThread
from replicast.native._reassembly import Reassembly as FastReassembly
from replicast.transfer_header import header_for, parse_header, sealed_by, sealed_datagrams

from .net_node import PATIENCE_SECONDS, TWINS, MakeNode, Node, drain, make_node

ID = b"transfer-id-0001"
KEYS = KeyRing(b"c" * 16, 3, {3: b"k" * 32})
OTHER_KEYS = KeyRing(b"c" * 16, 3, {3: b"x" * 32})
__all__ = ["make_node"]


def send_chunk(
    sender: Node, receivers: list[Node], chunk: bytes, datagram_bytes: int, job_id: int = 1
) -> None:
    """Send with gap repair until all have it: a loaded machine may lose datagrams."""
    ranges = {id(r): [(0, len(chunk))] for r in receivers}
    first = True
    while missing := [r for r in receivers if ID not in r.completed]:
        groups = [missing] if first else [[r] for r in missing]
        for group in groups:
            assert sender.net.submit_payload(
                job_id, 0, ID, 7, chunk, ranges[id(group[0])], datagram_bytes, len(chunk),
                [r.address for r in group],
            )  # fmt: skip
            before = len(sender.sent)
            sender.wait(lambda count=before: len(sender.sent) > count)  # type: ignore[misc]
        first = False
        for r in missing:
            drain(sender, r)
            if ID not in r.completed:
                ranges[id(r)] = r.reassembly.gaps(ID, 1000)


@pytest.mark.parametrize("datagram_bytes", [1408, 8192, 61_440])
def test_payload__reaches_three_receivers(make_node: MakeNode, datagram_bytes: int) -> None:
    chunk = random.Random(1).randbytes(300_001)
    sender, receivers = make_node(), [make_node() for _ in range(3)]
    for receiver in receivers:
        receiver.reassembly.open(ID, len(chunk), datagram_bytes)
    send_chunk(sender, receivers, chunk, datagram_bytes)
    for receiver in receivers:
        assert receiver.completed == [ID]
        taken = receiver.reassembly.take(ID)
        assert taken == chunk and taken.readonly
    assert sender.net.stats()["sent_payload"] >= 3 * -(-len(chunk) // datagram_bytes)


def test_payload__only_the_ranges_asked_for(make_node: MakeNode) -> None:
    chunk = random.Random(2).randbytes(10_000)
    sender, receiver = make_node(), make_node()
    receiver.reassembly.open(ID, len(chunk), 1024)
    assert sender.net.submit_payload(
        5, 0, ID, 7, chunk, [(0, 1024), (3000, 5000)], 1024, len(chunk), [receiver.address]
    )
    sender.wait(lambda: sender.sent == [5])
    drain(sender, receiver)
    assert receiver.reassembly.gaps(ID, 9) == [(1024, 2048), (5120, 10_000)]
    assert receiver.completed == []


def test_payload__damaged_in_a_relay_is_repaired_from_gaps(make_node: MakeNode) -> None:
    """The relay drops every third datagram and flips a header byte in every fifth."""
    chunk = random.Random(3).randbytes(60_000)
    sender, receiver, relay = make_node(), make_node(), make_node()
    relay_socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    receiver.reassembly.open(ID, len(chunk), 1408)
    for index in range(-(-len(chunk) // 1408)):
        header = header_for(ID, index, len(chunk), 1408, 7)
        start = index * 1408
        datagram = bytearray(header.pack() + chunk[start : start + header.length])
        if index % 5 == 0:
            datagram[40] ^= 1
        if index % 3:
            relay_socket.sendto(datagram, receiver.address)
    relay_socket.close()
    drain(relay, receiver)
    gaps = receiver.reassembly.gaps(ID, 1000)
    assert (0, 1408) in gaps and receiver.reassembly.stats()["checksum"] > 0
    while ID not in receiver.completed:
        sender.net.submit_payload(
            1, 0, ID, 7, chunk, receiver.reassembly.gaps(ID, 1000), 1408, len(chunk),
            [receiver.address],
        )  # fmt: skip
        sender.wait(lambda: 1 in sender.sent)
        drain(sender, receiver)
    assert receiver.reassembly.take(ID) == chunk


def test_payload__ipv6(make_node: MakeNode) -> None:
    sender, receiver = make_node(), make_node()
    sockets = [socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) for _ in range(2)]
    try:
        for node, s in zip((sender, receiver), sockets, strict=True):
            s.bind(("::1", 0))
            node.net.add_socket(s.fileno(), 6)
        chunk = random.Random(4).randbytes(5000)
        receiver.reassembly.open(ID, len(chunk), 1024)
        address = sockets[1].getsockname()[:2]
        sender.net.submit_payload(1, 6, ID, 7, chunk, [(0, 5000)], 1024, 5000, [address])
        receiver.wait(lambda: receiver.completed == [ID])
        assert sender.net.send_control([(6, b"hello", address)]) == 1
        receiver.wait(lambda: bool(receiver.controls))
        assert receiver.controls == [(6, b"hello", sockets[0].getsockname()[:2])]
    finally:
        sender.net.stop()
        receiver.net.stop()
        for s in sockets:
            s.close()


def test_payload__sealed_ones_are_delivered_and_placed(make_node: MakeNode) -> None:
    chunk = random.Random(5).randbytes(3000)
    sender, receiver = make_node(), make_node()
    receiver.reassembly.open(ID, len(chunk), 1024, True)
    sealed = sealed_datagrams(KEYS, ID, 7, chunk, [(0, 3000)], 1024)
    forged = sealed_datagrams(OTHER_KEYS, ID, 7, chunk, [(0, 3000)], 1024)
    plain = header_for(ID, 0, 3000, 1024, 7).pack() + chunk[:1024]
    batch = [(0, datagram, receiver.address) for datagram in [*forged, plain, *sealed]]
    assert sender.net.send_control(batch) == 7
    receiver.wait(lambda: len(receiver.controls) == 6)
    for _, datagram, _ in receiver.controls:
        header = parse_header(datagram)
        assert header is not None and header.key_epoch == 3
        if sealed_by(KEYS, header, datagram):
            receiver.reassembly.place(ID, header.index * 1024, memoryview(datagram)[64:])
    assert receiver.reassembly.take_completed() == [ID]
    assert receiver.reassembly.take(ID) == chunk
    assert receiver.reassembly.stats()["unsealed"] == 1


def test_submit_payload__full_says_false_and_recovers(make_node: MakeNode) -> None:
    sender, receiver = make_node(jobs_max=2, job_bytes_max=3000), make_node()
    # Nobody takes, so finished jobs stay counted and their buffers pinned.
    arguments = (0, ID, 7, bytes(1000), [(0, 1000)], 512, 1000, [receiver.address])
    assert sender.net.submit_payload(1, *arguments)
    assert sender.net.submit_payload(2, *arguments)
    assert not sender.net.submit_payload(3, *arguments)
    sender.wait(lambda: sender.sent == [1, 2])
    assert sender.net.submit_payload(3, *arguments)
    big = (0, ID, 7, bytes(2500), [(0, 2500)], 512, 2500, [receiver.address])
    assert not sender.net.submit_payload(4, *big)


def test_submit_payload__pins_the_buffer_until_reported(make_node: MakeNode) -> None:
    sender, receiver = make_node(), make_node()
    chunk = bytearray(2000)
    sender.net.submit_payload(1, 0, ID, 7, chunk, [(0, 2000)], 512, 2000, [receiver.address])
    with pytest.raises(BufferError):
        chunk.append(0)
    sender.wait(lambda: sender.sent == [1])
    gc.collect()
    chunk.append(0)


@pytest.mark.parametrize(
    "change",
    [
        {"transfer_id": b"short"},
        {"sender": 1 << 64},
        {"ranges": []},
        {"ranges": [(5, 5)]},
        {"ranges": [(0, 1001)]},
        {"datagram_bytes": 100},
        {"datagram_bytes": 513},
        {"size_bytes": 999},
        {"addresses": []},
        {"addresses": [("localhost", 1)]},
        {"addresses": [("127.0.0.1", 0)]},
    ],
)
def test_submit_payload__refuses_nonsense(make_node: MakeNode, change: dict[str, Any]) -> None:
    good: dict[str, Any] = {
        "transfer_id": ID,
        "sender": 7,
        "buffer": bytes(1000),
        "ranges": [(0, 1000)],
        "datagram_bytes": 512,
        "size_bytes": 1000,
        "addresses": [("127.0.0.1", 9)],
    }
    with pytest.raises(ValueError):
        make_node().net.submit_payload(1, 0, *(good | change).values())


def test_submit_payload__a_removed_socket_ends_the_job(make_node: MakeNode) -> None:
    node = make_node()
    node.net.submit_payload(9, 44, ID, 7, bytes(600), [(0, 600)], 512, 600, [node.address])
    node.wait(lambda: node.sent == [9])
    assert node.net.stats()["dropped_unsent"] == 1


def test_submit_payload__what_cannot_be_sent_is_counted_and_skipped(make_node: MakeNode) -> None:
    sender, receiver = make_node(), make_node()
    receiver.reassembly.open(ID, 3000, 512)
    # A broadcast address without SO_BROADCAST is EACCES at once.
    addresses = [("255.255.255.255", 9), receiver.address]
    sender.net.submit_payload(1, 0, ID, 7, bytes(3000), [(0, 3000)], 512, 3000, addresses)
    receiver.wait(lambda: receiver.completed == [ID])
    sender.wait(lambda: sender.sent == [1])
    assert sender.net.stats()["send_errors"] > 0


def test_submit_payload__of_a_mapped_file_that_was_cut_short(
    make_node: MakeNode, tmp_path: Path
) -> None:
    """EFAULT for what is not there any more: lost, as if by the network, and nothing worse."""
    path, chunk = tmp_path / "chunk", random.Random(8).randbytes(MAP_FROM_BYTES)
    path.write_bytes(chunk)
    with path.open("rb+") as file:
        mapped = mmap.mmap(file.fileno(), len(chunk), prot=mmap.PROT_READ)
        file.truncate(100_000)
    sender, receiver = make_node(), make_node()
    receiver.reassembly.open(ID, len(chunk), 8192)
    job = (8192, len(chunk), [receiver.address])
    for job_id in (1, 2):
        ranges = receiver.reassembly.gaps(ID, 100)
        assert sender.net.submit_payload(job_id, 0, ID, 7, mapped, ranges, *job)
        sender.wait(lambda job_id=job_id: sender.sent[-1:] == [job_id])  # type: ignore[misc]
        drain(sender, receiver)
    assert sender.net.stats()["send_errors"] > 1 and sender.net.stats()["send_blocked"] == 0
    (start, end) = receiver.reassembly.gaps(ID, 100)[-1]
    assert start <= 100_000 // 8192 * 8192 and end == len(chunk)
    send_chunk(sender, [receiver], chunk, 8192)
    assert receiver.reassembly.take(ID) == chunk


def test_control__keeps_tag_bytes_and_source(make_node: MakeNode) -> None:
    sender, receiver = make_node(), make_node()
    datagrams = [random.Random(i).randbytes(i * 37 % 1400) for i in range(100)]
    assert sender.net.send_control([(0, d, receiver.address) for d in datagrams]) == 100
    receiver.wait(lambda: len(receiver.controls) == 100)
    assert receiver.controls == [(0, d, sender.address) for d in datagrams]
    assert sender.net.send_control([(3, b"no such socket", receiver.address)]) == 0


@pytest.mark.parametrize("host", ["storage-1", "", "127.0.0.1.1", "\ud800"])
def test_control__an_address_that_is_none_costs_its_own_datagram(
    make_node: MakeNode, host: str
) -> None:
    sender, receiver = make_node(), make_node()
    bad, huge = (0, b"lost", (host, 1)), (0, b"lost", ("127.0.0.1", 1 << 40))
    good = [(0, b"first", receiver.address), (0, b"last", receiver.address)]
    assert sender.net.send_control([good[0], bad, huge, good[1]]) == 2
    receiver.wait(lambda: len(receiver.controls) == 2)
    assert [data for _, data, _ in receiver.controls] == [b"first", b"last"]
    assert sender.net.stats()["dropped_unsent"] == 2


def test_control__the_longest_datagram(make_node: MakeNode) -> None:
    sender, receiver = make_node(), make_node()
    longest = random.Random(7).randbytes(65_000)
    sender.net.send_control([(0, longest, receiver.address), (0, b"", receiver.address)])
    receiver.wait(lambda: len(receiver.controls) == 2)
    assert [data for _, data, _ in receiver.controls] == [longest, b""]


@pytest.mark.parametrize(("size_bytes", "kept"), [(50, 10), (990, 1)])
def test_control__overflow_is_bounded_and_counted(
    make_node: MakeNode, size_bytes: int, kept: int
) -> None:
    sender, receiver = make_node(), make_node(control_count_max=10, control_bytes_max=1000)

    def overflow() -> None:
        sender.net.send_control([(0, bytes(size_bytes), receiver.address)] * 32)

    overflow()
    receiver.take()  # its own; so many lend the socket to the thread
    assert len(receiver.controls) == kept
    assert receiver.net.stats()["dropped_queue_full"] == 32 - kept
    while receiver.net.stats()["wake_ups"] == 0:  # by chance it may have been given back already
        before = len(receiver.controls)
        overflow()
        receiver.wait(lambda before=before: len(receiver.controls) > before)  # type: ignore[misc]
        assert len(receiver.controls) - before <= kept, "more than the queue holds"
    drain(sender, receiver)
    counts = receiver.net.stats()
    assert len(receiver.controls) + counts["dropped_queue_full"] == counts["received_control"]


def test_python_calls__do_not_depend_on_the_datagram_size() -> None:
    """Native only: what Python does per chunk is the same at 1400 and 8192 bytes."""
    calls = {size: count_calls(size) for size in (1400, 8192)}
    assert calls[1400] == calls[8192]


def count_calls(datagram_bytes: int) -> int:
    sender, receiver = Node("cython"), Node("cython")
    chunk = random.Random(6).randbytes(200_000)
    receiver.reassembly.open(ID, len(chunk), datagram_bytes)
    calls = 0

    def count(frame: Any, event: str, argument: Any) -> None:
        nonlocal calls
        calls += event in ("call", "c_call")

    try:
        threading.setprofile(count)
        for node in (sender, receiver):
            node.net.start()
            drain(node, node)  # the new thread has left Python
        calls = 0
        arguments = (1, 0, ID, 7, chunk, [(0, 200_000)], datagram_bytes, 200_000)
        sys.setprofile(count)
        sender.net.submit_payload(*arguments, [receiver.address])
        sys.setprofile(None)
        sender.wait(lambda: sender.sent == [1])
        receiver.wait(lambda: receiver.completed == [ID])
        sys.setprofile(count)
        receiver.net.take()
        sys.setprofile(None)
        return calls
    finally:
        sys.setprofile(None)
        threading.setprofile(None)
        sender.close()
        receiver.close()


@pytest.mark.parametrize("twin", list(TWINS))
def test_unread__while_datagrams_wait_for_the_thread(twin: str) -> None:
    node = Node(twin)
    try:
        assert not node.reassembly.unread()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
            other.sendto(b"hello", node.address)
            ready, _, _ = select.select([node.socket], [], [], PATIENCE_SECONDS)
            assert ready and node.reassembly.unread()
            node.net.start()
            node.wait(lambda: bool(node.controls))
            assert not node.reassembly.unread()
    finally:
        node.close()
    assert not node.reassembly.unread(), "closed"


@pytest.mark.parametrize("twin", list(TWINS))
def test_stop__joins_and_closes(twin: str) -> None:
    gc.collect()  # what other tests left behind is not to go meanwhile
    before = set(os.listdir("/proc/self/fd"))
    node = Node(twin)
    node.net.start()
    node.net.send_control([(0, b"to myself", node.address)])
    node.close()
    node.net.stop()
    assert set(os.listdir("/proc/self/fd")) <= before
    assert not [t for t in threading.enumerate() if t.name == "replicast-net"]
    with pytest.raises(RuntimeError):
        node.net.submit_payload(1, 0, ID, 7, b"x", [(0, 1)], 512, 1, [node.address])
    with pytest.raises(RuntimeError):
        node.net.start()


@pytest.mark.parametrize("twin", list(TWINS))
def test_start__where_no_thread_can_be_made(twin: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    node = Node(twin)
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        with pytest.raises(RuntimeError, match="new thread"):
            node.net.start()
    node.close()
    assert not node.reassembly.unread(), "closed"


@pytest.mark.parametrize("free", range(4))
def test_a_thread_that_finds_too_few_descriptors__leaves_none_open(free: int) -> None:
    reassembly, limits = FastReassembly(1 << 20, 4), resource.getrlimit(resource.RLIMIT_NOFILE)
    gc.collect()
    before = set(os.listdir("/proc/self/fd"))
    taken = [os.dup(0) for _ in range(100)]  # no gaps are left below the last
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(taken) + 1, limits[1]))
        for fd in taken[100 - free :]:
            os.close(fd)
        with pytest.raises(OSError):
            FastThread(reassembly)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        for fd in taken[: 100 - free]:
            os.close(fd)
    assert set(os.listdir("/proc/self/fd")) == before


def test_a_thread_that_the_collector_finds__closes_its_files() -> None:
    # The collector must not empty the object before __dealloc__, which writes to its members.
    reassembly = FastReassembly(1 << 20, 4)
    before = set(os.listdir("/proc/self/fd"))
    net = FastThread(reassembly)
    assert reassembly.source_fd >= 0
    ring: list[Any] = [net]
    ring.append(ring)
    del net, ring
    gc.collect()
    assert reassembly.source_fd == -1
    assert set(os.listdir("/proc/self/fd")) == before


def test_add_socket__of_a_descriptor_that_is_closed(make_node: MakeNode) -> None:
    net = make_node().net
    with pytest.raises(OSError):
        net.add_socket(1 << 20, 7)
    with pytest.raises(ValueError, match="no socket"):
        net.remove_socket(7)


def test_remove_socket__then_nothing_comes(make_node: MakeNode) -> None:
    sender, receiver = make_node(), make_node()
    with pytest.raises(ValueError):
        receiver.net.add_socket(receiver.socket.fileno(), 0)
    receiver.net.remove_socket(0)
    with pytest.raises(ValueError):
        receiver.net.remove_socket(0)
    sender.net.send_control([(0, b"unheard", receiver.address)])
    receiver.net.add_socket(receiver.socket.fileno(), 8)
    receiver.wait(lambda: bool(receiver.controls))
    assert receiver.controls == [(8, b"unheard", sender.address)]
