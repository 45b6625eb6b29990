"""Which ports the clusters of one user on this machine have drawn, running or not.

    <runtime folder>/ports.json      a list of data folders

A port that nobody listens on may still be somebody's: of a cluster that is just being made, or
is stopped for a moment. The ports themselves are in local.toml only; a listed folder whose
local.toml has gone is dropped by the next who looks, and what it had drawn is free again.

Limits: other users have lists of their own; a member that joined was given its ports and names
none; the system empties the runtime folder, and a folder that was moved has another name: the
next `up` or `down` enters it again. A machine where the list cannot be kept draws without it.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator, Set
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from replicast.cli.layout import Local, load_local, runtime_folder
from replicast.errors import InvalidRequest
from replicast.keys import write_private

REGISTRY_FILE = "ports.json"
PORT_LISTS = ("target_ports", "gateway_ports", "s3_ports")


@contextmanager
def reserving(data: Path) -> Iterator[Set[int]]:
    """The ports of all other clusters; those that local.toml in `data` names at the end are its own.

    One caller at a time: whoever draws ports writes local.toml before leaving. Nothing that may
    take long belongs inside.
    """
    taken: Set[int] = frozenset()
    with ExitStack() as stack:
        with suppress(OSError, InvalidRequest):
            folder = runtime_folder()
            stack.enter_context(_alone(folder))
            others = _listed(folder / REGISTRY_FILE)
            mine = str(data.resolve())
            others.pop(mine, None)
            taken = frozenset().union(*others.values())
            # Before local.toml is there, so that an `up` that is killed leaves no ports unlisted.
            write_private(folder / REGISTRY_FILE, json.dumps([*others, mine], indent=0) + "\n")
        yield taken


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Waits. The lock is the folder's own: no lock file that a cleaner of old files could take away."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _listed(path: Path) -> dict[str, set[int]]:
    """Folder -> ports, of the clusters that are still there; a damaged list is an empty one."""
    try:
        folders = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    found = {}
    for folder in folders if isinstance(folders, list) else ():
        if isinstance(folder, str):
            with suppress(InvalidRequest):
                found[folder] = _ports_of(load_local(Path(folder)))
    return found


def _ports_of(local: Local) -> set[int]:
    lists = [local.plan.get(key) for key in PORT_LISTS]
    values = [value for each in lists if isinstance(each, list) for value in each]
    return {value for value in values if isinstance(value, int)}
