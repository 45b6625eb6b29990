"""Whether somebody between a client and the gateway could read along.

Keys of customers come in headers, so S3 takes them over https only. A gateway that has no certificate
is good for its own host: there plain HTTP goes through the kernel and nothing else. What a proxy says of
its client's connection is not believed; whoever trusts the way from a proxy says so (ALWAYS).
"""

from __future__ import annotations

from functools import lru_cache
from ipaddress import ip_address

REMEMBERED_PEERS = 1024
LOOPBACK, ALWAYS, NEVER = "loopback", "always", "never"
OVER_HTTP = (LOOPBACK, ALWAYS, NEVER)


def is_private(url: str, peer: str, over_http: str) -> bool:
    """`url`: as the client wrote it; `peer`: address of the other end of the connection; `over_http`:
    one of OVER_HTTP, from where plain HTTP passes for private."""
    if url.startswith("https:") or over_http == ALWAYS:
        return True
    return over_http == LOOPBACK and _is_loopback(peer)


@lru_cache(REMEMBERED_PEERS)
def _is_loopback(peer: str) -> bool:
    try:
        address = ip_address(peer)
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback
