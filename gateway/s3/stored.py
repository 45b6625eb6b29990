"""What S3 keeps with an object beside its bytes, as metadata of its manifest.

One item for all content headers, one for all user metadata: the cluster's metadata has fewer items and
shorter names than S3 allows. Names with a colon are ours: no HTTP header has one. Other metadata
is of programs that do not speak S3 (`mode`, `mtime` of `replicast cp`), and shown as the user's.
"""

from __future__ import annotations

import json
from base64 import b64decode
from collections.abc import Mapping
from dataclasses import dataclass, field

from replicast.gateway.s3.algorithms import Algorithm, ChecksumType, to_text
from replicast.gateway.s3.headers import CONTENT_TYPE_DEFAULT
from replicast.gateway.s3.part_details import part_items, read_part_checksums, read_part_sizes
from replicast.gateway.s3.part_sums import ObjectChecksum

CONTENT, USER, CHECKSUM = ":content", ":user", ":checksum"
DEFAULT_CONTENT = {"content-type": CONTENT_TYPE_DEFAULT}


@dataclass(frozen=True, slots=True)
class Stored:
    """`content`: content headers by their names in lower case; `part_sizes`: of an object that was
    uploaded in parts, in bytes; `part_checksums`: of its algorithm, () when its client named none."""

    content: Mapping[str, str] = field(default_factory=lambda: dict(DEFAULT_CONTENT))
    user: Mapping[str, str] = field(default_factory=dict)
    checksum: ObjectChecksum | None = None
    part_sizes: tuple[int, ...] = ()
    part_checksums: tuple[bytes, ...] = ()

    def metadata(self) -> dict[str, str]:
        """As the object layer keeps it."""
        found = {}
        if self.content != DEFAULT_CONTENT:
            found[CONTENT] = _json(self.content)
        if self.user:
            found[USER] = _json(self.user)
        if self.checksum is not None:
            found[CHECKSUM] = _checksum_text(self.checksum)
        if self.part_sizes or self.part_checksums:
            found |= part_items(self.part_sizes, self.part_checksums)
        return found


def read_stored(metadata: Mapping[str, str], *, sums: bool = True) -> Stored:
    """From the metadata of any object. `sums`: its checksums, too; False where nobody asks for them."""
    user = {name: value for name, value in metadata.items() if not name.startswith(":")}
    checksum = _read_checksum(metadata[CHECKSUM]) if sums and CHECKSUM in metadata else None
    return Stored(
        json.loads(metadata[CONTENT]) if CONTENT in metadata else dict(DEFAULT_CONTENT),
        json.loads(metadata[USER]) if USER in metadata else user,
        checksum,
        read_part_sizes(metadata),
        () if checksum is None else read_part_checksums(metadata, checksum.algorithm.size_bytes),
    )


def _json(values: Mapping[str, str]) -> str:
    return json.dumps(dict(values), ensure_ascii=False, separators=(",", ":"), sort_keys=True)


def _checksum_text(checksum: ObjectChecksum) -> str:
    value = to_text(checksum.value)
    return f"{checksum.algorithm} {checksum.type} {value} {checksum.part_count}"


def _read_checksum(text: str) -> ObjectChecksum:
    name, kind, value, count = text.split(" ")
    algorithm = Algorithm(name)
    return ObjectChecksum(algorithm, ChecksumType(kind), b64decode(value), int(count))
