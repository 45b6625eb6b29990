"""Names of hosts as DNS and certificates have them (RFC 1123, 2.1): labels of letters, digits and inner
hyphens, with dots between."""

from __future__ import annotations

import re

CHARACTERS_MAX = 253
_LABEL = r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_NAME = re.compile(rf"{_LABEL}(\.{_LABEL})*")


def is_host_name(text: str) -> bool:
    """Whether it could be one; an IPv4 address looks like one, too."""
    return len(text) <= CHARACTERS_MAX and _NAME.fullmatch(text) is not None
