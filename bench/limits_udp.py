"""What loopback allows: a stream of datagrams to another process, and a ping-pong with one.

Blocking sockets, one system call a message. The stream goes on while no more than a window waits to
be read, as nothing is sent again here. By UDP_SEGMENT one call passes many datagrams that fit
Ethernet; the other process takes them joined (UDP_GRO). bench/limits.py runs this; the other
process is this file:

    python limits_udp.py sink BYTES ACK_BYTES | echo COUNT

It prints its port, works, and prints its CPU seconds.
"""

from __future__ import annotations

import os
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from figures import Sample, Usage, say

from replicast.transport.sockets import PAYLOAD_BYTES_MAX, open_unicast, receive_buffer_bytes
from replicast.units import MIB

TINY = bool(os.environ.get("REPLICAST_BENCH_TINY"))
STREAM_BYTES = 16 * MIB if TINY else 1024 * MIB
PINGS = 200 if TINY else 10_000
PING_BYTES = 64
SEGMENT_BYTES, SEGMENTS = 1472, 44  # of Ethernet; together just below 64 KiB
MESSAGES = 256  # different ones, so that the sender's caches do not hold them
WINDOW_BYTES_MAX = 4 * MIB
HOST = "127.0.0.1"
# Not in the socket module of every supported Python; numbers of the Linux ABI.
SOL_UDP, UDP_SEGMENT, UDP_GRO = 17, 103, 104
RECEIVED = struct.Struct("=Q")
SILENCE_SECONDS = 10


def stream_of_datagrams(_: Path) -> Sample:
    """The largest that the data path uses."""
    with _opened() as sender:
        return _stream(sender, PAYLOAD_BYTES_MAX)


def stream_of_segments(_: Path) -> Sample:
    """Many datagrams a call; of the largest ones where the kernel has no UDP_SEGMENT."""
    with _opened() as sender:
        try:
            sender.setsockopt(SOL_UDP, UDP_SEGMENT, SEGMENT_BYTES)
        except OSError:
            say(f"this kernel has no UDP_SEGMENT: datagrams of {PAYLOAD_BYTES_MAX} B instead")
            return _stream(sender, PAYLOAD_BYTES_MAX)
        return _stream(sender, SEGMENT_BYTES * SEGMENTS)


def ping_pong(_: Path) -> Sample:
    """One round trip."""
    message = os.urandom(PING_BYTES)
    with _opened() as mine, _Peer("echo", PINGS) as peer:
        mine.connect((HOST, peer.port))
        cpu, began = time.process_time(), time.perf_counter()
        for _number in range(PINGS):
            mine.send(message)
            mine.recv(PING_BYTES)
        wall, cpu = time.perf_counter() - began, time.process_time() - cpu
        return Usage(wall, cpu, peer.cpu_seconds()).of_each(PINGS)


def _stream(sender: socket.socket, message_bytes: int) -> Sample:
    count = STREAM_BYTES // message_bytes
    total_bytes = count * message_bytes
    window = max(message_bytes, min(WINDOW_BYTES_MAX, receive_buffer_bytes(sender) // 4))
    messages = [os.urandom(message_bytes) for _ in range(min(count, MESSAGES))]
    with _Peer("sink", total_bytes, window // 4) as peer:
        sender.connect((HOST, peer.port))
        cpu, began = time.process_time(), time.perf_counter()
        sent = received = 0
        while received < total_bytes:
            if sent < total_bytes and sent + message_bytes - received <= window:
                sent += sender.send(messages[sent // message_bytes % len(messages)])
            else:
                received = RECEIVED.unpack(sender.recv(RECEIVED.size))[0]
        wall, cpu = time.perf_counter() - began, time.process_time() - cpu
        return Usage(wall, cpu, peer.cpu_seconds()).of_bytes(total_bytes)


class _Peer:
    """The other process."""

    def __init__(self, *words: str | int) -> None:
        command = [sys.executable, __file__, *map(str, words)]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self.port = int(self._line())

    def __enter__(self) -> _Peer:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()  # it has ended unless something went wrong
        self._process.communicate()

    def cpu_seconds(self) -> float:
        """From the first message to the last."""
        return float(self._line())

    def _line(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit("the other process of a UDP figure ended")
        return line


@contextmanager
def _opened() -> Iterator[socket.socket]:
    """With the data path's buffers, but blocking; silence is an error (a datagram was lost)."""
    with open_unicast(HOST, 0) as opened:
        opened.setblocking(True)
        limit = struct.pack("@ll", SILENCE_SECONDS, 0)
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, limit)
        yield opened


def _sink(opened: socket.socket, total_bytes: int, ack_bytes: int) -> float:
    buffer = bytearray(1 << 16)
    opened.setsockopt(SOL_UDP, UDP_GRO, 1)
    received, sender = opened.recvfrom_into(buffer)
    opened.connect(sender)
    began, told = time.process_time(), 0
    while True:
        if received - told >= ack_bytes or received == total_bytes:
            opened.send(RECEIVED.pack(received))
            told = received
        if received == total_bytes:
            return time.process_time() - began
        received += opened.recv_into(buffer)


def _echo(opened: socket.socket, count: int) -> float:
    message, sender = opened.recvfrom(PING_BYTES)
    opened.connect(sender)
    began = time.process_time()
    for _ in range(count - 1):
        opened.send(message)
        message = opened.recv(PING_BYTES)
    opened.send(message)
    return time.process_time() - began


def main() -> None:
    """Be the other process."""
    what, *numbers = sys.argv[1:]
    with _opened() as opened:
        print(opened.getsockname()[1], flush=True)
        work = {"sink": _sink, "echo": _echo}[what]
        print(work(opened, *map(int, numbers)), flush=True)


if __name__ == "__main__":
    main()
