"""Names of regions, as S3 clients sign for them and ask for buckets in them: letters, digits, inner
hyphens."""

from __future__ import annotations

import re

CHARACTERS_MAX = 63
_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?")


def is_region_name(text: str) -> bool:
    """Whether it could be one."""
    return len(text) <= CHARACTERS_MAX and _NAME.fullmatch(text) is not None
