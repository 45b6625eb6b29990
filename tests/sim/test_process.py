"""A simulated process: what is left of it when it has ended."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, cast

from replicast.sim.process import Process, Wires
from replicast.sim.turns import Clock
from replicast.sim.world import World
from replicast.units import SECOND


def test_process_that_ended__leaves_no_timers_behind() -> None:
    """The next start has the same disks: what its timers wrote would be written under it."""
    world, fired = World(1), []
    watch = SimpleNamespace(witness=lambda process: None)
    wires = cast(Wires, SimpleNamespace(watch=watch))
    process = Process(world, wires, "t1", "10.0.0.1", Clock(world, 0, 0, 0))

    async def main(runtime: Any) -> None:
        asyncio.get_running_loop().call_later(1, fired.append, process.starts)
        if process.starts == 2:
            await asyncio.sleep(2)

    process.start(main)
    world.run_until(SECOND // 2)
    assert not process.running and not process.killed
    process.start(main)
    world.run_until(5 * SECOND)
    assert fired == [2] and not process.killed
