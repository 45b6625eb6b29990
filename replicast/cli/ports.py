"""Ports for a local cluster: free ones, or fixed ones; a taken one is named with its owner."""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence
from pathlib import Path

from replicast.errors import InvalidRequest

STREAM, DATAGRAM = socket.SOCK_STREAM, socket.SOCK_DGRAM


def free_ports(host: str, count: int) -> list[int]:
    """Ports that are free for both TCP and UDP now; all different."""
    found: list[int] = []
    held: list[socket.socket] = []
    try:
        while len(found) < count:
            tcp = socket.socket(socket.AF_INET, STREAM)
            held.append(tcp)
            tcp.bind((host, 0))
            port = tcp.getsockname()[1]
            udp = socket.socket(socket.AF_INET, DATAGRAM)
            held.append(udp)
            try:
                udp.bind((host, port))
            except OSError:
                continue  # its UDP twin is taken: draw again, keeping this one held
            found.append(port)
        return found
    finally:
        for each in held:
            each.close()


def require_free(host: str, ports: Sequence[int]) -> None:
    """Raise InvalidRequest that names the first taken port and who has it."""
    for port in ports:
        for kind, name in ((STREAM, "tcp"), (DATAGRAM, "udp")):
            with socket.socket(socket.AF_INET, kind) as probe:
                if kind == STREAM:
                    # As servers do: connections in TIME_WAIT do not make a port taken.
                    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                try:
                    probe.bind((host, port))
                except OSError as error:
                    owner = port_owner(name, port)
                    raise InvalidRequest(
                        f"{name} port {port} on {host}: {error.strerror}, held by {owner}; "
                        "choose another --port-base",
                        reason="PORT_TAKEN",
                    ) from None


def port_owner(protocol: str, port: int) -> str:
    """The process that holds the port, as `name (pid N)`, as far as /proc tells."""
    inodes = {inode for inode, local in _sockets(protocol) if local == port}
    for process in Path("/proc").iterdir():
        if process.name.isdigit() and _holds(process, inodes):
            try:
                name = (process / "comm").read_text().strip()
            except OSError:
                continue
            return f"{name} (pid {process.name})"
    return "a process of another user"


def _sockets(protocol: str) -> list[tuple[str, int]]:
    found = []
    for table in (protocol, protocol + "6"):
        try:
            lines = Path(f"/proc/net/{table}").read_text().splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            parts = line.split()
            found.append((parts[9], int(parts[1].rsplit(":", 1)[1], 16)))
    return found


def _holds(process: Path, inodes: set[str]) -> bool:
    wanted = {f"socket:[{inode}]" for inode in inodes}
    try:
        return any(os.readlink(link) in wanted for link in (process / "fd").iterdir())
    except OSError:
        return False
