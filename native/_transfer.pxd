"""An open transfer of a Reassembly: which of its datagrams are there, and what is missing. The caller
holds the lock."""

from cpython.object cimport PyObject
from libc.stdint cimport int32_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy

cdef extern from *:
    int __builtin_ctzll(unsigned long long) noexcept nogil

ctypedef struct transfer_t:
    uint8_t id[16]
    uint8_t *data
    uint64_t *bitmap
    uint32_t size_bytes
    uint32_t datagram_bytes
    uint32_t count
    uint32_t received_bytes
    int32_t next      # in its bucket, or in the list of free places
    int32_t ready     # place in the list of completed ones, -1 when not there
    bint authenticated, hashed
    void *hash        # rc_blake3; NULL: not hashed
    uint32_t whole    # datagrams from the first on that are all there
    uint32_t hashed_bytes
    PyObject *section  # a _result.Section that `data` lies in, held; NULL: a buffer


cdef inline uint64_t bucket_of(const uint8_t *transfer_id) noexcept nogil:
    cdef uint64_t low, high
    memcpy(&low, transfer_id, 8)
    memcpy(&high, transfer_id + 8, 8)
    return (low ^ high) * <uint64_t>0x9E3779B185EBCA87 >> 24


cdef inline uint32_t length_of(transfer_t *t, uint32_t index) noexcept nogil:
    cdef uint32_t left = t.size_bytes - index * t.datagram_bytes
    return left if left < t.datagram_bytes else t.datagram_bytes


cdef inline bint has(transfer_t *t, uint32_t index) noexcept nogil:
    return (t.bitmap[index >> 6] >> (index & 63)) & 1


cdef inline uint32_t next_index(transfer_t *t, uint32_t index, bint wanted) noexcept nogil:
    """The first index from `index` on whose bit is `wanted`, or count."""
    cdef uint64_t word
    while index < t.count:
        word = t.bitmap[index >> 6] if wanted else ~t.bitmap[index >> 6]
        word >>= index & 63
        if word:
            index += __builtin_ctzll(word)
            return index if index < t.count else t.count
        index = (index | 63) + 1
    return t.count


cdef inline long gaps_of(transfer_t *t, uint32_t *found, long room) noexcept nogil:
    """Fill `found` with up to `room` pairs start, end of missing bytes; how many there are."""
    cdef long count = 0
    cdef uint32_t index = next_index(t, 0, 0)
    while count < room and index < t.count:
        found[2 * count] = index * t.datagram_bytes
        index = next_index(t, index, 1)
        found[2 * count + 1] = index * t.datagram_bytes if index < t.count else t.size_bytes
        count += 1
        index = next_index(t, index, 0)
    return count
