"""bench/s3.py, tiny, against a cluster of its own: it measures every size, and nothing fails."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

PROGRAM = Path(__file__).with_name("s3.py")
SIZES, CLIENTS, OPERATIONS = 4, 2, 2
SECONDS = 280


def test_all_figures(tmp_path: Path) -> None:
    figures = tmp_path / "figures.json"
    environ = os.environ | {"REPLICAST_BENCH_TINY": "1"}
    command = [sys.executable, str(PROGRAM), "--json", str(figures)]
    subprocess.run(command, env=environ, timeout=SECONDS, check=True)
    found = json.loads(figures.read_text())
    assert not found["failures"]
    assert len(found["figures"]) == SIZES * CLIENTS * OPERATIONS
    assert all(each["server_per_1000"] >= 0 and each["count"] for each in found["figures"])
