"""What bench/soak.py does to a cluster: every fault that this kernel can do, and its healing.

Processes: SIGKILL, SIGTERM, SIGSTOP. Network of one member: a tenth of its datagrams lost, a tenth of
all frames twice or out of order, deaf, mute, a slow link, a link that flaps. Disk of one target's first
VDEV, which lies on an ext4 in a file: full, read-only, failing everything, gone, slow. A fault
is made, lasts for a while, and is healed; a process that died of it or whose disk was changed is
started again. bench/soak_drills.py has what concerns the whole cluster.
"""

from __future__ import annotations

import contextlib
import random
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from loop_disk import LoopDisk
from namespaces import STOP_SECONDS, Cluster
from networks import ip, nft

LOST_PERCENT = 10
SPOILT = 0.10  # of all frames
SLOW_BYTES_PER_SECOND = (250_000, 2_000_000, 8_000_000)
SLOW_DELAY_SECONDS = 0.01
CUT_SECONDS = (1, 4, 8, 15)
BOTH_WAYS = ("sends", "receives")
FLAPS = 6
DISK_SLOW_MS = 1300
LOSS = f"""table ip loss {{
    chain input {{
        type filter hook input priority 0;
        meta l4proto udp numgen random mod 100 < {LOST_PERCENT} drop
    }}
}}
"""
Wait = Callable[[float], None]


@dataclass
class Member:
    """A process and, of a target, the disk of its first VDEV."""

    cluster: Cluster
    name: str
    disk: LoopDisk | None = None

    @property
    def namespace(self) -> str:
        """Its network."""
        return str(self.cluster.network.namespaces[self.name])

    def signal(self, number: int) -> None:
        """To its process."""
        self.cluster.processes[self.name].send_signal(number)

    def end(self, number: int) -> None:
        """With this signal; SIGKILL when it stays."""
        process = self.cluster.processes.pop(self.name)
        process.send_signal(number)
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def start(self) -> None:
        """Again."""
        self.cluster.start(self.name)

    @property
    def settings(self) -> Path:
        """Of a target."""
        return self.cluster.data / self.name / "target.toml"

    def move_in(self) -> None:
        """Put the first VDEV on the disk, before the first start."""
        assert self.disk is not None
        vdev = self.cluster.data / self.name / "v1"
        shutil.move(vdev, self.disk.place / "v1")
        vdev.symlink_to(self.disk.place / "v1")
        self.disk.sync()


# Each makes a fault, waits, and heals it. `wait` returns early when the soak is over.


def kill(member: Member, rng: random.Random, wait: Wait) -> None:
    """SIGKILL."""
    member.end(signal.SIGKILL)
    wait(rng.uniform(0, 12))
    member.start()


def restart(member: Member, rng: random.Random, wait: Wait) -> None:
    """SIGTERM: it hands over, and stops."""
    member.end(signal.SIGTERM)
    wait(rng.uniform(0, 5))
    member.start()


def stop(member: Member, rng: random.Random, wait: Wait) -> None:
    """SIGSTOP, for less than a lease or for more."""
    member.signal(signal.SIGSTOP)
    try:
        wait(rng.choice((0.5, 3, 5.5, 7, 15)))
    finally:
        member.signal(signal.SIGCONT)


def loss(member: Member, rng: random.Random, wait: Wait) -> None:
    """A tenth of what it receives by UDP."""
    nft(member.namespace, LOSS)
    wait(rng.uniform(5, 25))
    nft(member.namespace, "delete table ip loss\n")


def twice(member: Member, rng: random.Random, wait: Wait) -> None:
    """What it sends and what it hears may come twice."""
    _spoil(member, BOTH_WAYS, wait, rng.uniform(5, 25), duplicate=SPOILT)


def out_of_order(member: Member, rng: random.Random, wait: Wait) -> None:
    """What it sends and what it hears may be overtaken."""
    _spoil(member, BOTH_WAYS, wait, rng.uniform(5, 25), reorder=SPOILT)


def deaf(member: Member, rng: random.Random, wait: Wait) -> None:
    """It hears nobody."""
    _spoil(member, ("receives",), wait, rng.choice(CUT_SECONDS), lose=1.0)


