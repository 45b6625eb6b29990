"""Whose a NetThread's sockets are, and who sends: its owner, or the thread; with both twins."""

from __future__ import annotations

import random
import select
import socket

from .net_node import MakeNode, make_node

__all__ = ["make_node"]
ID = b"transfer-id-0001"


def test_sockets__are_read_by_their_owner_while_no_payload_moves(make_node: MakeNode) -> None:
    sender, receiver = make_node(), make_node()
    for count in range(1, 100):
        sender.net.send_control([(0, b"x", receiver.address)])
        receiver.wait(lambda count=count: len(receiver.controls) == count)  # type: ignore[misc]
    assert receiver.net.stats()["wake_ups"] == 0, "the thread had nothing to do"


def test_take__of_several_sockets_at_once_mixes_nothing_up(make_node: MakeNode) -> None:
    sender, receiver = make_node(), make_node()
    others = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(4)]
    try:
        addresses = {0: receiver.address}
        for tag, other in enumerate(others, 1):
            other.bind(("127.0.0.1", 0))
            receiver.net.add_socket(other.fileno(), tag)
            addresses[tag] = other.getsockname()
        sizes = [1, 1000, 4000, 9000]
        sent: dict[int, list[bytes]] = {
            tag: [random.Random(tag * 50 + i).randbytes(sizes[i % 4]) for i in range(2 + tag * 5)]
            for tag in addresses
        }
        for tag, datagrams in sent.items():
            sender.net.send_control([(0, datagram, addresses[tag]) for datagram in datagrams])
        count = sum(len(datagrams) for datagrams in sent.values())
        receiver.wait(lambda: len(receiver.controls) == count)
        assert {source for _, _, source in receiver.controls} == {sender.address}
        for tag, datagrams in sent.items():
            assert [d for t, d, _ in receiver.controls if t == tag] == datagrams
    finally:
        receiver.net.stop()
        for other in others:
            other.close()


def test_sockets__are_the_threads_while_payload_moves(make_node: MakeNode) -> None:
    sender, receiver = make_node(), make_node()
    receiver.reassembly.open(ID, 2000, 512)

    def read_by_thread() -> bool:
        before = receiver.net.stats()["wake_ups"]
        count = len(receiver.controls)
        sender.net.send_control([(0, b"x", receiver.address)])
        receiver.wait(lambda: len(receiver.controls) > count)
        return bool(receiver.net.stats()["wake_ups"] > before)

    assert not read_by_thread()
    found = False
    while not found:  # payload that comes again and again, and of which none is new
        sender.net.submit_payload(
            len(sender.sent) + 1, 0, ID, 7, bytes(2000), [(0, 512)], 512, 2000, [receiver.address]
        )
        sent = len(sender.sent) + 1
        sender.wait(lambda sent=sent: len(sender.sent) == sent)  # type: ignore[misc]
        receiver.take()
        found = read_by_thread()
    while read_by_thread():
        pass  # until LENT_MS have passed without payload
    assert not read_by_thread()


def test_submit_payload__a_job_that_is_not_long_is_sent_at_once(make_node: MakeNode) -> None:
    sender, receiver = make_node(), make_node()
    chunk = random.Random(5).randbytes(200_000)
    receiver.reassembly.open(ID, len(chunk), 61_440)
    job = (0, ID, 7, chunk, [(0, len(chunk))], 61_440, len(chunk), [receiver.address])
    assert sender.net.submit_payload(3, *job)
    sender.take()
    assert sender.sent == [3]
    receiver.wait(lambda: receiver.completed == [ID])
    assert receiver.reassembly.take(ID) == chunk


def test_submit_payload__the_thread_goes_on_with_a_long_job(make_node: MakeNode) -> None:
    sender, receiver = make_node(), make_node()
    chunk = random.Random(6).randbytes(8 << 20)  # more messages than its owner sends, each way
    assert sender.net.submit_payload(
        3, 0, ID, 7, chunk, [(0, len(chunk))], 61_440, len(chunk), [receiver.address]
    )
    sender.wait(lambda: sender.sent == [3])
    assert sender.net.stats()["sent_payload"] == -(-len(chunk) // 61_440)


def test_sockets__come_back_with_the_last_datagram(make_node: MakeNode) -> None:
    """Not only when none has come for a while: what is lent is read by way of the thread."""
    sender, receiver = make_node(), make_node()
    chunk = random.Random(7).randbytes(200_000)
    for number in range(50):
        transfer_id = number.to_bytes(16, "little")
        receiver.reassembly.open(transfer_id, len(chunk), 8192)
        job = (0, transfer_id, 7, chunk, [(0, len(chunk))], 8192, len(chunk), [receiver.address])
        assert sender.net.submit_payload(number, *job)
        receiver.wait(lambda: transfer_id in receiver.completed)  # noqa: B023
        receiver.reassembly.close(transfer_id)
        before = receiver.net.stats()["wake_ups"]
        sender.net.send_control([(0, b"x", receiver.address)])
        receiver.wait(lambda: len(receiver.controls) > number)  # noqa: B023
        if receiver.net.stats()["wake_ups"] == before:
            return
    raise AssertionError("the thread has the sockets all the time")


def test_notification__none_for_the_middle_of_a_transfer(make_node: MakeNode) -> None:
    sender, receiver = make_node(), make_node()
    chunk = bytes(100_000)
    receiver.reassembly.open(ID, len(chunk), 512)
    job = (0, ID, 7, chunk, [(0, 50_000)], 512, len(chunk), [receiver.address])
    sender.net.submit_payload(1, *job)
    turns = 0
    while receiver.net.stats()["received_payload"] < 98:
        ready, _, _ = select.select([receiver.net.fileno()], [], [], 0.001)
        if ready:
            receiver.take()
            turns += 1
    # The first finds that payload has begun to move; another one only where a thread had to pause so
    # long that payload seemed to have ended. Nearly always there is one: never one for each datagram.
    assert 1 <= turns < 49
    assert receiver.net.stats()["wake_ups"] == 0
    assert (receiver.controls, receiver.completed) == ([], [])
