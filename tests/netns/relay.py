"""A switch in user space whose lines are as bad as they are told to be. A process of its own.

    python relay.py --seed 1 gw=NAMESPACE t1=NAMESPACE ...

In each namespace it makes a TAP interface, eth0; who is behind one is learnt from the frames. A TAP
without offloads gives each frame as a wire would carry it: cut to the MTU and with its checksum.
Every port has two lines, `sends` and `receives` (as its member sees them); each can lose, duplicate
and reorder frames, delay them, and carry only so many bytes a second, with a queue of bounded
length in front. What is random comes from the seed.

Standard input: one JSON object a line, {"ports": ["t1"], "line": "sends" or "receives", and fields
of Faults, the others being 0}, or {} to ask only. Standard output: the counts of all lines, by
port and line, once when all is ready and then as the answer to each of these. Ends with its input.
"""

from __future__ import annotations

import argparse
import ctypes
import fcntl
import json
import os
import random
import select
import struct
import sys
import time
from collections import deque
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

CLONE_NEWNET = 0x40000000
TUN, TUNSETIFF, IFF_TAP, IFF_NO_PI = "/dev/net/tun", 0x400454CA, 0x0002, 0x1000
INTERFACE = "eth0"
FRAME_BYTES_MAX = 65_600
MAC_BYTES, GROUP_BIT = 6, 1
READ_FRAMES = 64  # of one port before the others have their turn
OVERTAKEN_BY_MAX = 4
HELD_SECONDS = 0.02  # a frame that nothing follows goes on after that
QUEUE_BYTES_MAX = 512 << 10


@dataclass(frozen=True)
class Faults:
    """Of one line; shares from 0 to 1."""

    lose: float = 0.0
    duplicate: float = 0.0
    reorder: float = 0.0
    delay_seconds: float = 0.0
    bytes_per_second: float = 0.0


@dataclass
class Counts:
    """Frames; `forwarded` came out, `dropped` found the queue full."""

    forwarded: int = 0
    lost: int = 0
    duplicated: int = 0
    reordered: int = 0
    dropped: int = 0


@dataclass
class Held:
    """A frame that others shall overtake."""

    frame: bytes
    behind: int
    until: float


class Line:
    """One direction of one port: frames go in, and come out through `out`."""

    def __init__(self, rng: random.Random, out: Callable[[bytes], None]) -> None:
        self.faults, self.counts = Faults(), Counts()
        self._rng, self._out = rng, out
        self._held: list[Held] = []
        self._queue: deque[tuple[float, bytes]] = deque()  # when it comes out
        self._queued_bytes, self._free_at = 0, 0.0

    def put(self, frame: bytes, now: float) -> None:
        """One frame."""
        if self._rng.random() < self.faults.lose:
            self.counts.lost += 1
            return
        again = self._rng.random() < self.faults.duplicate
        self.counts.duplicated += again
        for _ in range(1 + again):
            if self._rng.random() < self.faults.reorder:
                behind = self._rng.randint(1, OVERTAKEN_BY_MAX)
                self._held.append(Held(frame, behind, now + HELD_SECONDS))
            else:
                self._carry(frame, now)
                self._overtake(now)

    def due(self) -> float | None:
        """When `tick` has something to do; None: never."""
        times = [held.until for held in self._held] + [when for when, _ in list(self._queue)[:1]]
        return min(times, default=None)

    def tick(self, now: float) -> None:
        """Let go what has waited long enough."""
        for held in [held for held in self._held if held.until <= now]:
            self._held.remove(held)
            self._carry(held.frame, now)
        while self._queue and self._queue[0][0] <= now:
            _, frame = self._queue.popleft()
            self._queued_bytes -= len(frame)
            self._come_out(frame)

    def _overtake(self, now: float) -> None:
        for held in self._held:
            held.behind -= 1
        for held in [held for held in self._held if held.behind == 0]:
            self._held.remove(held)
            self.counts.reordered += 1
            self._carry(held.frame, now)

    def _carry(self, frame: bytes, now: float) -> None:
        faults = self.faults
        if not (self._queue or faults.bytes_per_second or faults.delay_seconds):
            self._come_out(frame)
            return
        if self._queued_bytes + len(frame) > QUEUE_BYTES_MAX:
            self.counts.dropped += 1
            return
        took = len(frame) / faults.bytes_per_second if faults.bytes_per_second else 0.0
        self._free_at = max(now, self._free_at) + took
        self._queue.append((self._free_at + faults.delay_seconds, frame))
        self._queued_bytes += len(frame)

    def _come_out(self, frame: bytes) -> None:
        self.counts.forwarded += 1
        self._out(frame)