def mute(member: Member, rng: random.Random, wait: Wait) -> None:
    """Nobody hears it."""
    _spoil(member, ("sends",), wait, rng.choice(CUT_SECONDS), lose=1.0)


def slow_link(member: Member, rng: random.Random, wait: Wait) -> None:
    """Both ways."""
    _spoil(
        member,
        BOTH_WAYS,
        wait,
        rng.uniform(5, 20),
        bytes_per_second=rng.choice(SLOW_BYTES_PER_SECOND),
        delay_seconds=SLOW_DELAY_SECONDS,
    )


def _spoil(
    member: Member, lines: tuple[str, ...], wait: Wait, seconds: float, **faults: float
) -> None:
    for line in lines:
        member.cluster.network.spoil([member.name], line, **faults)
    wait(seconds)
    for line in lines:
        member.cluster.network.spoil([member.name], line)


def flap(member: Member, rng: random.Random, wait: Wait) -> None:
    """Down and up."""
    for _ in range(rng.randint(1, FLAPS)):
        ip("-n", member.namespace, "link", "set", "eth0", "down")
        wait(rng.uniform(0.1, 2))
        ip("-n", member.namespace, "link", "set", "eth0", "up")
        wait(rng.uniform(0.1, 2))


def disk_full(member: Member, rng: random.Random, wait: Wait) -> None:
    """Somebody else's file takes all that is left."""
    assert member.disk is not None
    with contextlib.suppress(OSError):  # the target was faster with what was left
        member.disk.fill()
    wait(rng.uniform(5, 20))
    member.disk.empty()
    member.disk.sync()


def disk_read_only(member: Member, rng: random.Random, wait: Wait) -> None:
    """After an error in its structure."""
    assert member.disk is not None
    member.disk.make_read_only()
    wait(rng.uniform(5, 20))
    _sound_disk(member)


def disk_errors(member: Member, rng: random.Random, wait: Wait) -> None:
    """Every read and write fails."""
    assert member.disk is not None
    member.disk.fail_everything()
    wait(rng.uniform(5, 20))
    _sound_disk(member)


def _sound_disk(member: Member) -> None:
    assert member.disk is not None
    member.end(signal.SIGKILL)
    member.disk.mount_again()
    member.start()


def disk_gone(member: Member, rng: random.Random, wait: Wait) -> None:
    """Its folder is elsewhere for a while."""
    assert member.disk is not None
    place = member.disk.place
    (place / "v1").rename(place / "elsewhere")
    wait(rng.uniform(5, 20))
    member.end(signal.SIGKILL)
    (place / "elsewhere").rename(place / "v1")
    member.disk.sync()
    member.start()


def disk_slow(member: Member, rng: random.Random, wait: Wait) -> None:
    """Each write takes more than a second."""
    sound = member.settings.read_text()
    member.end(signal.SIGKILL)
    slow = re.sub(r'^vdevs = "v1', f'vdevs = "v1;write_delay_ms={DISK_SLOW_MS}', sound, flags=re.M)
    member.settings.write_text(slow)
    member.start()
    wait(rng.uniform(5, 20))
    member.end(signal.SIGKILL)
    member.settings.write_text(sound)
    member.start()


Fault = Callable[[Member, random.Random, Wait], None]
OF_ALL: tuple[Fault, ...] = (
    kill,
    restart,
    stop,
    loss,
    twice,
    out_of_order,
    deaf,
    mute,
    slow_link,
    flap,
)
OF_DISKS: tuple[Fault, ...] = (disk_full, disk_read_only, disk_errors, disk_gone, disk_slow)


def choose(members: list[Member], rng: random.Random) -> tuple[Fault, Member]:
    """Any fault of any of these members."""
    member = rng.choice(members)
    return rng.choice(OF_ALL if member.disk is None else OF_ALL + OF_DISKS), member


def wait_until(over: Callable[[], bool], poll_seconds: float) -> Wait:
    """A wait that ends when the soak does."""

    def wait(seconds: float) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end and not over():
            time.sleep(poll_seconds)

    return wait
