"""An open transfer of a Reassembly: which of its datagrams are there, and what is missing. The caller
holds the lock."""

from cpython.object cimport PyObject
from libc.stdint cimport int32_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy

from replicast.native._blake3 cimport rc_blake3, rc_blake3_final, rc_blake3_update

cdef extern from *:
    int __builtin_ctzll(unsigned long long) noexcept nogil

cdef enum:
    # What is hashed in one go: as much as the lanes take, or a multiple, but not for long while the
    # lock is held.
    HASH_STEP_BYTES = 1 << 14
    HASH_BYTES_MAX = 1 << 18

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


cdef inline void mark(transfer_t *t, uint32_t index, uint32_t length) noexcept nogil:
    """Note datagram `index` as received."""
    t.bitmap[index >> 6] |= <uint64_t>1 << (index & 63)
    t.received_bytes += length


cdef inline void put(transfer_t *t, uint64_t offset, const uint8_t *data, uint64_t end) noexcept nogil:
    """The datagrams that these bytes cover from end to end, where they are not there yet."""
    cdef uint32_t index = <uint32_t>((offset + t.datagram_bytes - 1) // t.datagram_bytes)
    cdef uint64_t start
    while index < t.count:
        start = <uint64_t>index * t.datagram_bytes
        if start + length_of(t, index) > end:
            break
        if not has(t, index):
            memcpy(t.data + start, data + (start - offset), length_of(t, index))
            mark(t, index, length_of(t, index))
        index += 1


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


cdef inline void hash_on(transfer_t *t) noexcept nogil:
    """What is there without a gap, while it is in the cache. digest() does what this leaves."""
    cdef uint32_t size
    if t == NULL or t.hash == NULL:
        return
    t.whole = next_index(t, t.whole, 0)
    size = t.size_bytes if t.whole == t.count else t.whole * t.datagram_bytes
    size = min(size - t.hashed_bytes, <uint32_t>HASH_BYTES_MAX)
    size -= size % HASH_STEP_BYTES
    if size:
        rc_blake3_update(<rc_blake3 *>t.hash, t.data + t.hashed_bytes, size)
        t.hashed_bytes += size


cdef inline void hash_all(transfer_t *t, uint8_t *digest) noexcept nogil:
    """The digest of a transfer that is complete."""
    rc_blake3_update(<rc_blake3 *>t.hash, t.data + t.hashed_bytes, t.size_bytes - t.hashed_bytes)
    t.hashed_bytes = t.size_bytes
    rc_blake3_final(<rc_blake3 *>t.hash, digest)
