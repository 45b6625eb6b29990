"""Digests of objects that came in parts: ETag, composite and full-object checksums, what must match.

No bytes are read again: everything follows from what was computed of each part. Sources as in
claims.py; Amazon S3 API reference, CreateMultipartUpload, UploadPart, CompleteMultipartUpload.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from replicast.gateway.s3.algorithms import (
    DEFAULT_ALGORITHM,
    Algorithm,
    ChecksumType,
    algorithm_named,
    from_text,
    to_text,
)
from replicast.gateway.s3.claims import (
    ALGORITHM_HEADER,
    TYPE_HEADER,
    Claims,
    mismatch,
    read_checksum_header,
    read_value,
)
from replicast.gateway.s3.errors import S3Error
from replicast.gateway.s3.head import Head

_COUNTED = re.compile(r"(.*)-([0-9]{1,5})")


@dataclass(frozen=True, slots=True)
class ObjectChecksum:
    """What is stored with an object and sent with it. `part_count`: of a composite one."""

    algorithm: Algorithm
    type: ChecksumType
    value: bytes
    part_count: int = 0

    @property
    def text(self) -> str:
        """As headers and XML carry it."""
        suffix = f"-{self.part_count}" if self.type is ChecksumType.COMPOSITE else ""
        return to_text(self.value) + suffix

    def headers(self) -> dict[str, str]:
        """Of an answer about the whole object."""
        return {self.algorithm.header: self.text, TYPE_HEADER: self.type.value}


@dataclass(frozen=True, slots=True)
class PartSums:
    """What was computed of one part when it came: at least its upload's checksum."""

    size_bytes: int
    md5: bytes
    checksums: Mapping[Algorithm, bytes]

    def matches(self, named: tuple[Algorithm, bytes] | None) -> bool:
        """Is it the part whose checksum the completion names? Where not, InvalidPart is due."""
        return named is None or self.checksums.get(named[0]) == named[1]


def etag_of_parts(md5s: Sequence[bytes]) -> str:
    """MD5 of the parts' MD5s and their number, without quotes."""
    whole = hashlib.md5(b"".join(md5s), usedforsecurity=False)
    return f"{whole.hexdigest()}-{len(md5s)}"


def composite(algorithm: Algorithm, checksums: Sequence[bytes]) -> bytes:
    """The checksum of the parts' checksums, one after the other."""
    hasher = algorithm.hasher()
    hasher.update(b"".join(checksums))
    return hasher.digest()


def full_object(algorithm: Algorithm, parts: Sequence[tuple[bytes, int]]) -> bytes:
    """Of the whole, from each part's checksum and size in bytes. Only of CRCs."""
    whole = bytes(algorithm.size_bytes)
    for checksum, size_bytes in parts:
        whole = algorithm.combine(whole, checksum, size_bytes)
    return whole


# -- an upload --------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class UploadChecksum:
    """What an upload's object gets. `named`: the client chose, so its parts have to agree."""

    algorithm: Algorithm = DEFAULT_ALGORITHM
    type: ChecksumType = ChecksumType.FULL_OBJECT
    named: bool = False

    def algorithms(self, claims: Claims) -> list[Algorithm]:
        """What to compute of a part: the upload's, and what the client says of the part."""
        claimed = {claims.algorithm} if claims.algorithm else set()
        return sorted({self.algorithm} | claimed)

    def check_part(self, claims: Claims) -> None:
        """Before the body of a part is read. Raises InvalidRequest."""
        if not self.named or claims.algorithm is self.algorithm:
            return
        # What a whole's checksum needs of a part we compute ourselves; a composite is the client's.
        if claims.algorithm is None and self.type is ChecksumType.FULL_OBJECT:
            return
        raise _other_algorithm(self.algorithm, claims.algorithm)

    def of(self, parts: Sequence[PartSums]) -> ObjectChecksum:
        """Of the parts in their order, at least one."""
        sums = [part.checksums[self.algorithm] for part in parts]
        if self.type is ChecksumType.COMPOSITE:
            value = composite(self.algorithm, sums)
            return ObjectChecksum(self.algorithm, self.type, value, len(parts))
        sizes_bytes = [part.size_bytes for part in parts]
        value = full_object(self.algorithm, list(zip(sums, sizes_bytes, strict=True)))
        return ObjectChecksum(self.algorithm, self.type, value)


