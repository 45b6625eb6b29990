"""What nobody should send, sent to a live target: dropped, counted by reason, never answered.

The sender is a real endpoint on a socket of its own. That nothing was answered is seen
without waiting: an honest question is asked afterwards, and its answer is the first and only
thing that comes back.
"""

from __future__ import annotations

import itertools
import random
import re
import socket
import struct
import time
import urllib.request
from collections.abc import Callable, Iterator

import pytest
import xxhash

from replicast.auth.endpoint import Endpoint
from replicast.auth.keyring import KeyRing
from replicast.auth.session import make_session
from replicast.formation import load_cluster_file, load_formation
from replicast.keys import load_cluster_keys
from replicast.machine import Outgoing
from replicast.metrics import Counters
from replicast.transfer_header import PAYLOAD_MAGIC
from replicast.wire.header import HEADER_BYTES
from replicast.wire.session_messages import Challenge
from replicast.wire.status_messages import TargetStatus, TargetStatusQuery

DROPPED = re.compile(
    r'^replicast_datagrams_dropped(?:_total)?\{.*reason="(\w+)".*\} (\S+)$', re.MULTILINE
)
SECONDS = 60.0
ASK_AGAIN_SECONDS = 1.0


class Stranger:
    """An endpoint on a socket of its own, talking to the target t1."""

    def __init__(self, cluster, keys: KeyRing, seed: int) -> None:
        self.rng = random.Random(seed)
        formation = load_formation(cluster.data / "t1")
        target = next(member for member in formation.members if member.name == "t1")
        self.target, self.address = target.node_id, target.udp
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 0))
        self.socket.settimeout(SECONDS)
        session = make_session(0, self.rng.getrandbits(32))
        node_id = self.rng.getrandbits(64)
        self.endpoint = Endpoint(node_id, session, keys, self.rng, Counters(), 60_000)
        self.endpoint.set_address(self.target, self.address)

    def make(self) -> bytes:
        """A fresh question, authenticated and not yet sent."""
        ask = Outgoing(TargetStatusQuery(), self.target, self.rng.randbytes(16), 0)
        self.endpoint.send(ask, time.monotonic_ns())
        return self.endpoint.take_datagrams()[0].payload

    def send(self, datagram: bytes) -> None:
        self.socket.sendto(datagram, self.address)

    def ask(self) -> list[bytes]:
        """An honest question; returns every datagram that came until it was answered."""
        self.send(self.make())
        came = []
        while True:
            datagram, source = self.socket.recvfrom(65_536)
            came.append(datagram)
            incoming = self.endpoint.receive(datagram, source, None, time.monotonic_ns())
            for answer in self.endpoint.take_datagrams():
                self.send(answer.payload)
            if incoming is not None and isinstance(incoming.message, TargetStatus):
                return came

    def ask_until_answered(self) -> None:
        """The same while the receiver may be drowning: each question has one answer at most."""
        self.socket.settimeout(ASK_AGAIN_SECONDS)
        came, end = 0, time.monotonic() + SECONDS
        for asked in itertools.count(1):
            try:
                came += len(self.ask())
            except TimeoutError:
                assert time.monotonic() < end, f"no answer to {asked} questions"
            else:
                assert came <= asked
                return


@pytest.fixture(scope="module")
def keys(cluster) -> KeyRing:
    mine = load_cluster_file(cluster.data / "client")
    held = load_cluster_keys(mine.cluster_key)
    return KeyRing(mine.cluster_id, held.current, held.keys)


@pytest.fixture
def stranger(cluster, keys, request) -> Iterator[Stranger]:
    """One that the target has accepted: it holds the cluster's key."""
    made = Stranger(cluster, keys, sum(request.node.name.encode()))
    made.ask()
    yield made
    made.socket.close()


def dropped(cluster) -> dict[str, int]:
    """Reason -> count, of t1."""
    address = cluster.daemons()["t1"].metrics
    with urllib.request.urlopen(f"http://{address}/metrics", timeout=SECONDS) as answer:
        return {r: int(float(n)) for r, n in DROPPED.findall(answer.read().decode())}


def wait_dropped(cluster, reason: str, wanted: int) -> int:
    """The count, once it has reached `wanted`: payload is counted by a thread of its own."""
    end = time.monotonic() + SECONDS
    while (count := dropped(cluster).get(reason, 0)) < wanted and time.monotonic() < end:
        time.sleep(0.02)
    return count


def flipped(datagram: bytes, at: int) -> bytes:
    return datagram[:at] + bytes([datagram[at] ^ 1]) + datagram[at + 1 :]


def body_bytes(datagram: bytes, size: int) -> bytes:
    """The same with another length in its header."""
    return datagram[:60] + struct.pack("<I", size) + datagram[64:]


def payload(rng: random.Random) -> bytes:
    """A PAYLOAD datagram of a transfer that nobody announced."""
    head = struct.pack(
        "<IBBBB16sIIIHHQ8s", PAYLOAD_MAGIC, 1, 14, 0, 0, rng.randbytes(16), 0, 1, 4096, 4096, 4096,
        rng.getrandbits(64), bytes(8),
    )  # fmt: skip
    return head + xxhash.xxh3_64_intdigest(head).to_bytes(8, "little") + rng.randbytes(4096)


