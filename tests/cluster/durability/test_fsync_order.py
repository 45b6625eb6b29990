"""No acknowledgement leaves a target before the disk has said yes: watched from outside, by strace.

strace writes one file a thread, each line with the time a call began and how long it took, and
all bytes in hex. A CHUNK_STORED (UDP, its body names CHID and VDEVs) and a committed NAME_RESULT
(its header has the operation id, which the log entry carries too) must have, on every VDEV that
they count, first a write of that CHID or operation id into that VDEV's log, then an fdatasync of
the same file that began after the write had returned, and all of that returned before the send
began. Between targets acknowledgements are encrypted, so for names the order is shown end to
end: the leader's answer comes after the fdatasync of every in-sync replica.
"""

from __future__ import annotations

import asyncio
import re
import signal
import subprocess
import time
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

import replicast
from replicast.disks import RealDisk
from replicast.target.store.format import read_header
from replicast.units import KIB, MIB
from replicast.wire.chunk_messages import ChunkStored
from replicast.wire.codec import decode
from replicast.wire.header import HEADER_BYTES, parse_header
from replicast.wire.name_messages import NameResult

PUTS = 100
COPIES = 3
CALLS = "write,writev,pwrite64,pwritev,pwritev2,fsync,fdatasync,sendmsg,sendmmsg,sendto"
SHOWN_BYTES = 200_000  # of each buffer: a whole flush of small records
ATTACH_SECONDS = 30
LINE = re.compile(r"^(\d+\.\d+) (\w+)\((.*) = (-?\d+)(?: .*)? <(\d+\.\d+)>$")
PATH = re.compile(r"^\d+<([^>]*)>")
DATAGRAM = re.compile(r'"((?:\\x52\\x43\\x75\\x31)(?:\\x[0-9a-f]{2})*)"')  # RCu1...


@dataclass(frozen=True, slots=True)
class Call:
    """One system call of a target; times in seconds."""

    target: str
    began: float
    name: str
    path: str
    text: str
    took: float

    @property
    def returned(self) -> float:
        return self.began + self.took


@dataclass(frozen=True, slots=True)
class Reply:
    """An acknowledgement: `key` has to be in the log of these VDEVs (directories) before `at`."""

    what: str
    key: bytes
    places: tuple[str, ...]
    at: float


class Tracer:
    """strace on all targets of a cluster."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._running: list[subprocess.Popen[bytes]] = []

    def attach(self, name: str, pid: int) -> None:
        command = ["strace", "-ff", "-ttt", "-T", "-y", "-xx", "-s", str(SHOWN_BYTES), "-qq"]
        command += ["-e", f"trace={CALLS}", "-o", str(self._folder / name), "-p", str(pid)]
        self._running.append(subprocess.Popen(command))
        end = time.monotonic() + ATTACH_SECONDS
        while not self._traced(pid):
            assert time.monotonic() < end, f"strace does not attach to {name}"
            time.sleep(0.05)

    @staticmethod
    def _traced(pid: int) -> bool:
        states = [path.read_text() for path in Path(f"/proc/{pid}/task").glob("*/status")]
        return all("TracerPid:\t0\n" not in state for state in states)

    def detach(self) -> None:
        for process in self._running:
            process.send_signal(signal.SIGINT)
        for process in self._running:
            process.wait(30)
        self._running.clear()

    def calls(self) -> list[Call]:
        found: list[Call] = []
        for file in sorted(self._folder.iterdir()):
            for line in file.read_text().splitlines():
                parts = LINE.match(line)
                if parts is not None and int(parts[4]) >= 0:
                    began, name, text, _, took = parts.groups()
                    path = PATH.match(text)
                    place = _unhex(path[1]) if path else ""
                    target = file.name.partition(".")[0]
                    found.append(Call(target, float(began), name, place, text, float(took)))
        return sorted(found, key=lambda call: call.began)


def _unhex(text: str) -> str:
    return bytes.fromhex(text.replace("\\x", "")).decode() if "\\x" in text else text


def hexed(data: bytes) -> str:
    return "".join(f"\\x{byte:02x}" for byte in data)


def replies(calls: list[Call], places: dict[int, str]) -> list[Reply]:
    """Acknowledgements among the datagrams that were sent, in order."""
    found = []
    for call in calls:
        if not call.name.startswith("send"):
            continue
        for match in DATAGRAM.finditer(call.text):
            datagram = bytes.fromhex(match[1].replace("\\x", ""))
            header = parse_header(datagram)
            if header.type == ChunkStored.TYPE:
                message = decode(header.type, datagram[HEADER_BYTES:])
                assert isinstance(message, ChunkStored)
                counted = tuple(places[v.vdev_index] for v in message.vdevs)
                found.append(Reply("CHUNK_STORED", message.chid, counted, call.began))
            elif header.type == NameResult.TYPE:
                found.append(Reply("NAME_RESULT", header.operation_id, (), call.began))
    return found


class Durable:
    """When a key became durable on each VDEV."""

    def __init__(self, calls: list[Call]) -> None:
        self._writes = [c for c in calls if "write" in c.name and "/log/" in c.path]
        self._syncs: dict[str, list[Call]] = {}
        for call in calls:
            if call.name in ("fdatasync", "fsync"):
                self._syncs.setdefault(call.path, []).append(call)
        self.write_count = len(self._writes)
        self.sync_count = sum(len(found) for found in self._syncs.values())

    def of(self, key: bytes) -> dict[str, float]:
        """VDEV directory -> when the first sync begun after the key's write had returned."""
        text, found = hexed(key), {}
        for write in self._writes:
            if text in write.text:
                place = write.path.rpartition("/log/")[0]
                done = self._synced(write)
                if done is not None:
                    found[place] = min(done, found.get(place, done))
        return found

    def _synced(self, write: Call) -> float | None:
        syncs = self._syncs.get(write.path, [])
        return min((s.returned for s in syncs if s.began >= write.returned), default=None)


