"""Regions: a cluster is one. It has a name of its own, and others by which clients may call it, too.

A bucket made with one of these names as its location says that name ever after, as it would of a
region; clients that look for the location first sign for that name from then on.
"""

from __future__ import annotations

from dataclasses import dataclass

from replicast.config import ConfigError
from replicast.gateway.config import GatewayConfig
from replicast.gateway.s3.errors import S3Error
from replicast.region_names import CHARACTERS_MAX, is_region_name
from replicast.wire.control_messages import BucketInfo

FIRST_REGION = "us-east-1"


@dataclass(frozen=True, slots=True)
class Regions:
    """`own`: of buckets that were made without a location. `aliases`: other names of the same."""

    own: str = FIRST_REGION
    aliases: tuple[str, ...] = ()

    @property
    def signing(self) -> tuple[str, ...]:
        """Those that a signature may be for, the cluster's own first: what does not know any, as many
        programs do, signs for S3's first one."""
        return tuple(dict.fromkeys((self.own, FIRST_REGION, *self.aliases)))

    def location(self, asked: str) -> str:
        """What a new bucket remembers of the LocationConstraint that was asked for; raises
        InvalidLocationConstraint."""
        if asked in ("", self.own):
            return ""
        if asked not in self.aliases:
            raise S3Error("InvalidLocationConstraint", LocationConstraint=asked)
        return asked

    def of(self, bucket: BucketInfo) -> str:
        """The name that clients of this bucket are told."""
        return bucket.location or self.own


def read_regions(config: GatewayConfig) -> Regions:
    """From the settings; raises ConfigError for what no client could sign for."""
    aliases = [part.strip() for part in config.s3_region_aliases.split(",")]
    regions = Regions(config.s3_region, tuple(dict.fromkeys(name for name in aliases if name)))
    _check("s3_region", regions.own)
    for name in regions.aliases:
        _check("s3_region_aliases", name)
    return regions


def _check(setting: str, name: str) -> None:
    if not is_region_name(name):
        raise ConfigError(
            f"{setting}: {name!r}: use 1 to {CHARACTERS_MAX} letters, digits and inner hyphens"
        )