class Port:
    """A member's interface and its two lines."""

    def __init__(self, namespace: str, seed: str, switch: Callable[[Port, bytes], None]) -> None:
        self.fd = make_tap(namespace)
        self.lines = {
            "sends": Line(random.Random(f"{seed} sends"), lambda frame: switch(self, frame)),
            "receives": Line(random.Random(f"{seed} receives"), self._write),
        }

    def read(self) -> None:
        """Take what the member has sent."""
        line = self.lines["sends"]
        for _ in range(READ_FRAMES):
            try:
                frame = os.read(self.fd, FRAME_BYTES_MAX)
            except OSError:  # nothing more, or the interface is down
                return
            line.put(frame, time.monotonic())

    def _write(self, frame: bytes) -> None:
        try:
            os.write(self.fd, frame)
        except OSError:  # down: a frame on a wire that nobody holds
            return


class Relay:
    """All ports."""

    def __init__(self, namespaces: dict[str, str], seed: int) -> None:
        self._ports = {
            name: Port(namespace, f"{seed} {name}", self._switch)
            for name, namespace in namespaces.items()
        }
        self._places: dict[bytes, Port] = {}

    def _switch(self, source: Port, frame: bytes) -> None:
        to, sender = frame[:MAC_BYTES], frame[MAC_BYTES : 2 * MAC_BYTES]
        self._places[sender] = source
        known = None if to[0] & GROUP_BIT else self._places.get(to)
        now = time.monotonic()
        for port in [known] if known else self._ports.values():
            if port is not source:
                port.lines["receives"].put(frame, now)

    def run(self) -> None:
        """Until standard input ends."""
        by_fd = {port.fd: port for port in self._ports.values()}
        poll = select.epoll()
        for fd in (*by_fd, sys.stdin.fileno()):
            poll.register(fd, select.EPOLLIN)
        lines = [line for port in self._ports.values() for line in port.lines.values()]
        self._answer()
        while True:
            due = min((when for line in lines if (when := line.due()) is not None), default=None)
            wait = None if due is None else max(0.0, due - time.monotonic())
            for fd, _ in poll.poll(wait):
                if fd in by_fd:
                    by_fd[fd].read()
                elif not self._command():
                    return
            now = time.monotonic()
            for line in lines:
                line.tick(now)

    def _command(self) -> bool:
        text = sys.stdin.readline()
        if not text:
            return False
        wanted: dict[str, Any] = json.loads(text)
        if wanted:
            names, line = wanted.pop("ports"), wanted.pop("line")
            for name in names:
                self._ports[name].lines[line].faults = Faults(**wanted)
        self._answer()
        return True

    def _answer(self) -> None:
        counts = {
            name: {word: asdict(line.counts) for word, line in port.lines.items()}
            for name, port in self._ports.items()
        }
        print(json.dumps(counts), flush=True)


def make_tap(namespace: str) -> int:
    """A TAP interface in the namespace; it lives as long as the returned file is open."""
    libc = ctypes.CDLL(None, use_errno=True)
    with open("/proc/self/ns/net") as home, open(f"/run/netns/{namespace}") as there:
        enter(libc, there.fileno())
        try:
            fd = os.open(TUN, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
            request = struct.pack("16sH22x", INTERFACE.encode(), IFF_TAP | IFF_NO_PI)
            fcntl.ioctl(fd, TUNSETIFF, request)
        finally:
            enter(libc, home.fileno())
    return fd


def enter(libc: ctypes.CDLL, namespace_fd: int) -> None:
    """Sockets and interfaces are made there from now on."""
    if libc.setns(namespace_fd, CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "setns")


def main() -> None:
    """See the module header."""
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("ports", nargs="+", metavar="NAME=NAMESPACE")
    options = parser.parse_args()
    Relay(dict(each.split("=", 1) for each in options.ports), options.seed).run()


if __name__ == "__main__":
    main()
