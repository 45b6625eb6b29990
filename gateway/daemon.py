"""replicast-gw: one gateway process; any number of them run side by side.

    replicast-gw --config gateway.toml

Serves the local API socket. Stateless: everything it knows comes from the
cluster. Exit 1: could not start, with one line that says why.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from replicast import clocks
from replicast.config import ConfigError, load
from replicast.errors import ReplicastError
from replicast.formation import FormationError, load_cluster_file
from replicast.gateway.api_handlers import ApiHandlers
from replicast.gateway.api_server import ApiServer
from replicast.gateway.config import GatewayConfig
from replicast.gateway.initiator import SOURCE_AGE_NS_MAX
from replicast.gateway.open import OpenedInitiator, open_initiator
from replicast.keys import KeyFileError
from replicast.logs import start_logging
from replicast.native import IMPLEMENTATION
from replicast.notify import notify
from replicast.observe import Observatory
from replicast.transport.sockets import PortTaken

log = logging.getLogger("replicast.gateway")

TICK_SECONDS = 0.5
LOOP_STALL_NS_MAX = 10_000_000_000
TABLE_SECONDS = 3600.0
START_ERRORS = (ConfigError, FormationError, KeyFileError, PortTaken, ReplicastError, OSError)


class Heartbeat:
    """When the event loop ran last: what /healthz asks."""

    def __init__(self) -> None:
        self._ns = clocks.now_ns()

    def alive(self) -> bool:
        """Has it run lately?"""
        return clocks.now_ns() - self._ns < LOOP_STALL_NS_MAX

    async def beat(self) -> None:
        """Run for ever."""
        while True:
            self._ns = clocks.now_ns()
            await asyncio.sleep(TICK_SECONDS)


def _ready(opened: OpenedInitiator) -> bool:
    return opened.client.source_age_ns(clocks.now_ns()) < SOURCE_AGE_NS_MAX


async def serve(config: GatewayConfig, base: Path) -> None:
    """Run one gateway until it is told to stop."""
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    cluster = load_cluster_file(base / config.directory)
    starting = asyncio.ensure_future(open_initiator(cluster, config, table_seconds=TABLE_SECONDS))
    told = asyncio.ensure_future(stopping.wait())
    await asyncio.wait({starting, told}, return_when=asyncio.FIRST_COMPLETED)
    if not starting.done():
        starting.cancel()
        await asyncio.gather(starting, return_exceptions=True)
        return
    opened = await starting
    handlers = ApiHandlers(opened.initiator, opened.objects, opened.buckets)
    server = ApiServer(base / config.api_socket, handlers.table(), opened.counters)
    heart = Heartbeat()
    beating = asyncio.ensure_future(heart.beat())
    try:
        await server.start()
        observatory = Observatory(
            config.metrics_host,
            config.metrics_port,
            sources=[opened.counters],
            refresh=opened.udp.count_stats,
            alive=heart.alive,
            ready=lambda: _ready(opened),
        )
        notify("READY=1")
        log.info("serving %s, %s", base / config.api_socket, IMPLEMENTATION)
        await stopping.wait()
        notify("STOPPING=1")
        observatory.close()
    finally:
        beating.cancel()
        await server.stop()
        await opened.close()


def main(arguments: Sequence[str] | None = None) -> None:
    """The replicast-gw command."""
    parser = argparse.ArgumentParser(prog="replicast-gw", description=__doc__.split("\n")[0])
    parser.add_argument("--config", type=Path, required=True, help="gateway.toml")
    path: Path = parser.parse_args(arguments).config
    try:
        config = load(GatewayConfig, path=path)
        start_logging(f"gateway {path.parent.name}", config.log_level)
        with contextlib.suppress(KeyboardInterrupt):
            asyncio.run(serve(config, path.parent.resolve()))
    except START_ERRORS as error:
        log.error("cannot run: %s", error)
        print(f"replicast-gw: {error}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
