"""Byte ranges of reads, and those of sources of part copies.

A Range header that is malformed, in another unit, reversed or of several ranges is as if it were
not there: the whole object is the answer, as S3 has it. x-amz-copy-source-range has one form only.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from replicast.gateway.s3.arguments import invalid_argument
from replicast.gateway.s3.errors import S3Error

_RANGE = re.compile(r"bytes=\s*([0-9]*)-([0-9]*)\s*", re.IGNORECASE)
_COPY_RANGE = re.compile(r"bytes=([0-9]{1,19})-([0-9]{1,19})")
_DIGITS_MAX = 19
_MORE_THAN_ANY_BYTES = 10**_DIGITS_MAX


@dataclass(frozen=True, slots=True)
class ByteRange:
    """From `first` to `last`, both included, within `size_bytes`."""

    first: int
    last: int
    size_bytes: int

    @property
    def length_bytes(self) -> int:
        return self.last - self.first + 1

    @property
    def content_range(self) -> str:
        """The value of the Content-Range header."""
        return f"bytes {self.first}-{self.last}/{self.size_bytes}"


def parse_range(text: str | None, size_bytes: int) -> ByteRange | None:
    """The range of an object of this size, None for all of it; raises InvalidRange (for its
    answer see unsatisfied_content_range)."""
    found = _RANGE.fullmatch(text) if text is not None else None
    if found is None or found.group(1) == found.group(2) == "":
        return None
    begin, end = found.groups()
    if begin:
        first, last = _number(begin), _number(end) if end else size_bytes - 1
        if end and last < first:
            return None
        last = min(last, size_bytes - 1)
    else:
        first, last = max(0, size_bytes - _number(end)), size_bytes - 1
    if first > last:
        raise S3Error(
            "InvalidRange", RangeRequested=found.group(0)[:100], ActualObjectSize=str(size_bytes)
        )
    return ByteRange(first, last, size_bytes)


def unsatisfied_content_range(size_bytes: int) -> str:
    """The value of the Content-Range header of a 416."""
    return f"bytes */{size_bytes}"


def parse_copy_range(text: str | None) -> tuple[int, int] | None:
    """First and last byte of x-amz-copy-source-range, None without one; raises InvalidArgument."""
    if text is None:
        return None
    found = _COPY_RANGE.fullmatch(text)
    if found is None or int(found.group(1)) > int(found.group(2)):
        raise invalid_argument(
            "x-amz-copy-source-range",
            text,
            "The x-amz-copy-source-range value must be of the form bytes=first-last where first "
            "and last are the zero-based offsets of the first and last bytes to copy",
        )
    return int(found.group(1)), int(found.group(2))


def within(bounds: tuple[int, int], size_bytes: int) -> ByteRange:
    """The bounds in a source of this size, which must have them all; raises InvalidRange."""
    first, last = bounds
    if last >= size_bytes:
        raise S3Error(
            "InvalidRange",
            f"Range specified is not valid for source object of size: {size_bytes}",
            RangeRequested=f"bytes={first}-{last}",
            ActualObjectSize=str(size_bytes),
        )
    return ByteRange(first, last, size_bytes)


def _number(digits: str) -> int:
    digits = digits.lstrip("0") or "0"
    return int(digits) if len(digits) <= _DIGITS_MAX else _MORE_THAN_ANY_BYTES
