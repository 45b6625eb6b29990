"""The names under which buckets are subdomains (virtual-host style), from the settings."""

from __future__ import annotations

from replicast.config import ConfigError
from replicast.gateway.config import GatewayConfig
from replicast.host_names import is_host_name


def read_domains(config: GatewayConfig) -> tuple[str, ...]:
    """`s3_domains` in lower case, the longest first: of nested ones that one is meant which leaves the
    shortest bucket. Raises ConfigError for what is no name of a host."""
    names = [part.strip() for part in config.s3_domains.split(",")]
    domains = dict.fromkeys(name.lower() for name in names if name)
    for domain in domains:
        if not is_host_name(domain) or domain.rpartition(".")[2].isdigit():
            raise ConfigError(
                f"s3_domains: {domain!r}: must be the name of a host, without port or address"
            )
    return tuple(sorted(domains, key=len, reverse=True))
