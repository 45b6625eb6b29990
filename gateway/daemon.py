"""replicast-gw: one gateway process; any number of them run side by side.

    replicast-gw --config gateway.toml

Serves the local API socket. Stateless: everything it knows comes from the
cluster. On SIGTERM what is under way ends first, on SIGINT nothing does; on SIGHUP
the certificate for HTTPS is read again. Exit 1: could not start, with one line that
says why.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import signal
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from replicast import clocks
from replicast.config import load
from replicast.daemon import Heartbeat, Work, run_daemon
from replicast.formation import formation_beside, load_cluster_file
from replicast.gateway.api_handlers import ApiHandlers
from replicast.gateway.api_server import ApiServer
from replicast.gateway.config import GatewayConfig
from replicast.gateway.initiator import SOURCE_AGE_NS_MAX
from replicast.gateway.open import OpenedInitiator, load_credentials, open_initiator
from replicast.gateway.s3.domains import read_domains
from replicast.gateway.s3.hash_executor import HashExecutor
from replicast.gateway.s3.regions import read_regions
from replicast.gateway.s3.server import S3Server
from replicast.gateway.s3.service import S3Service
from replicast.gateway.s3.sse import Encryption
from replicast.gateway.s3.sse_bodies import Tools
from replicast.gateway.s3.sse_envelope import ObjectSeal
from replicast.gateway.s3.tls import ServedCertificate, read_certificate
from replicast.gateway.users import UserDirectory
from replicast.metrics import Counters
from replicast.native import IMPLEMENTATION
from replicast.notify import notify
from replicast.observe import Observatory
from replicast.sealing import SecretSeal

log = logging.getLogger("replicast.gateway")

TICK_SECONDS = 0.5
TABLE_SECONDS = 30 * 24 * 3600.0  # waits for a voter as long as it takes


class GatewayDaemon:
    """Everything of one gateway process; run() returns when it was told to stop."""

    def __init__(self, config: GatewayConfig, base: Path) -> None:
        self._config, self._base = config, base
        self._counters = Counters()
        self._heart = Heartbeat()
        self._opened: OpenedInitiator | None = None
        self._serving = False
        self._stopping = asyncio.Event()
        self._hurried = False
        self._server: ApiServer | None = None
        self._s3: S3Server | None = None
        self._certificate: ServedCertificate | None = None

    async def run(self) -> None:
        """Start, serve, stop."""
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, self._stopping.set)
        loop.add_signal_handler(signal.SIGINT, self._stop_at_once)
        loop.add_signal_handler(signal.SIGHUP, self._reload)
        self._certificate = read_certificate(self._config, self._base, self._counters)
        self._domains, self._regions = read_domains(self._config), read_regions(self._config)
        observatory = Observatory(
            self._config.metrics_host,
            self._config.metrics_port,
            sources=[self._counters],
            refresh=self._refresh,
            alive=self._heart.alive,
            ready=self._ready,
        )
        beating = asyncio.ensure_future(self._beat())
        try:
            if await self._open():
                await self._serve()
        finally:
            beating.cancel()
            if self._opened is not None:
                await self._opened.close()
            observatory.close()

    def _stop_at_once(self) -> None:
        self._hurried = True
        self._stopping.set()
        if self._server is not None:
            self._server.hurry()

    def _reload(self) -> None:
        if self._certificate is not None:
            self._certificate.reload()

    async def _open(self) -> bool:
        """Connect to the cluster; False when told to stop before any voter has answered."""
        cluster = load_cluster_file(self._base / self._config.directory)
        credentials = load_credentials(cluster)
        seal = SecretSeal(cluster.cluster_id, credentials.cluster_keys)
        self._object_seal = ObjectSeal(cluster.cluster_id, credentials.cluster_keys)
        users = self._users = UserDirectory(seal, self._counters)
        log.info("asking the voters for a table")
        starting = asyncio.ensure_future(
            open_initiator(
                cluster,
                self._config,
                self._counters,
                table_seconds=TABLE_SECONDS,
                credentials=credentials,
                formation=formation_beside(cluster),
                on_users=users.adopt,
            )
        )
        told = asyncio.ensure_future(self._stopping.wait())
        await asyncio.wait({starting, told}, return_when=asyncio.FIRST_COMPLETED)
        if not starting.done():
            starting.cancel()
            await asyncio.gather(starting, return_exceptions=True)
            return False
        self._opened = await starting
        users.asks(self._opened.client.refetch_users)
        return True

    async def _serve(self) -> None:
        opened = self._opened
        assert opened is not None
        handlers = ApiHandlers(opened.initiator, opened.objects, opened.buckets)
        path = self._base / self._config.api_socket
        server = self._server = ApiServer(path, handlers.table(), self._counters)
        s3 = self._s3 = self._s3_server(opened)
        try:
            await server.start()
            await self._start_s3(s3)
            self._serving = True
            notify("READY=1")
            log.info("serving %s, %s", path, IMPLEMENTATION)
            await self._stopping.wait()
            notify("STOPPING=1")
            log.info("stopping")
        finally:
            self._serving = False
            finish_seconds = 0.0 if self._hurried else self._config.finish_seconds
            stopping = [server.stop(finish_seconds)]
            if s3 is not None:
                stopping.append(s3.stop(finish_seconds))
            await asyncio.gather(*stopping)

    async def _start_s3(self, s3: S3Server | None) -> None:
        config = self._config
        if s3 is not None and config.s3_port:
            await s3.start((config.s3_host, config.s3_port))
        if s3 is not None and self._certificate is not None:
            await s3.start((config.s3_host, config.s3_tls_port), self._certificate.context)

    def _s3_server(self, opened: OpenedInitiator) -> S3Server | None:
        config = self._config
        if not config.s3_port and self._certificate is None:
            return None
        threads = HashExecutor(
            ThreadPoolExecutor(config.s3_hash_threads, thread_name_prefix="hash")
        )
        service = S3Service(
            opened.initiator,
            opened.objects,
            opened.buckets,
            self._users,
            threads,
            Encryption(
                Tools(self._object_seal, threads, secrets.token_bytes, self._counters),
                config.s3_sse_c_over_http,
            ),
            self._regions,
            lambda: secrets.token_hex(8),
            self._domains,
            signature_v2=config.s3_signature_v2,
        )
        return S3Server(service, self._counters, config)

    async def _beat(self) -> None:
        while True:
            self._heart.beat()
            if self._certificate is not None:
                self._certificate.look()
            await asyncio.sleep(TICK_SECONDS)

    def _refresh(self) -> None:
        if self._opened is not None:
            self._opened.udp.count_stats()
        if self._server is not None:
            self._server.measure()
        if self._s3 is not None:
            self._s3.measure()

    def _ready(self) -> bool:
        if self._opened is None or not self._serving:
            return False
        return self._opened.client.source_age_ns(clocks.now_ns()) < SOURCE_AGE_NS_MAX


def prepare(path: Path) -> tuple[str, Work]:
    """The log level and the work of the gateway whose settings are in `path`."""
    config = load(GatewayConfig, path=path)
    return config.log_level, lambda: GatewayDaemon(config, path.parent.resolve()).run()


def main(arguments: Sequence[str] | None = None) -> None:
    """The replicast-gw command."""
    about = "Serve the local API socket of one gateway."
    run_daemon("replicast-gw", about, "gateway.toml", prepare, arguments)


if __name__ == "__main__":
    main()
