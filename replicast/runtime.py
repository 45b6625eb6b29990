"""What a process takes from the machine it runs on: clocks, chance, disk, sockets, channels.

A daemon asks its Runtime for all of it and for nothing else, so that the simulator, which
hands in another one (replicast/sim/process.py), runs the very same daemon.
"""

from __future__ import annotations

import asyncio
import random
import secrets
import signal
import socket
from collections.abc import Callable
from functools import partial
from ipaddress import ip_address
from typing import Any

from replicast import clocks
from replicast.curve import CurveHub
from replicast.disks import LockableDisk, disk_named
from replicast.metrics import Counters
from replicast.observe import Observatory
from replicast.transport import sockets
from replicast.transport.net import NetThread, Reassembly
from replicast.transport.paths import PathMtu
from replicast.witness import Witness


class Runtime:
    """The operating system."""

    witness: Witness | None = None

    now_ns: Callable[[], int] = staticmethod(clocks.now_ns)

    def wall_ns(self) -> int:
        """Time of day."""
        return clocks.wall_ns()

    def rng(self) -> random.Random:
        """A generator of its own for each caller, seeded by the system."""
        return random.Random(secrets.randbits(128))

    def secret_rng(self) -> random.Random:
        """What keys, sessions and challenges are drawn from."""
        return random.SystemRandom()

    def disk(self, name: str) -> LockableDisk:
        """The disk that a daemon's settings name."""
        return disk_named(name)

    def hub(self, counters: Counters) -> CurveHub:
        """Channels of this process."""
        return CurveHub(counters)

    def net(self, buffers: Reassembly) -> NetThread:
        """The thread that serves the UDP sockets."""
        return NetThread(buffers)

    def open_unicast(self, host: str, port: int) -> socket.socket:
        """The process's own UDP socket."""
        return sockets.open_unicast(host, port)

    def open_group(self, address: str, port: int, interface: str) -> socket.socket:
        """A socket that hears one multicast group."""
        return sockets.open_group(address, port, interface)

    def interface_mtu(self, host: str) -> int:
        """MTU of the interface with this address."""
        return sockets.interface_mtu(host)

    def path_mtu(self, host: str) -> PathMtu | None:
        """Asks for the MTU of the path from our `host` to an address.

        None: all paths are as wide as the interface.
        """
        if ip_address(host).is_loopback:
            return None
        return partial(sockets.path_mtu, host)

    def route_to(self, address: tuple[str, int]) -> str:
        """Our own address on the way to another."""
        return sockets.route_to(address)

    def observatory(self, host: str, port: int, **sources: Any) -> Observatory:
        """The HTTP server of /metrics, /healthz and /readyz."""
        return Observatory(host, port, **sources)

    def on_stop(self, callback: Callable[[], None], at_once: Callable[[], None]) -> None:
        """Call back when the process is told to stop: by SIGTERM in good order, by SIGINT at once."""
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, callback)
        loop.add_signal_handler(signal.SIGINT, at_once)


SYSTEM = Runtime()
