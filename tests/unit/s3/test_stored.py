"""gateway/s3/stored.py: what S3 keeps with an object."""

from __future__ import annotations

import pytest

from replicast.gateway.limits import METADATA_BYTES_MAX, check_metadata
from replicast.gateway.s3.algorithms import Algorithm, ChecksumType
from replicast.gateway.s3.part_sums import ObjectChecksum
from replicast.gateway.s3.stored import DEFAULT_CONTENT, Stored, read_stored

COMPOSITE = ObjectChecksum(Algorithm.SHA256, ChecksumType.COMPOSITE, bytes(range(32)), 12)
FULL = ObjectChecksum(Algorithm.CRC32, ChecksumType.FULL_OBJECT, b"abcd")


@pytest.mark.parametrize(
    "stored",
    [
        Stored(),
        Stored({"content-type": "text/plain", "expires": "never"}, {"a": "ü", "b": " "}),
        Stored(checksum=COMPOSITE, part_sizes=(5, 5, 5, 7)),
        Stored(checksum=FULL, part_sizes=(1,)),
        Stored(checksum=FULL, part_sizes=(7, 8, 9), part_checksums=(b"abcd", b"efgh", b"ijkl")),
        Stored(part_sizes=tuple(5_000_000 + number for number in range(2_000))),
    ],
)
def test_metadata__read_back(stored: Stored) -> None:
    assert read_stored(check_metadata(stored.metadata())) == stored


def test_metadata__of_programs_that_do_not_speak_s3_is_the_users() -> None:
    found = read_stored({"mode": "0644", ":upload": "1"})
    assert found.user == {"mode": "0644"} and found.content == DEFAULT_CONTENT


def test_metadata__what_is_plain_takes_no_room() -> None:
    assert Stored().metadata() == {}


def test_metadata__the_most_that_s3_allows_fits() -> None:
    user = {f"n{number:03}": "v" * 4 for number in range(250)}
    sizes = tuple(5_000_000 + number for number in range(10_000))
    content = {"content-type": "x" * 8000}
    kept = Stored(content, user, COMPOSITE, sizes).metadata()
    assert sum(map(len, kept.values())) < METADATA_BYTES_MAX
    found = read_stored(check_metadata(kept))
    assert (found.user, found.content, found.part_sizes) == (user, content, ())


def test_metadata__beside_long_lists_of_parts_there_is_room_for_the_rest() -> None:
    sizes = tuple(5_000_000 + number for number in range(2_700))
    sums = tuple(bytes([number]) * 32 for number in range(255))
    user, content = {"n": "v" * 2000}, {"content-type": "x" * 8000}
    stored = Stored(content, user, COMPOSITE, sizes, sums)
    assert read_stored(check_metadata(stored.metadata())) == stored
    more = Stored(checksum=COMPOSITE, part_sizes=(1,) * 500, part_checksums=sums * 2)
    assert read_stored(more.metadata()).part_checksums == ()
