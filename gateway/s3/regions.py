"""Regions: a cluster is one, by the name that its settings give it."""

from __future__ import annotations

FIRST_REGION = "us-east-1"


def signing_regions(region: str) -> tuple[str, ...]:
    """Those that a signature may be for, the cluster's own first: what does not know any, as many
    programs do, signs for S3's first one."""
    return tuple(dict.fromkeys((region, FIRST_REGION)))
