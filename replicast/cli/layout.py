"""The data folder of a local cluster (or of one joined host), and the file that lists its daemons.

    DIR/local.toml       what `up` or `join` made here: the plan, and every daemon
    DIR/cluster.toml     what a client needs; the user's own cluster.toml links to it
    DIR/founder/         who was let in, the founder's key
    DIR/t1/              a target: keys, formation.toml, target.toml, its VDEVs v1, v2, ...
    DIR/gw1/             a gateway: keys, formation.toml, gateway.toml, its API socket
    DIR/client/          the identity of programs that embed the initiator
    DIR/admin/           the identity of operator commands

Paths in local.toml are relative to DIR, so a folder that was moved still finds its daemons.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import stat
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from replicast.cli.processes import Daemon
from replicast.errors import InvalidRequest, Unavailable
from replicast.formation import FORMATION_FILE, toml_pairs
from replicast.keys import write_private

FORMAT = 1
LOCAL_FILE = "local.toml"
LOCK_FILE = ".lock"
CLIENT, ADMIN, FOUNDER = "client", "admin", "founder"
SOCKET_NAME = "api.sock"
SOCKET_PATH_BYTES_MAX = 107
TARGET_MODULE, GATEWAY_MODULE = "replicast.target.daemon", "replicast.gateway.daemon"
MODULES = {"target": TARGET_MODULE, "gateway": GATEWAY_MODULE}


@dataclass(frozen=True, slots=True)
class LocalDaemon:
    """One daemon: `kind` is target or gateway, `metrics` is host:port, `folder` lies in DIR."""

    name: str
    kind: str
    metrics: str
    folder: str

    def daemon(self, data: Path) -> Daemon:
        """The process that runs it."""
        config = data / self.folder / f"{self.kind}.toml"
        return Daemon(self.name, MODULES[self.kind], config, self.metrics)


@dataclass(frozen=True, slots=True)
class Local:
    """local.toml: `plan` is what `up` was asked for; empty on a host that joined."""

    daemons: tuple[LocalDaemon, ...]
    plan: Mapping[str, Any]

    def of_kind(self, kind: str, data: Path) -> list[Daemon]:
        """The targets or the gateways."""
        return [each.daemon(data) for each in self.daemons if each.kind == kind]

    def all(self, data: Path) -> list[Daemon]:
        """Targets first."""
        return self.of_kind("target", data) + self.of_kind("gateway", data)


def save_local(data: Path, local: Local) -> None:
    """Write local.toml."""
    lines = [f"format = {FORMAT}"]
    if local.plan:
        lines += ["", "[plan]", *toml_pairs(local.plan)]
    for each in local.daemons:
        lines += ["", "[[daemons]]", *toml_pairs(asdict(each))]
    write_private(data / LOCAL_FILE, "\n".join(lines) + "\n")


def load_local(data: Path) -> Local:
    """Read local.toml; raises InvalidRequest that says what is wrong with it."""
    path = data / LOCAL_FILE
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
        if values["format"] != FORMAT:
            raise InvalidRequest(f"{path}: format {values['format']}; this version knows {FORMAT}")
        daemons = tuple(
            LocalDaemon(
                str(each["name"]), _kind(each["kind"]), str(each["metrics"]), str(each["folder"])
            )
            for each in values.get("daemons", ())
        )
        return Local(daemons, dict(values.get("plan", {})))
    except OSError as error:
        raise InvalidRequest(f"no local cluster in {data} ({error.strerror})") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, KeyError, TypeError, ValueError) as error:
        raise InvalidRequest(f"{path}: damaged: {error}") from None


def _kind(text: str) -> str:
    if text not in MODULES:
        raise ValueError(f"{text!r} is not one of {', '.join(MODULES)}")
    return text


def is_member(directory: Path) -> bool:
    """Whether this folder has joined a cluster."""
    return (directory / FORMATION_FILE).exists()


@contextmanager
def locked(data: Path) -> Iterator[None]:
    """Only one `up`, `down`, `join` or `restart` at a time works on a folder."""
    data.mkdir(mode=0o700, parents=True, exist_ok=True)
    with open(data / LOCK_FILE, "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Unavailable(
                f"{data}: another up, down, join or restart is at work here"
            ) from None
        yield


def socket_path(directory: Path) -> Path:
    """Where a gateway's API socket goes: its folder, or a short path when that is too long.

    The kernel takes 107 bytes; the short name is derived from the folder, so every start
    finds the same one.
    """
    path = directory / SOCKET_NAME
    if len(os.fsencode(path)) <= SOCKET_PATH_BYTES_MAX:
        return path
    name = hashlib.blake2b(os.fsencode(directory), digest_size=8).hexdigest()
    return runtime_folder() / f"{name}.sock"


def runtime_folder() -> Path:
    """One folder of this user on this machine, made when it is missing; the system empties it.

    Others may write beside it, so what they can have put there, links too, is refused.
    """
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    base = Path(runtime) / "replicast" if runtime else Path(f"/tmp/replicast-{os.getuid()}")
    base.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = base.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise InvalidRequest(f"{base}: must be a folder and yours alone (chmod 700)")
    return base


def relative_to(path: Path, data: Path) -> str:
    """`path` as cluster.toml names it: relative when it lies under `data`."""
    return str(path.relative_to(data)) if path.is_relative_to(data) else str(path)


def link_user_file(target: Path, user_file: Path) -> bool:
    """Make the user's cluster.toml point at `target`, unless it leads to another cluster.

    Of two members of one cluster on this host, the one that names a gateway wins. Returns
    whether the file leads to the cluster of `target` now.
    """
    mine, other = _values(target), _values(user_file)
    if other and other.get("cluster_id") != mine.get("cluster_id"):
        return False
    if "api_socket" in other and "api_socket" not in mine:
        return True
    user_file.parent.mkdir(parents=True, exist_ok=True)
    temporary = user_file.with_name(f".{user_file.name}.{os.getpid()}")
    temporary.unlink(missing_ok=True)
    temporary.symlink_to(target)
    temporary.replace(user_file)
    return True


def _values(path: Path) -> dict[str, Any]:
    """What is in the file; nothing when it cannot be read (its cluster has gone)."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError):
        return {}


def names_of(daemons: Sequence[Daemon]) -> str:
    """For messages: t1, t2 and gw1."""
    names = [daemon.name for daemon in daemons]
    return ", ".join(names[:-1]) + (" and " if len(names) > 1 else "") + "".join(names[-1:])