Forge = Callable[[bytes, random.Random], bytes]
FORGERIES: list[tuple[str, str, Forge]] = [
    ("empty", "short", lambda made, rng: b""),
    ("cut in the header", "short", lambda made, rng: made[: HEADER_BYTES - 1]),
    ("length without its body", "truncated", lambda made, rng: body_bytes(made, 1000)),
    ("length of 4 GiB", "truncated", lambda made, rng: body_bytes(made, 0xFFFFFFFF)),
    ("bytes behind the body", "trailing", lambda made, rng: made + b"x"),
    ("largest that UDP takes", "trailing", lambda made, rng: made + rng.randbytes(65_400)),
    ("noise", "magic", lambda made, rng: b"\0" + rng.randbytes(999)),
    ("a later version", "bad_version", lambda made, rng: made[:4] + b"\x02" + made[5:]),
    ("flags from the future", "flags", lambda made, rng: made[:6] + b"\xff" + made[7:]),
    ("MAC damaged", "mac", lambda made, rng: flipped(made, HEADER_BYTES - 1)),
    ("operation id damaged", "mac", lambda made, rng: flipped(made, 20)),
    ("another sender's name", "mac", lambda made, rng: flipped(made, 33)),
    ("key epoch unknown", "key_epoch", lambda made, rng: flipped(made, 7)),
    ("a group's datagram by unicast", "receiver", lambda made, rng: flipped(made, 6)),
    ("payload nobody announced", "payload_unknown_transfer", lambda made, rng: payload(rng)),
    (
        "payload of a later version",
        "payload_version",
        lambda made, rng: payload(rng)[:4] + b"\x02" + payload(rng)[5:],
    ),
    ("payload cut in its header", "payload_short", lambda made, rng: payload(rng)[:63]),
]


@pytest.mark.parametrize("reason, forge", [f[1:] for f in FORGERIES], ids=[f[0] for f in FORGERIES])
def test_forged__dropped_counted_not_answered(cluster, stranger, reason, forge):
    before = dropped(cluster).get(reason, 0)
    for _ in range(5):
        stranger.send(forge(stranger.make(), stranger.rng))
    assert len(stranger.ask()) == 1
    assert wait_dropped(cluster, reason, before + 5) == before + 5


def test_replayed__once_and_never_again(cluster, stranger):
    before = dropped(cluster).get("replay", 0)
    made = stranger.make()
    stranger.send(made)
    incoming, _ = stranger.socket.recvfrom(65_536)
    assert incoming
    for _ in range(5):
        stranger.send(made)
    assert len(stranger.ask()) == 1
    assert dropped(cluster)["replay"] == before + 5


def test_replayed__from_another_address(cluster, stranger):
    before = dropped(cluster).get("replay", 0)
    made = stranger.make()
    stranger.send(made)
    stranger.socket.recvfrom(65_536)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.sendto(made, stranger.address)
        other.setblocking(False)
        assert len(stranger.ask()) == 1
        with pytest.raises(BlockingIOError):
            other.recv(1)
    assert dropped(cluster)["replay"] == before + 1


def test_without_the_key__nothing_comes_back(cluster, keys, stranger):
    before = dropped(cluster).get("mac", 0)
    wrong = KeyRing(load_cluster_file(cluster.data / "client").cluster_id, keys.current, {
        keys.current: b"w" * 32
    })  # fmt: skip
    thief = Stranger(cluster, wrong, 99)
    for _ in range(5):
        thief.send(thief.make())
    assert len(stranger.ask()) == 1
    thief.socket.setblocking(False)
    with pytest.raises(BlockingIOError):
        thief.socket.recv(1)
    thief.socket.close()
    assert dropped(cluster)["mac"] == before + 5


def test_with_the_key_but_a_session_never_confirmed__a_challenge_no_longer_than_it(cluster, keys):
    """A recording of somebody who holds the key gets a question back, and no more bytes."""
    recorded = Stranger(cluster, keys, 7)
    made = recorded.make()
    for _ in range(3):
        recorded.send(made)
        answer, _ = recorded.socket.recvfrom(65_536)
        assert answer[5] == Challenge.TYPE and len(answer) <= len(made)
    recorded.socket.close()


def test_a_flood_of_noise__memory_stays_and_service_goes_on(cluster, stranger, data):
    def memory_bytes() -> int:
        pid = cluster.daemons()["t1"].pid()
        with open(f"/proc/{pid}/statm") as file:
            return int(file.read().split()[1]) * 4096

    before = memory_bytes()
    for _ in range(2000):
        stranger.send(stranger.rng.randbytes(1400))
        stranger.send(payload(stranger.rng))
    stranger.ask_until_answered()
    assert memory_bytes() < before + (32 << 20)
    cluster.run("bucket", "create", "flood")
    cluster.run("put", "-q", "-", "flood/x", stdin=data(100_000))
