# cython: boundscheck=False, wraparound=False, initializedcheck=False
"""Fast twin of replicast/gateway/s3/checksums_pure.py, which defines it: same results, same errors.

One engine serves the three, for all are reflected: a CRC of 32 bits lives in the low half of a
register of 64. Long blocks are folded with carry-less multiplication where the processor has it
(V. Gopal et al., "Fast CRC Computation for Generic Polynomials Using PCLMULQDQ Instruction",
Intel, 2009): what has been read is replaced, 64 bytes at a time, by a shorter remainder that is
congruent to it. The rest, short blocks and other processors go eight bytes at a time by table
(M. E. Kounavis, F. L. Berry, "Novel Table Lookup-Based Algorithms for High-Performance CRC
Generation", 2008).
"""

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from libc.stdint cimport uint8_t, uint64_t

cdef extern from *:
    """
    #if defined(__x86_64__) && defined(__GNUC__)
    #include <immintrin.h>

    static int folds_here(void) {
        __builtin_cpu_init();
        return __builtin_cpu_supports("pclmul") && __builtin_cpu_supports("sse2");
    }

    #define FOLD(x, k) _mm_xor_si128(_mm_clmulepi64_si128(x, k, 0x00), \\
                                     _mm_clmulepi64_si128(x, k, 0x11))
    #define LOAD(p) _mm_loadu_si128((const __m128i *)(p))

    /* 16 bytes congruent to `size` bytes with `crc` before them; `size` is 64 n, n >= 1. */
    __attribute__((target("pclmul,sse2")))
    static void fold(const uint64_t *far, const uint64_t *near, uint64_t crc,
                     const uint8_t *data, size_t size, uint8_t *folded) {
        const __m128i by_64 = LOAD(far), by_16 = LOAD(near);
        __m128i a = _mm_xor_si128(LOAD(data), _mm_cvtsi64_si128((long long)crc));
        __m128i b = LOAD(data + 16), c = LOAD(data + 32), d = LOAD(data + 48);
        const uint8_t *end = data + size;
        for (data += 64; data < end; data += 64) {
            a = _mm_xor_si128(FOLD(a, by_64), LOAD(data));
            b = _mm_xor_si128(FOLD(b, by_64), LOAD(data + 16));
            c = _mm_xor_si128(FOLD(c, by_64), LOAD(data + 32));
            d = _mm_xor_si128(FOLD(d, by_64), LOAD(data + 48));
        }
        b = _mm_xor_si128(b, FOLD(a, by_16));
        c = _mm_xor_si128(c, FOLD(b, by_16));
        d = _mm_xor_si128(d, FOLD(c, by_16));
        _mm_storeu_si128((__m128i *)folded, d);
    }
    #else
    static int folds_here(void) { return 0; }
    static void fold(const uint64_t *far, const uint64_t *near, uint64_t crc,
                     const uint8_t *data, size_t size, uint8_t *folded) {
        (void)far; (void)near; (void)crc; (void)data; (void)size; (void)folded;
    }
    #endif

    static uint64_t load_64(const uint8_t *p) {
        uint64_t word = 0;
        for (int i = 0; i < 8; i++)
            word |= (uint64_t)p[i] << (8 * i);
        return word;
    }
    """
    int folds_here() noexcept nogil
    void fold(
        const uint64_t *far, const uint64_t *near, uint64_t crc, const uint8_t *data, size_t size,
        uint8_t *folded,
    ) noexcept nogil
    uint64_t load_64(const uint8_t *p) noexcept nogil

cdef extern from "Python.h":
    unsigned long long PyLong_AsUnsignedLongLong(object value) except? -1
    object PyNumber_Index(object value)

cdef enum:
    FOLDED_BYTES = 64
    # Below it the lock is kept: to give it up and take it again costs more than the work.
    LOCKED_BYTES_MAX = 2048

cdef struct Engine:
    uint64_t polynomial  # reflected: the coefficient of x^0 is the highest bit
    uint64_t ones
    int width
    uint64_t tables[8][256]  # [k][b]: the remainder of byte b with k zero bytes behind it
    uint64_t far[2]
    uint64_t near[2]

cdef Engine ENGINE_CRC32, ENGINE_CRC32C, ENGINE_CRC64NVME
cdef int FOLDS = folds_here()


# -- arithmetic of polynomials ----------------------------------------------------


cdef uint64_t times_x(Engine *engine, uint64_t value) noexcept nogil:
    return (value >> 1) ^ (engine.polynomial if value & 1 else 0)


cdef uint64_t times(Engine *engine, uint64_t a, uint64_t b) noexcept nogil:
    cdef uint64_t product = 0, bit = <uint64_t>1 << (engine.width - 1)
    while bit:
        if a & bit:
            product ^= b
        b = times_x(engine, b)
        bit >>= 1
    return product


cdef uint64_t x_to_the(Engine *engine, uint64_t exponent) noexcept nogil:
    cdef uint64_t power = <uint64_t>1 << (engine.width - 1)
    cdef uint64_t square = times_x(engine, power)
    while exponent:
        if exponent & 1:
            power = times(engine, power, square)
        square = times(engine, square, square)
        exponent >>= 1
    return power


