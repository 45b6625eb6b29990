"""Version ids as people copy them: three hexadecimal numbers with dots."""

from __future__ import annotations

import re

from replicast.errors import InvalidRequest
from replicast.wire.name_messages import NO_VERSION, VersionId

# The last 63 bits of time, 64 bits of segment id, 32 bits of sequence: what the wire carries.
VERSION = re.compile(r"0*([0-7]?[0-9a-f]{1,15})\.0*([0-9a-f]{1,16})\.0*([0-9a-f]{1,8})")


def version_text(version: VersionId) -> str:
    """The text of a version id; parse_version reads it back."""
    return f"{version.time_ns:016x}.{version.segment_id:016x}.{version.sequence:08x}"


def parse_version(version: str | VersionId | None) -> VersionId:
    """The version id in a text, NO_VERSION for None; raises InvalidRequest."""
    if version is None:
        return NO_VERSION
    if isinstance(version, VersionId):
        return version
    found = VERSION.fullmatch(version)
    if found is None:
        raise InvalidRequest(f"{version[:80]!r} is not a version id", reason="INVALID_VERSION")
    time_ns, segment_id, sequence = (int(part, 16) for part in found.groups())
    return VersionId(time_ns=time_ns, segment_id=segment_id, sequence=sequence)
