"""Which cluster a command means: --cluster, then REPLICAST_CLUSTER, then the user's own file.

A cluster is given as its data folder (written by `replicast up`) or as a
cluster.toml (written by `up` and `join`).
"""

from __future__ import annotations

import os
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from replicast.errors import InvalidRequest

USER_FILE = Path("~/.config/replicast/cluster.toml")
VARIABLE = "REPLICAST_CLUSTER"


@dataclass(frozen=True, slots=True)
class ClusterPlace:
    """Where a cluster's client file is, and what it says."""

    path: Path
    values: dict[str, Any]

    @property
    def api_socket(self) -> Path:
        """The local gateway's API socket."""
        socket = self.values.get("api_socket")
        if not isinstance(socket, str):
            raise InvalidRequest(f"{self.path}: no api_socket: no gateway on this host is known")
        return self.path.parent / socket


def find_cluster(given: str | None) -> ClusterPlace:
    """The cluster to talk to; raises InvalidRequest that says where was looked."""
    source = given or os.environ.get(VARIABLE)
    path = Path(source).expanduser() if source else USER_FILE.expanduser()
    if path.is_dir():
        path = path / "cluster.toml"
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        where = "" if source else f"; give --cluster DIR or set {VARIABLE}"
        raise InvalidRequest(f"no cluster at {path} ({error.strerror}){where}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InvalidRequest(f"{path}: not valid TOML: {error}") from None
    return ClusterPlace(path.resolve(), values)
