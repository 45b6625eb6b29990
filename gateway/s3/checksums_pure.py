"""The three CRCs of S3, as they are defined; replicast/native/_checksums.pyx is the fast twin.

All are reflected, start with ones and end inverted, so that going on from a value is `f(crc, more)`
and the value of nothing is 0 (R. N. Williams, "A Painless Guide to CRC Error Detection Algorithms",
1993). CRC-32: ISO 3309, the one of zlib. CRC-32C: RFC 3720, appendix B.4. CRC-64/NVME: NVM Express
NVM Command Set Specification 1.0, section 5.2.1.3.4.

A value of two blocks follows from each one's: what the first left, moved on by as many zero bytes
as the second is long, plus what the second left.
"""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

LENGTH_BITS = 61  # of a block, in bytes


class Crc:
    """One polynomial, reflected: the coefficient of x^0 is the highest of `width` bits."""

    def __init__(self, width: int, polynomial: int) -> None:
        self._width, self._polynomial = width, polynomial
        self._ones = (1 << width) - 1
        self._table = [self._of_byte(byte) for byte in range(256)]

    def _times_x(self, value: int) -> int:
        return (value >> 1) ^ (self._polynomial if value & 1 else 0)

    def _of_byte(self, value: int) -> int:
        for _ in range(8):
            value = self._times_x(value)
        return value

    def _times(self, a: int, b: int) -> int:
        product = 0
        for place in reversed(range(self._width)):
            if a >> place & 1:
                product ^= b
            b = self._times_x(b)
        return product

    def _x_to_the(self, exponent: int) -> int:
        power = 1 << (self._width - 1)
        square = self._times_x(power)
        while exponent:
            if exponent & 1:
                power = self._times(power, square)
            square = self._times(square, square)
            exponent >>= 1
        return power

    def update(self, crc: int, block: ReadableBuffer) -> int:
        """Over more bytes. ValueError: no value of this width; BufferError: `block` has gaps."""
        value = _within(crc, self._width, "crc") ^ self._ones
        view = memoryview(block)
        if not view.c_contiguous:
            raise BufferError("the block is not in one piece")
        for byte in view.cast("B") if view.nbytes else ():
            value = self._table[(value ^ byte) & 255] ^ (value >> 8)
        return value ^ self._ones

    def combine(self, crc_a: int, crc_b: int, b_bytes: int) -> int:
        """Of A and B one after the other, from each one's and the length of B; ValueError."""
        first = _within(crc_a, self._width, "crc_a")
        second = _within(crc_b, self._width, "crc_b")
        length = _within(b_bytes, LENGTH_BITS, "b_bytes")
        return self._times(first, self._x_to_the(8 * length)) ^ second


def _within(value: int, width: int, name: str) -> int:
    number = operator.index(value)
    if not 0 <= number < 1 << width:
        raise ValueError(f"{name} is out of range")
    return number


_CRC32 = Crc(32, 0xEDB88320)
_CRC32C = Crc(32, 0x82F63B78)
_CRC64NVME = Crc(64, 0x9A6C9329AC4BC9B5)

crc32, combine_crc32 = _CRC32.update, _CRC32.combine
crc32c, combine_crc32c = _CRC32C.update, _CRC32C.combine
crc64nvme, combine_crc64nvme = _CRC64NVME.update, _CRC64NVME.combine
