"""What a daemon shows over HTTP, and its notification datagram."""

import json
import logging
import socket
import urllib.error
import urllib.request

import pytest

from replicast.daemon import LOOP_STALL_NS_MAX, Heartbeat
from replicast.logs import JsonFormatter, readable
from replicast.metrics import Counters
from replicast.notify import notify
from replicast.observe import Observatory
from replicast.transport.sockets import PortTaken


@pytest.fixture
def observatory():
    counters = Counters()
    counters.count("datagrams_dropped", "mac", by=3)
    counters.observe_ns("get_seconds", elapsed_ns=3_000_000)
    flags = {"ready": False}
    served = Observatory(
        "127.0.0.1",
        0,
        sources=[counters],
        refresh=lambda: counters.gauge("lease_valid", value=1),
        alive=lambda: True,
        ready=lambda: flags["ready"],
    )
    yield served, flags
    served.close()


def fetch(port: int, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=60) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def test_metrics__counters_gauges_and_histograms(observatory):
    _, text = fetch(observatory[0].port, "/metrics")
    assert 'replicast_datagrams_dropped_total{reason="mac"} 3.0' in text
    assert "replicast_lease_valid 1.0" in text
    assert 'replicast_get_seconds_bucket{le="0.005"} 1.0' in text
    assert "replicast_get_seconds_count 1.0" in text


def test_readyz__follows_the_daemon(observatory):
    served, flags = observatory
    assert fetch(served.port, "/healthz")[0] == 200
    assert fetch(served.port, "/readyz")[0] == 503
    flags["ready"] = True
    assert fetch(served.port, "/readyz")[0] == 200
    assert fetch(served.port, "/other")[0] == 404


def test_metrics__a_counter_without_labels_starts_at_zero(observatory):
    """An alert on its rate must see the first count, too."""
    _, text = fetch(observatory[0].port, "/metrics")
    assert "replicast_row_conflicts_total 0.0" in text
    assert "replicast_bids_total{" not in text


def test_observatory__a_taken_port_is_named(observatory):
    port = observatory[0].port
    with pytest.raises(PortTaken, match=f"TCP port {port} on 127.0.0.1 is taken"):
        Observatory(
            "127.0.0.1",
            port,
            sources=[],
            refresh=lambda: None,
            alive=lambda: True,
            ready=lambda: True,
        )


def test_heartbeat__stops_with_the_loop():
    now_ns = [10**12]
    heart = Heartbeat(lambda: now_ns[0])
    now_ns[0] += LOOP_STALL_NS_MAX - 1
    assert heart.alive()
    now_ns[0] += 1
    assert not heart.alive()
    assert heart.beat() == now_ns[0] and heart.alive()


def test_counters__undeclared_name_is_an_error():
    with pytest.raises(KeyError):
        Counters().count("no_such_metric")


def test_notify__sends_one_datagram(tmp_path, monkeypatch):
    path = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(path)
        receiver.settimeout(60)
        monkeypatch.setenv("NOTIFY_SOCKET", path)
        assert notify("READY=1")
        assert receiver.recv(64) == b"READY=1"
    monkeypatch.delenv("NOTIFY_SOCKET")
    assert not notify("READY=1")


def test_logs__are_json_and_readable_again():
    record = logging.LogRecord("replicast.x", logging.WARNING, "f", 1, "lost %d", (3,), None)
    line = JsonFormatter("target t1").format(record)
    assert json.loads(line)["message"] == "lost 3"
    assert readable(line).endswith("warning target t1 lost 3")
    assert readable("plain\n") == "plain"
