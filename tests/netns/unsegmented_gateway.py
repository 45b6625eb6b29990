"""replicast-gw whose kernel refuses UDP_SEGMENT.

    python -m unsegmented_gateway --config gateway.toml

Its UDP socket sends without checksums, which the kernel allows for single IPv4 datagrams only:
a real refusal (EINVAL) of a real socket, as old kernels, some devices and IPsec give it.
"""

from __future__ import annotations

import socket

from replicast.gateway.daemon import main
from replicast.transport import sockets

SO_NO_CHECK = 11
open_unicast = sockets.open_unicast


def open_without_checksums(host: str, port: int) -> socket.socket:
    opened = open_unicast(host, port)
    opened.setsockopt(socket.SOL_SOCKET, SO_NO_CHECK, 1)
    return opened


if __name__ == "__main__":
    sockets.open_unicast = open_without_checksums  # type: ignore[assignment]
    main()
