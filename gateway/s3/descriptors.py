"""File descriptors for connections: the usual limit of 1024 is for programs that use select()."""

from __future__ import annotations

import logging
import resource

log = logging.getLogger("replicast.gateway.s3")

OTHERS = 256  # sockets and files of the gateway itself


def allow_connections(count: int) -> None:
    """Raise this process's limit, as far as it may, so that so many can be open; says so in the log
    if they cannot: who comes then finds nobody to tell him to slow down."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = count + OTHERS
    if hard != resource.RLIM_INFINITY and wanted > hard:
        log.warning("s3_connections needs %d file descriptors; %d are allowed", wanted, hard)
        wanted = hard
    if soft != resource.RLIM_INFINITY and wanted > soft:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
