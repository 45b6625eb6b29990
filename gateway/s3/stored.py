"""What S3 keeps with an object beside its bytes, as metadata of its manifest.

One item for all content headers, one for all user metadata: the cluster's metadata has fewer items and
shorter names than S3 allows. Names with a colon are ours: no HTTP header has one. Other metadata
is of programs that do not speak S3 (`mode`, `mtime` of `replicast cp`), and shown as the user's.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby

from replicast.gateway.s3.algorithms import Algorithm, ChecksumType, from_text, to_text
from replicast.gateway.s3.headers import CONTENT_TYPE_DEFAULT
from replicast.gateway.s3.part_sums import ObjectChecksum

CONTENT, USER, CHECKSUM, PART_SIZES = ":content", ":user", ":checksum", ":parts"
DEFAULT_CONTENT = {"content-type": CONTENT_TYPE_DEFAULT}
# Of sizes that all differ there may be more than metadata has room for: then parts cannot be read
# one by one, and nothing else is lost.
PART_SIZES_CHARS_MAX = 16 << 10


@dataclass(frozen=True, slots=True)
class Stored:
    """`content`: content headers by their names in lower case; `part_sizes`: of an object that was
    uploaded in parts, in bytes."""

    content: Mapping[str, str] = field(default_factory=lambda: dict(DEFAULT_CONTENT))
    user: Mapping[str, str] = field(default_factory=dict)
    checksum: ObjectChecksum | None = None
    part_sizes: tuple[int, ...] = ()

    def metadata(self) -> dict[str, str]:
        """As the object layer keeps it."""
        found = {}
        if self.content != DEFAULT_CONTENT:
            found[CONTENT] = _json(self.content)
        if self.user:
            found[USER] = _json(self.user)
        if self.checksum is not None:
            found[CHECKSUM] = _checksum_text(self.checksum)
        sizes = _sizes_text(self.part_sizes)
        if sizes and len(sizes) <= PART_SIZES_CHARS_MAX:
            found[PART_SIZES] = sizes
        return found


def read_stored(metadata: Mapping[str, str]) -> Stored:
    """From the metadata of any object."""
    user = {name: value for name, value in metadata.items() if not name.startswith(":")}
    return Stored(
        json.loads(metadata[CONTENT]) if CONTENT in metadata else dict(DEFAULT_CONTENT),
        json.loads(metadata[USER]) if USER in metadata else user,
        _read_checksum(metadata[CHECKSUM]) if CHECKSUM in metadata else None,
        _read_sizes(metadata.get(PART_SIZES, "")),
    )


def _json(values: Mapping[str, str]) -> str:
    return json.dumps(dict(values), ensure_ascii=False, separators=(",", ":"), sort_keys=True)


def _checksum_text(checksum: ObjectChecksum) -> str:
    value = to_text(checksum.value)
    return f"{checksum.algorithm} {checksum.type} {value} {checksum.part_count}"


def _read_checksum(text: str) -> ObjectChecksum:
    name, kind, value, count = text.split(" ")
    algorithm = Algorithm(name)
    raw = from_text(value, algorithm.size_bytes)
    assert raw is not None, "we have written it"
    return ObjectChecksum(algorithm, ChecksumType(kind), raw, int(count))


def _sizes_text(sizes: Sequence[int]) -> str:
    """Runs of equal sizes, as size*count: all but the last part of an upload mostly are."""
    return ",".join(f"{size}*{len(list(run))}" for size, run in groupby(sizes))


def _read_sizes(text: str) -> tuple[int, ...]:
    found: list[int] = []
    for run in text.split(",") if text else ():
        size, _, count = run.partition("*")
        found += [int(size)] * int(count)
    return tuple(found)
