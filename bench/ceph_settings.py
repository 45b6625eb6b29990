"""The Ceph of bench/ceph_cluster.py in text: its ceph.conf and its keys.

Everything is as shipped but what stands here: where it lies and listens, three copies that have all to be
committed, few placement groups that stay as they are, and what makes it faster: a gateway without Nagle's
delay (as shipped it answers small GETs in 45 ms), BlueStore's settings for flash (virtual disks call
themselves rotational, and then it writes what is small twice), and what was written stays in its
cache, as that of other stores stays in the page cache.
"""

from __future__ import annotations

import base64
import os
import struct
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from replicast.units import GIB

HOST = "127.0.0.1"
COPIES = 3
POOL = "bench"
POOL_PGS, OTHER_PGS = 32, 16
BLOCK_BYTES = 32 * GIB
MEMORY_BYTES = GIB
AES, SECRET_BYTES = 1, 16
ALL = {"mon": "allow *", "mgr": "allow *", "osd": "allow *"}
# Who has a key, and what for (Ceph's own profiles of daemons).
CAPS = {
    "mon.": {"mon": "allow *"},
    "client.admin": ALL,
    "mgr.x": {"mon": "allow profile mgr", "mds": "allow *", "osd": "allow *"},
    "client.rgw": {"mon": "allow rw", "osd": "allow rwx"},
} | {f"osd.{number}": {"mon": "allow profile osd", "osd": "allow *"} for number in range(COPIES)}


@dataclass(frozen=True, slots=True)
class Place:
    """Where a cluster lies, and the ports that are its own."""

    folder: Path
    fsid: str
    mon_port: int
    gateway_port: int

    @property
    def conf(self) -> Path:
        """The ceph.conf."""
        return self.folder / "ceph.conf"

    @property
    def keyring(self) -> Path:
        """All keys."""
        return self.folder / "keyring"

    def data(self, daemon: str) -> Path:
        """Of osd.0, for example."""
        return self.folder / daemon

    def log(self, daemon: str) -> Path:
        """What it says."""
        return self.folder / f"{daemon}.log"


def conf_text(place: Place) -> str:
    """The ceph.conf."""
    settings = {
        "fsid": place.fsid,
        "mon host": f"[v2:{HOST}:{place.mon_port}/0]",
        "mon initial members": "a",
        "public addr": HOST,
        "cluster addr": HOST,
        "ms bind msgr1": "false",
        "ms bind ipv6": "false",
        "auth allow insecure global id reclaim": "false",
        "keyring": str(place.keyring),
        "run dir": str(place.folder),
        "crash dir": str(place.folder),
        "admin socket": "",  # its path would have to be short
        "log file": f"{place.folder}/$name.log",
        "mon cluster log file": f"{place.folder}/cluster.log",
        "mon data": str(place.data("mon.$id")),
        "mgr data": str(place.data("mgr.$id")),
        "osd data": str(place.data("osd.$id")),
        "rgw data": str(place.data("client.rgw")),
        "mgr initial modules": "",
        "osd pool default size": str(COPIES),
        "osd pool default min size": str(COPIES),
        "osd pool default pg num": str(OTHER_PGS),
        "osd pool default pg autoscale mode": "off",
        "osd crush chooseleaf type": "0",  # copies on OSDs of one host
        "osd memory target": str(MEMORY_BYTES),
        "bluestore block size": str(BLOCK_BYTES),
        "bluestore debug enforce settings": "ssd",
        "bluestore default buffered write": "true",
        "rgw frontends": f"beast endpoint={HOST}:{place.gateway_port} tcp_nodelay=1",
    }
    return "[global]\n" + "".join(f"{key} = {value}\n" for key, value in settings.items())


def keyring_text(caps: dict[str, dict[str, str]]) -> str:
    """New keys. A monitor that is made with them knows what they are for."""
    lines = []
    for entity, allowed in caps.items():
        lines += [f"[{entity}]", f"\tkey = {new_key()}"]
        lines += [f'\tcaps {service} = "{what}"' for service, what in allowed.items()]
    return "\n".join(lines) + "\n"


def new_key() -> str:
    """As ceph-authtool makes them: type, seconds and nanoseconds of its making, size, secret."""
    head = struct.pack("<HIIH", AES, int(time.time()), 0, SECRET_BYTES)
    return base64.b64encode(head + os.urandom(SECRET_BYTES)).decode()


def daemon_command(place: Place, daemon: str) -> Sequence[str]:
    """Of mon.a, mgr.x, osd.0 or client.rgw: in the foreground, so that its pid is known."""
    kind, _, name = daemon.partition(".")
    if kind == "client":
        return ["radosgw", "-f", "-c", str(place.conf), "-n", daemon]
    return [f"ceph-{kind}", "-f", "-c", str(place.conf), "-i", name]