def read_upload_checksum(head: Head) -> UploadChecksum:
    """Of CreateMultipartUpload. Raises InvalidRequest."""
    text, type_text = head.header(ALGORITHM_HEADER), head.header(TYPE_HEADER)
    kind = None if type_text is None else _read_type(type_text)
    if text is None:
        if kind is not None:
            raise S3Error(
                "InvalidRequest",
                f"The {TYPE_HEADER} header can only be used with the {ALGORITHM_HEADER} header.",
            )
        return UploadChecksum()
    if "," in text:
        raise S3Error(
            "InvalidRequest", f"Invalid types are specified in {ALGORITHM_HEADER} header."
        )
    algorithm = algorithm_named(text)
    if algorithm is None:
        raise S3Error(
            "InvalidRequest",
            "Checksum algorithm provided is unsupported. Please try again with any of the valid "
            f"types: [{', '.join(Algorithm)}]",
        )
    kind = kind or algorithm.types[0]
    if kind not in algorithm.types:
        raise S3Error(
            "InvalidRequest",
            f"The {kind} checksum type cannot be used with the {algorithm.lower()} "
            "checksum algorithm.",
        )
    return UploadChecksum(algorithm, kind, named=True)


# -- its completion ---------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class CompletionClaim:
    """What CompleteMultipartUpload's head says of the object; `part_count` 0: not said."""

    value: bytes
    part_count: int = 0


def read_completion(head: Head, upload: UploadChecksum) -> CompletionClaim | None:
    """Raises InvalidRequest, and BadDigest for what can match nothing."""
    kind = head.header(TYPE_HEADER)
    if kind is not None and upload.named and _read_type(kind) is not upload.type:
        raise S3Error(
            "InvalidRequest",
            f"The upload was created using the {upload.type} checksum mode. "
            "The complete request must use the same checksum mode.",
        )
    header = read_checksum_header(head)
    if header is None:
        return None
    algorithm, text = header
    if algorithm is not upload.algorithm:
        if upload.named:
            raise _other_algorithm(upload.algorithm, algorithm)
        return None  # the service looks at it only where it is of the algorithm that it chose
    counted = _COUNTED.fullmatch(text) if upload.type is ChecksumType.COMPOSITE else None
    if counted is None:
        return CompletionClaim(read_value(algorithm, text, "header"))
    return CompletionClaim(read_value(algorithm, counted[1], "header"), int(counted[2]))


def read_part_checksum(named: Mapping[Algorithm, str]) -> tuple[Algorithm, bytes] | None:
    """What the request's XML says of one part; None: nothing. The service wants it said again for
    composite checksums; it was compared when the part came, and ceph/s3-tests leave it out.

    `named` holds the part's Checksum* elements. Raises InvalidArgument.
    """
    values = [(each, from_text(text, each.size_bytes)) for each, text in named.items()]
    if len(values) > 1 or any(value is None for _, value in values):
        raise S3Error(
            "InvalidArgument",
            "Invalid Base64 or multiple checksums present in request",
            ArgumentName="Checksum",
            ArgumentValue="".join(f"{each}:{text};" for each, text in named.items()),
        )
    for algorithm, value in values:
        if value is not None:
            return algorithm, value
    return None


def check_completion(
    upload: UploadChecksum, claim: CompletionClaim | None, checksum: ObjectChecksum
) -> None:
    """Raises BadDigest: the parts make another object than the client says."""
    if claim is None:
        return
    if claim.value != checksum.value or claim.part_count not in (0, checksum.part_count):
        raise mismatch(upload.algorithm.lower())


def _read_type(text: str) -> ChecksumType:
    if text not in ChecksumType.__members__:
        raise S3Error("InvalidRequest", f"Value for {TYPE_HEADER} header is invalid.")
    return ChecksumType(text)


def _other_algorithm(expected: Algorithm, actual: Algorithm | None) -> S3Error:
    return S3Error(
        "InvalidRequest",
        f"Checksum Type mismatch occurred, expected checksum Type: {expected.lower()}, "
        f"actual checksum Type: {actual.lower() if actual else 'null'}",
    )
