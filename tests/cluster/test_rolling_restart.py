"""Every process is restarted in turn while clients work: no operation fails, no byte is wrong.

How long the longest operation took is printed: wall time on a busy machine is no judge. What is
promised is judged in virtual time (tests/sim/handover.toml).
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from replicast.cli.restart import HEALTHY_SECONDS

BENCH = Path(__file__).resolve().parents[2] / "bench" / "rolling_restart.py"
WORKERS, THINK = 3, 0.05  # a load that leaves cores to the targets
TIMEOUT_SECONDS = 8 * HEALTHY_SECONDS


@pytest.mark.slow
def test_rolling_restart_of_everything__no_operation_fails(make_cluster, tmp_path):
    cluster = make_cluster(gateways=2)
    pids = {name: daemon.pid() for name, daemon in cluster.daemons().items()}
    figures_file = tmp_path / "figures.json"
    done = subprocess.run(
        [
            sys.executable, BENCH, "--data", cluster.data, "--json", figures_file,
            "--workers", str(WORKERS), "--think", str(THINK), "--quiet", "1",
        ],
        capture_output=True,
        text=True,
        timeout=TIMEOUT_SECONDS,
        env=cluster.environ,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, (done.stdout, done.stderr)
    print(done.stdout)
    figures = json.loads(figures_file.read_text())
    assert figures["failed"] == 0 and figures["operations"] > 100
    assert len(figures["steps"]) == 1 + len(pids)
    for name, daemon in cluster.daemons().items():
        assert daemon.pid() not in (None, pids[name]), f"{name} was restarted and runs"
    ended = cluster.out("logs", "-n", 100_000).decode()
    assert ended.count("handing over") == 4
    assert "before the hand-over" not in ended and "had to be killed" not in done.stdout
    rows = cluster.status()["rows"]
    assert rows["in_sync"] == rows["total"]


def test_target_restart__the_command(cluster):
    pids = {name: daemon.pid() for name, daemon in cluster.daemons().items()}
    assert "no target gw1 here" in cluster.error("target", "restart", "gw1", code=2)
    assert "give NAMEs, or --all" in cluster.error("target", "restart", code=2)
    said = cluster.out("target", "restart", "t2", "--rolling").decode()
    assert said.startswith("t2 restarted (1 of 1): ready after ")
    now = {name: daemon.pid() for name, daemon in cluster.daemons().items()}
    assert now["t2"] not in (None, pids["t2"])
    assert {n: p for n, p in now.items() if n != "t2"} == {
        n: p for n, p in pids.items() if n != "t2"
    }
    rows = cluster.status()["rows"]
    assert rows["in_sync"] == rows["total"]
