"""A short soak: mixed operations through two gateways, held against a model, while a target is killed."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from ..cluster.conftest import Cluster

BENCH = Path(__file__).resolve().parents[2] / "bench" / "s3_soak.py"
TIMEOUT_SECONDS = 240


@pytest.mark.slow
def test_soak__no_wrong_answer_and_no_error(
    cluster_factory: Callable[..., Cluster], tmp_path: Path
) -> None:
    cluster = cluster_factory(gateways=2)
    figures_file = tmp_path / "figures.json"
    done = subprocess.run(
        [
            sys.executable, BENCH, "--data", cluster.data, "--json", figures_file,
            "--minutes", "0.5", "--kills", "1", "--workers", "4", "--gib", "0.6",
        ],
        capture_output=True,
        text=True,
        timeout=TIMEOUT_SECONDS,
        env=cluster.environ,
        check=False,
    )  # fmt: skip
    print(done.stdout)
    assert done.returncode == 0, (done.stdout, done.stderr)
    figures = json.loads(figures_file.read_text())
    assert len(figures["kills"]) == 1
    assert len(figures["operations"]) > 15, "of all kinds"
