"""gateway/s3/attributed_parts.py: the parts of an object, page by page."""

from __future__ import annotations

import pytest

from replicast.gateway.s3.algorithms import Algorithm, ChecksumType, to_text
from replicast.gateway.s3.attributed_parts import attributed_parts, part_checksum_headers
from replicast.gateway.s3.head import Head
from replicast.gateway.s3.part_sums import ObjectChecksum
from replicast.gateway.s3.stored import Stored

WHOLE = ObjectChecksum(Algorithm.CRC32, ChecksumType.COMPOSITE, b"abcd", 3)
SUMS = (b"aaaa", b"bbbb", b"cccc")
PARTS = Stored(checksum=WHOLE, part_sizes=(5, 6, 7), part_checksums=SUMS)


def asked(**headers: str) -> Head:
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    return Head("GET", "/b/k", "attributes", names)


@pytest.mark.parametrize(
    ("marker", "most", "numbers", "more"),
    [("", "", [1, 2, 3], False), ("", "2", [1, 2], True), ("1", "1", [2], True),
     ("2", "5", [3], False), ("3", "5", [], False), ("0", "0", [], True)],
)  # fmt: skip
def test_attributed_parts__pages(marker: str, most: str, numbers: list[int], more: bool) -> None:
    head = asked(x_amz_part_number_marker=marker, x_amz_max_parts=most)
    found = attributed_parts(head, PARTS)
    assert found is not None and (found.total, found.truncated) == (3, more)
    assert [(part.number, part.size_bytes) for part in found.parts] == [(n, n + 4) for n in numbers]
    for part in found.parts:
        assert part.checksums.values == {"ChecksumCRC32": to_text(SUMS[part.number - 1])}


def test_attributed_parts__of_what_had_none() -> None:
    assert attributed_parts(asked(), Stored(checksum=WHOLE)) is None
    found = attributed_parts(asked(), Stored(part_sizes=(5,)))
    assert found is not None and found.parts[0].checksums.values == {}


def test_part_checksum_headers() -> None:
    assert part_checksum_headers(PARTS, 2) == {
        "x-amz-checksum-crc32": to_text(b"bbbb"),
        "x-amz-checksum-type": "COMPOSITE",
    }
    assert part_checksum_headers(Stored(checksum=WHOLE, part_sizes=(1,)), 1) == {}
