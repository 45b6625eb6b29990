"""The CRCs of S3 as everybody imports them: Cython, or Python with REPLICAST_PURE=1."""

from replicast.native import PURE, compiled

if PURE:
    from replicast.gateway.s3.checksums_pure import (
        combine_crc32,
        combine_crc32c,
        combine_crc64nvme,
        crc32,
        crc32c,
        crc64nvme,
    )
else:
    with compiled():
        from replicast.native._checksums import (
            combine_crc32,
            combine_crc32c,
            combine_crc64nvme,
            crc32,
            crc32c,
            crc64nvme,
        )

__all__ = [
    "combine_crc32",
    "combine_crc32c",
    "combine_crc64nvme",
    "crc32",
    "crc32c",
    "crc64nvme",
]