cdef void prepare(Engine *engine, int width, uint64_t polynomial) noexcept:
    cdef int byte, k, step
    cdef uint64_t value
    engine.width = width
    engine.polynomial = polynomial
    engine.ones = <uint64_t>-1 >> (64 - width)
    for byte in range(256):
        value = byte
        for k in range(8):
            for step in range(8):
                value = times_x(engine, value)
            engine.tables[k][byte] = value
    # The product of two reflected words is one bit short of their place in the double word: x^-1.
    # The earlier 64 bits of a register have to go 64 bits further than the later ones.
    engine.far[0] = x_to_the(engine, 512 + 64 - 1) << (64 - width)
    engine.far[1] = x_to_the(engine, 512 - 1) << (64 - width)
    engine.near[0] = x_to_the(engine, 128 + 64 - 1) << (64 - width)
    engine.near[1] = x_to_the(engine, 128 - 1) << (64 - width)


prepare(&ENGINE_CRC32, 32, 0xEDB88320)
prepare(&ENGINE_CRC32C, 32, 0x82F63B78)
prepare(&ENGINE_CRC64NVME, 64, 0x9A6C9329AC4BC9B5)


# -- over blocks ------------------------------------------------------------------


cdef uint64_t by_tables(
    Engine *engine, uint64_t crc, const uint8_t *data, size_t size
) noexcept nogil:
    cdef const uint8_t *end = data + size
    while end - data >= 8:
        crc ^= load_64(data)
        crc = (
            engine.tables[7][crc & 255]
            ^ engine.tables[6][(crc >> 8) & 255]
            ^ engine.tables[5][(crc >> 16) & 255]
            ^ engine.tables[4][(crc >> 24) & 255]
            ^ engine.tables[3][(crc >> 32) & 255]
            ^ engine.tables[2][(crc >> 40) & 255]
            ^ engine.tables[1][(crc >> 48) & 255]
            ^ engine.tables[0][crc >> 56]
        )
        data += 8
    while data < end:
        crc = engine.tables[0][(crc ^ data[0]) & 255] ^ (crc >> 8)
        data += 1
    return crc


cdef uint64_t over(Engine *engine, uint64_t crc, const uint8_t *data, size_t size) noexcept nogil:
    cdef size_t foldable = size - size % FOLDED_BYTES
    cdef uint8_t folded[16]
    crc ^= engine.ones
    if FOLDS and foldable:
        fold(engine.far, engine.near, crc, data, foldable, folded)
        crc = by_tables(engine, 0, folded, sizeof(folded))
        data += foldable
        size -= foldable
    return by_tables(engine, crc, data, size) ^ engine.ones


cdef uint64_t within(object value, int width, str name) except? 0xFFFFFFFFFFFFFFFF:
    cdef uint64_t number
    try:
        number = PyLong_AsUnsignedLongLong(PyNumber_Index(value))
    except OverflowError:
        raise ValueError(f"{name} is out of range") from None
    if width < 64 and number >> width:
        raise ValueError(f"{name} is out of range")
    return number


cdef uint64_t update(Engine *engine, object crc, object block) except? 0xFFFFFFFFFFFFFFFF:
    cdef uint64_t value = within(crc, engine.width, "crc")
    cdef Py_buffer view
    PyObject_GetBuffer(block, &view, PyBUF_SIMPLE)
    try:
        if view.len <= LOCKED_BYTES_MAX:
            return over(engine, value, <const uint8_t *>view.buf, view.len)
        with nogil:
            value = over(engine, value, <const uint8_t *>view.buf, view.len)
        return value
    finally:
        PyBuffer_Release(&view)


cdef uint64_t combine(Engine *engine, object a, object b, object b_bytes) except? 0xFFFFFFFFFFFFFFFF:
    cdef uint64_t first = within(a, engine.width, "crc_a"), second = within(b, engine.width, "crc_b")
    cdef uint64_t length = within(b_bytes, 61, "b_bytes")
    return times(engine, first, x_to_the(engine, 8 * length)) ^ second


def crc32(crc, block):
    """CRC-32 of ISO 3309 (zlib's) over more bytes."""
    return update(&ENGINE_CRC32, crc, block)


def crc32c(crc, block):
    """CRC-32C (Castagnoli) over more bytes."""
    return update(&ENGINE_CRC32C, crc, block)


def crc64nvme(crc, block):
    """CRC-64/NVME over more bytes."""
    return update(&ENGINE_CRC64NVME, crc, block)


def combine_crc32(crc_a, crc_b, b_bytes):
    """Of A and B one after the other, from each one's and the length of B."""
    return combine(&ENGINE_CRC32, crc_a, crc_b, b_bytes)


def combine_crc32c(crc_a, crc_b, b_bytes):
    """Of A and B one after the other, from each one's and the length of B."""
    return combine(&ENGINE_CRC32C, crc_a, crc_b, b_bytes)


def combine_crc64nvme(crc_a, crc_b, b_bytes):
    """Of A and B one after the other, from each one's and the length of B."""
    return combine(&ENGINE_CRC64NVME, crc_a, crc_b, b_bytes)
