"""What a daemon shows over HTTP: /metrics (Prometheus), /healthz, /readyz.

A thread of its own, so that a stuck event loop still answers: /healthz is 200
while the loop has ticked within the last seconds, /readyz while the daemon says
that it serves. Requests read; nothing can be changed through this port.
"""

from __future__ import annotations

import errno
import threading
from collections.abc import Callable, Iterable, Iterator
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import CollectorRegistry
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
)
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector

from replicast.addresses import family_of
from replicast.metrics import BUCKETS_SECONDS, METRICS, Counters, Metric
from replicast.transport.sockets import PortTaken

Family = CounterMetricFamily | GaugeMetricFamily | HistogramMetricFamily


class CountersCollector(Collector):
    """Renders several Counters objects as one; `refresh` sets gauges just before."""

    def __init__(self, sources: list[Counters], refresh: Callable[[], None]) -> None:
        self._sources, self._refresh = sources, refresh
        self._one_at_a_time = threading.Lock()  # two scrapes at once would count things twice

    def collect(self) -> Iterable[Family]:
        """All declared metrics. Counters without labels start at 0; others show no sample before
        they have counted."""
        with self._one_at_a_time:
            self._refresh()
        for metric in METRICS.values():
            yield self._family(metric)

    def _family(self, metric: Metric) -> Family:
        name = "replicast_" + metric.name
        if metric.kind == "histogram":
            return self._histogram(name, metric)
        cls = CounterMetricFamily if metric.kind == "counter" else GaugeMetricFamily
        family = cls(name, metric.help, labels=metric.labels)
        start_at_zero = metric.kind == "counter" and not metric.labels
        totals: dict[tuple[str, ...], float] = {(): 0} if start_at_zero else {}
        for source in self._sources:
            # list() is atomic: the owner's thread goes on counting.
            for (other, labels), value in list(source.values.items()):
                if other == metric.name:
                    totals[labels] = totals.get(labels, 0) + value
        for labels, value in sorted(totals.items()):
            family.add_metric(labels, value)
        return family

    def _histogram(self, name: str, metric: Metric) -> HistogramMetricFamily:
        family = HistogramMetricFamily(name, metric.help, labels=metric.labels)
        for source in self._sources:
            for (other, labels), cells in list(source.histograms.items()):
                if other == metric.name:
                    family.add_metric(labels, list(_buckets(cells)), sum_value=cells[-2])
        return family


def _buckets(cells: list[float]) -> Iterator[tuple[str, float]]:
    running = 0.0
    for bound, cell in zip((*BUCKETS_SECONDS, float("inf")), cells, strict=False):
        running += cell
        yield ("+Inf" if bound == float("inf") else str(bound)), running


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True


def _server_of(host: str) -> type[_Server]:
    """The server class that listens at addresses of this family: WSGIServer knows IPv4 only."""
    return type("_Server", (_Server,), {"address_family": family_of(host)})


class _Quiet(WSGIRequestHandler):
    timeout = 10  # a client that sends nothing does not keep its thread

    def log_message(self, format: str, *args: Any) -> None:
        return


class Observatory:
    """The HTTP server; `alive` and `ready` are asked on each request, from its threads."""

    def __init__(
        self,
        host: str,
        port: int,
        *,
        sources: list[Counters],
        refresh: Callable[[], None],
        alive: Callable[[], bool],
        ready: Callable[[], bool],
    ) -> None:
        self._alive, self._ready = alive, ready
        self._registry = CollectorRegistry()
        self._registry.register(CountersCollector(sources, refresh))
        try:
            self._server = make_server(
                host, port, self._app, _server_of(host), handler_class=_Quiet
            )
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise PortTaken((host, port), "TCP") from None
            raise
        self.port = self._server.server_port
        self._thread = threading.Thread(target=self._server.serve_forever, name="observe")
        self._thread.start()

    def close(self) -> None:
        """Stop serving and join the thread."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def _app(self, environ: dict[str, Any], start: Callable[..., Any]) -> list[bytes]:
        path = environ["PATH_INFO"]
        if path == "/metrics":
            start("200 OK", [("Content-Type", CONTENT_TYPE_LATEST)])
            return [generate_latest(self._registry)]
        checks = {"/healthz": self._alive, "/readyz": self._ready}
        if path not in checks:
            start("404 Not Found", [("Content-Type", "text/plain")])
            return [b"known paths: /metrics /healthz /readyz\n"]
        good = checks[path]()
        start("200 OK" if good else "503 Service Unavailable", [("Content-Type", "text/plain")])
        return [b"ok\n" if good else b"no\n"]
