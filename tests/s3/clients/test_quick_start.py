"""The README's line for S3 is the one that `replicast up` prints, and it works as it stands there."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from ...cluster.conftest import Cluster
from ...conftest import go_without
from .environments import NotMade, environment

ROOT = Path(__file__).parents[3]
COMMAND_SECONDS = 60


def test_the_line_of_the_readme(s3_cluster: Cluster, s3: Any):
    (line,) = re.findall(r"^    (eval .*)$", (ROOT / "README.md").read_text(), re.M)
    said = s3_cluster.out("up", "--data", s3_cluster.data).decode()
    assert line in [each.strip() for each in said.splitlines()], said

    try:
        path = environment("awscli") / "bin"
    except NotMade as reason:
        go_without("clients", f"environment awscli: {reason}")
    function = f'replicast() {{ "{sys.executable}" -m replicast.cli "$@"; }}'
    kept = {k: v for k, v in s3_cluster.environ.items() if not k.startswith("AWS_")}
    del kept["REPLICAST_CLUSTER"]  # `up` has made it the user's own
    done = subprocess.run(
        ["sh", "-ec", f"{function}\n{line}\n{line}"],
        env=kept | {"PATH": f"{path}:{kept['PATH']}"},
        capture_output=True,
        text=True,
        timeout=COMMAND_SECONDS,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, ""), done
    made, listed = done.stdout.splitlines()[:2]
    assert made == "make_bucket: backups" and listed.endswith(" backups")
    s3.delete_bucket(Bucket="backups")
