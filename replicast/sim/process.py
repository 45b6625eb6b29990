"""A simulated process: a loop, a clock, a runtime for the daemon in it, and life and death.

    process = Process(world, wires, "t1", host="10.0.0.1")
    process.start(main)            main(runtime) is the daemon's coroutine
    process.pause() .resume() .terminate() .kill()

Each start has a new loop and a new runtime; what the last one left behind on disks is its owner's
business (cluster.py). Sockets and channels of a killed process fall silent at once.
"""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from replicast.curve import CurveHub
from replicast.machine import Address
from replicast.memory_disk import MemoryDisk
from replicast.metrics import Counters
from replicast.runtime import Runtime
from replicast.sim.channels import Exchange, SimContext
from replicast.sim.loop import SimLoop
from replicast.sim.network import Network
from replicast.sim.sockets import SimNet, SimSocket
from replicast.sim.turns import Clock
from replicast.sim.watch import Watch
from replicast.sim.world import World
from replicast.transport.net import Reassembly
from replicast.transport.sockets import PortTaken

EPHEMERAL_PORT = 40_000


@dataclass(slots=True)
class Wires:
    """What all processes share."""

    network: Network
    exchange: Exchange
    watch: Watch
    mtu_bytes: int = 9000


class NoObservatory:
    """Nobody scrapes a simulated process; its counters are read directly."""

    def __init__(self, sources: list[Counters]) -> None:
        self.sources = sources

    def close(self) -> None:
        """Nothing to close."""


class SimRuntime(Runtime):
    """What one start of a process takes from its simulated machine."""

    def __init__(self, process: Process, loop: SimLoop) -> None:
        self._process, self._loop, self._clock = process, loop, process.clock
        self.witness = process.wires.watch.witness(process)
        self._sockets: dict[int, SimSocket] = {}
        self._numbers = itertools.count(10)
        self._nets: list[SimNet] = []
        self._contexts: list[SimContext] = []
        self.observed: NoObservatory | None = None
        self.stop: Callable[[], None] | None = None

    def alive(self) -> bool:
        """Whether this start is still the running one."""
        return not self._loop.dead

    def now_ns(self) -> int:
        return self._clock.now_ns()

    def wall_ns(self) -> int:
        return self._clock.wall_ns()

    def rng(self) -> random.Random:
        return self._process.world.fork_rng()

    def secret_rng(self) -> random.Random:
        return self.rng()

    def disk(self, name: str) -> MemoryDisk:
        return self._process.disk

    def hub(self, counters: Counters) -> CurveHub:
        context = SimContext(
            self._process.wires.exchange,
            self._process.host,
            self._number,
            self._loop.readable,
            self._loop.alive,
        )
        self._contexts.append(context)
        return CurveHub(counters, context)  # type: ignore[arg-type]

    def net(self, buffers: Reassembly) -> SimNet:  # type: ignore[override]
        net = SimNet(
            self._process.world,
            self._process.wires.network,
            buffers,
            self._sockets,
            self._number(),
            self._loop.readable,
            self._loop.alive,
        )
        self._nets.append(net)
        return net

    def open_unicast(self, host: str, port: int) -> SimSocket:  # type: ignore[override]
        ports = self._process.wires.network.ports
        if port == 0:
            taken = [p for h, p in ports if h == host]
            port = max([EPHEMERAL_PORT, *taken]) + 1
        if (host, port) in ports:
            raise PortTaken((host, port))
        return self._socket((host, port), None)

    def open_group(self, address: str, port: int, interface: str) -> SimSocket:  # type: ignore[override]
        return self._socket((interface, port), (address, port))

    def interface_mtu(self, host: str) -> int:
        return self._process.wires.mtu_bytes

    def path_mtu(self, host: str) -> None:
        return None

    def route_to(self, address: Address) -> str:
        return self._process.host

    def observatory(self, host: str, port: int, **sources: Any) -> NoObservatory:  # type: ignore[override]
        self.observed = NoObservatory(sources["sources"])
        return self.observed

    def on_stop(self, callback: Callable[[], None], at_once: Callable[[], None]) -> None:
        self.stop = callback

    def datagrams_sent(self) -> int:
        """Of this start."""
        stats = [net.stats() for net in self._nets]
        return sum(each["sent_control"] + each["sent_payload"] for each in stats)

    def vanish(self) -> None:
        """The machine forgets the process's sockets and connections."""
        for net in self._nets:
            net.stop()
        for context in self._contexts:
            context.vanish()

    def _number(self) -> int:
        return next(self._numbers)

    def _socket(self, address: Address, group: Address | None) -> SimSocket:
        number = self._number()
        made = SimSocket(number, address, group)
        self._sockets[number] = made
        return made


Main = Callable[[SimRuntime], Coroutine[Any, Any, Any]]
Excuse = Callable[[BaseException], bool]  # may the process end with this error?


class Process:
    """One place where a daemon runs, starts, stops and dies."""

    def __init__(self, world: World, wires: Wires, name: str, host: str, clock: Clock) -> None:
        self.world, self.wires, self.name, self.host, self.clock = world, wires, name, host, clock
        self.disk = MemoryDisk()
        self.loop: SimLoop | None = None
        self.runtime: SimRuntime | None = None
        self.task: asyncio.Task[Any] | None = None
        self.starts = 0
        self.killed = False  # the last start did not end by itself

    @property
    def running(self) -> bool:
        """Started, and neither killed nor ended."""
        return self.task is not None and not self.task.done() and not self._loop.dead

    @property
    def _loop(self) -> SimLoop:
        assert self.loop is not None
        return self.loop

    def start(self, main: Main, excuse: Excuse = lambda error: False) -> None:
        """A fresh process; the last one must have ended."""
        assert not self.running
        self.starts += 1
        self.killed = False
        self.world.note(self.name, "start", number=self.starts)
        rng = self.world.fork_rng()
        self.loop = SimLoop(self.world, self.clock, self.name, rng)  # type: ignore[abstract]
        self.runtime = SimRuntime(self, self.loop)
        self.task = self.loop.run_soon(main(self.runtime))
        self.task.add_done_callback(lambda task: self._ended(task, excuse))

    def _ended(self, task: asyncio.Task[Any], excuse: Excuse) -> None:
        error = None if task.cancelled() else task.exception()
        if error is not None:
            self.kill()
            if not excuse(error):
                self.world.fail(f"{self.name} ended: {error!r}", checker="errors")
        elif not self._loop.dead:
            self._vanish()  # timers that it left behind, too: the next start has the same disks
        self.world.note(self.name, "end")

    def kill(self) -> None:
        """As SIGKILL, or the power plug: nothing of it runs again."""
        if self.loop is not None and not self.loop.dead:
            self.world.note(self.name, "kill")
            self.killed = True
            self._vanish()

    def _vanish(self) -> None:
        """Nothing of it runs again; the operating system closes what it had open."""
        assert self.runtime is not None
        self._loop.kill()
        self.runtime.vanish()

    def terminate(self) -> None:
        """As SIGTERM; the daemon ends by itself."""
        if self.running and self.runtime is not None and self.runtime.stop is not None:
            self.world.note(self.name, "terminate")
            self._loop.call_soon(self.runtime.stop)

    def pause(self) -> None:
        """As SIGSTOP."""
        if self.loop is not None:
            self.world.note(self.name, "pause")
            self.loop.pause()

    def resume(self) -> None:
        """As SIGCONT."""
        if self.loop is not None:
            self.world.note(self.name, "resume")
            self.loop.resume()
