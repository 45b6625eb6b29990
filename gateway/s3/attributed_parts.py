"""The parts of an object that was uploaded in parts: as GetObjectAttributes tells them, page by page,
and the checksum of one that is read by its number."""

from __future__ import annotations

from replicast.gateway.s3.algorithms import to_text
from replicast.gateway.s3.answers import NO_CHECKSUMS, AttributePart, AttributeParts, Checksums
from replicast.gateway.s3.claims import TYPE_HEADER
from replicast.gateway.s3.head import Head
from replicast.gateway.s3.paging import attributes_page
from replicast.gateway.s3.stored import Stored


def attributed_parts(head: Head, stored: Stored) -> AttributeParts | None:
    """Those that the head's marker and maximum ask for; None for an object that had no parts.
    Raises InvalidArgument."""
    page = attributes_page(head)
    total = len(stored.part_sizes)
    if not total:
        return None
    end = min(page.marker + page.parts_max, total)
    parts = tuple(_part(stored, number) for number in range(page.marker + 1, end + 1))
    return AttributeParts(total, page.marker, page.parts_max, end < total, parts)


def part_checksum_headers(stored: Stored, number: int) -> dict[str, str]:
    """Of an answer with this part; {} where its checksum is not kept."""
    if stored.checksum is None or not stored.part_checksums:
        return {}
    value = to_text(stored.part_checksums[number - 1])
    return {stored.checksum.algorithm.header: value, TYPE_HEADER: stored.checksum.type.value}


def _part(stored: Stored, number: int) -> AttributePart:
    checksums = NO_CHECKSUMS
    if stored.checksum is not None and stored.part_checksums:
        text = to_text(stored.part_checksums[number - 1])
        checksums = Checksums({stored.checksum.algorithm.element: text})
    return AttributePart(number, stored.part_sizes[number - 1], checksums)
