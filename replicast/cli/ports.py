"""Ports for a local cluster: free ones, or fixed ones; a taken one is named with its owner."""

from __future__ import annotations

import errno
import ipaddress
import os
import random
import socket
from collections.abc import Sequence, Set
from pathlib import Path

from replicast.addresses import canonical_host, family_of, is_ipv6
from replicast.errors import InvalidRequest
from replicast.machine import Group
from replicast.transport.multicast import NEGOTIATING, MulticastPlan
from replicast.transport.sockets import require_route

STREAM, DATAGRAM = socket.SOCK_STREAM, socket.SOCK_DGRAM
PORTS_LOW = 10_000
EPHEMERAL_LOW = 32_768  # Linux's default
DRAWS_MAX = 4096


def check_host(host: str, option: str = "--host") -> None:
    """Raise InvalidRequest unless `host` is an IP address that daemons on this host can bind.

    In its one spelling: members compare addresses as texts.
    """
    try:
        ipaddress.ip_address(host)
    except ValueError:
        raise InvalidRequest(f"{option} {host}: give an IP address of this host") from None
    try:
        spelling = canonical_host(host)
    except ValueError as error:
        raise InvalidRequest(f"{option}: {error}") from None
    if spelling != host:
        raise InvalidRequest(f"{option} {host}: write {spelling}")
    refused = _bindable(host, 0, DATAGRAM)
    if refused is not None:
        raise InvalidRequest(f"{option} {host}: {refused.strerror}")


def check_multicast(host: str) -> None:
    """Raise InvalidRequest unless datagrams to groups can leave from this address."""
    group = MulticastPlan(b"", ipv6=is_ipv6(host)).address(Group(NEGOTIATING, 0))
    try:
        require_route(group, host)
    except OSError as error:
        raise InvalidRequest(
            f"--transport multicast: groups cannot be reached from {host}: {error.strerror}"
        ) from None


def free_ports(
    host: str, count: int, rng: random.Random, taken: Set[int] = frozenset()
) -> list[int]:
    """Ports that are free for both TCP and UDP now and not `taken`; all different.

    From below the range that the system gives to outgoing connections: a port from inside
    it may be somebody's connection by the time its daemon is started again, and a client
    that dials a dead daemon's port can even be connected to itself.
    """
    span = range(PORTS_LOW, max(_ephemeral_low(), PORTS_LOW + DRAWS_MAX))
    candidates = rng.sample(span, DRAWS_MAX)
    found: list[int] = []
    for port in candidates:
        if len(found) == count:
            break
        if port not in taken and all(
            _bindable(host, port, kind) is None for kind in (STREAM, DATAGRAM)
        ):
            found.append(port)
    if len(found) < count:
        raise InvalidRequest(f"no {count} free ports on {host}", reason="PORT_TAKEN")
    return found


def _ephemeral_low() -> int:
    try:
        return int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    except (OSError, ValueError):
        return EPHEMERAL_LOW


def _bindable(host: str, port: int, kind: int) -> OSError | None:
    """None when a server could bind now, else why not."""
    with socket.socket(family_of(host), kind) as probe:
        if kind == STREAM:
            # As servers do: connections in TIME_WAIT do not make a port taken.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            return error
    return None


def require_free(host: str, ports: Sequence[int], advice: str) -> None:
    """Raise InvalidRequest that names the first taken port, who has it, and `advice`."""
    for port in ports:
        for kind, name in ((STREAM, "tcp"), (DATAGRAM, "udp")):
            error = _bindable(host, port, kind)
            if error is None:
                continue
            if error.errno != errno.EADDRINUSE:
                raise InvalidRequest(f"{name} port {port} on {host}: {error.strerror}")
            raise InvalidRequest(
                f"{name} port {port} on {host} is held by {port_owner(name, port)}; {advice}",
                reason="PORT_TAKEN",
            )


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
