"""From names to rows: NHID, the seed of a bucket, and the rows a bucket lives in.

A bucket's names live in `spread` rows (a power of two, fixed at creation), one
in each of `spread` equal stretches of the row space, so that LIST asks only
their leaders and buckets with different seeds share few leaders.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache

# Whose places are remembered: each is asked for with every name.
BUCKETS_MAX, ROWS_MAX = 1024, 16384


def nhid(tenant: str, bucket: str, name: str) -> bytes:
    """The 32-byte name hash: SHA3-256 over the length-prefixed UTF-8 parts."""
    last = name.encode()
    framed = _framed(tenant.encode(), bucket.encode()) + len(last).to_bytes(4, "little") + last
    return hashlib.sha3_256(framed).digest()


@lru_cache(BUCKETS_MAX)
def bucket_seed(tenant: str, bucket: str, incarnation: int) -> bytes:
    """32 bytes that place a bucket; a re-created one (next incarnation) lies elsewhere."""
    return _hash_parts(tenant.encode(), bucket.encode(), incarnation.to_bytes(8, "little"))


def row_of_name(seed: bytes, name_hash: bytes, spread: int, row_count: int) -> int:
    """The row that keeps the versions of the name with this NHID."""
    return _row(seed, int.from_bytes(name_hash[:4], "big") & (spread - 1), spread, row_count)


def rows_of_bucket(seed: bytes, spread: int, row_count: int) -> tuple[int, ...]:
    """All rows of a bucket, ascending; exactly `spread` of them."""
    return tuple(_row(seed, stretch, spread, row_count) for stretch in range(spread))


@lru_cache(ROWS_MAX)
def _row(seed: bytes, stretch: int, spread: int, row_count: int) -> int:
    """The bucket's row within one stretch. Raises ValueError for a spread that cannot be."""
    if not 1 <= spread <= row_count or spread & (spread - 1):
        raise ValueError(f"spread {spread} is not a power of two up to {row_count}")
    stretch_rows = row_count // spread
    digest = hashlib.blake2b(seed + stretch.to_bytes(4, "little"), digest_size=8).digest()
    return stretch * stretch_rows + int.from_bytes(digest, "little") % stretch_rows


def _hash_parts(*parts: bytes) -> bytes:
    return hashlib.sha3_256(_framed(*parts)).digest()


@lru_cache(BUCKETS_MAX)
def _framed(*parts: bytes) -> bytes:
    return b"".join([piece for part in parts for piece in (len(part).to_bytes(4, "little"), part)])