def vdev_places(cluster, table) -> dict[int, str]:
    """VDEV index -> its directory."""
    known = {v.vdev_id: index for index, v in table.vdevs.items()}
    found = {}
    for path in sorted(cluster.data.glob("t*/v*/vdev")):
        found[known[read_header(RealDisk(), path.parent).vdev_id]] = str(path.parent)
    return found


async def put_all(cluster, count: int, data) -> dict[int, str]:
    """Inline, small and large objects, a few at a time so that flushes are shared."""
    sizes = (3 * KIB, 90 * KIB, MIB)
    async with await replicast.connect(cluster.data) as client:
        table = client._opened.client.table
        gate = asyncio.Semaphore(4)

        async def one(number: int) -> None:
            async with gate:
                await client.put("traced", f"o{number:03d}", data(sizes[number % 3]))

        await asyncio.gather(*(one(number) for number in range(count)))
        return vdev_places(cluster, table)


def await_last_reply(tracer: Tracer, places: dict[int, str], puts: int) -> None:
    """Wait until strace has noted the last answer.

    A client on the same machine has an answer before the system call that sent it returns, and
    strace notes a call when it returns: what is under way when it detaches is not in the trace.
    """
    end = time.monotonic() + ATTACH_SECONDS
    while sum(r.what == "NAME_RESULT" for r in replies(tracer.calls(), places)) < puts:
        assert time.monotonic() < end, "the trace does not show every answer"
        time.sleep(0.05)


def check(calls: list[Call], places: dict[int, str], puts: int) -> None:
    durable = Durable(calls)
    stored = committed = 0
    margins = []
    for reply in replies(calls, places):
        when = durable.of(reply.key)
        wanted = reply.places or tuple(when)
        if not reply.places:
            assert len(when) == COPIES, f"{reply.what}: in the log of {sorted(when)} only"
        for place in wanted:
            assert place in when, f"{reply.what} for {place}: never synced"
            assert when[place] <= reply.at, f"{reply.what} left before the sync of {place}"
            margins.append(reply.at - when[place])
        stored += reply.what == "CHUNK_STORED"
        committed += reply.what == "NAME_RESULT"
    assert committed >= puts and stored >= puts * 2 // 3 * COPIES, (committed, stored)
    print(
        f"{puts} puts: {stored} CHUNK_STORED and {committed} NAME_RESULT replies, "
        f"{durable.write_count} log writes, {durable.sync_count} fdatasync; every reply left "
        f"{min(margins) * 1e6:.0f} us or more after the last sync that it needs"
    )


def trace(cluster, folder: Path, puts: int, data) -> None:
    tracer = Tracer(folder)
    try:
        for name, daemon in cluster.daemons().items():
            if name.startswith("t"):
                tracer.attach(name, daemon.pid())
        places = asyncio.run(put_all(cluster, puts, data))
        await_last_reply(tracer, places, puts)
    finally:
        tracer.detach()
    calls = tracer.calls()
    check(calls, places, puts)
    with pytest.raises(AssertionError):  # it would have seen a reply that did not wait
        check([late(call) for call in calls], places, puts)


def late(call: Call) -> Call:
    """As if this had not been waited for."""
    return replace(call, began=call.began + 0.5) if call.name == "fdatasync" else call


@pytest.mark.parametrize("puts", [9, pytest.param(PUTS, marks=pytest.mark.slow)])
def test_replies_leave_after_the_sync(make_cluster, require, tmp_path, data, puts):
    require("strace")
    cluster = make_cluster()
    cluster.run("bucket", "create", "traced")
    trace(cluster, tmp_path, puts, data)
