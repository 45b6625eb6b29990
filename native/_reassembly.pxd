"""What native/_net.pyx needs: feed_joined() for its thread, and the header in C."""

from cpython.object cimport PyObject
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t, int32_t

from replicast.native._page_pool cimport page_pool_t
from replicast.native._transfer cimport transfer_t


cdef extern from *:
    """
    #include <stdint.h>
    #include <string.h>
    #if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
    #error "the payload header is copied as it lies in memory: little-endian only"
    #endif

    /* As in replicast/transfer_header.py; every field is naturally aligned. */
    typedef struct {
        uint32_t magic;
        uint8_t version, type, flags, key_epoch;
        uint8_t transfer_id[16];
        uint32_t index, count, size_bytes;
        uint16_t datagram_bytes, length;
        uint64_t sender;
        uint8_t mac[8];
        uint64_t checksum;
    } payload_header;
    _Static_assert(sizeof(payload_header) == 64, "payload header");

    static inline uint64_t rc_read64(const uint8_t *p) {
        uint64_t v; memcpy(&v, p, 8); return v;
    }
    static inline uint64_t rc_mix16(const uint8_t *p, uint64_t low, uint64_t high) {
        unsigned __int128 product =
            (unsigned __int128)(rc_read64(p) ^ low) * (rc_read64(p + 8) ^ high);
        return (uint64_t)product ^ (uint64_t)(product >> 64);
    }
    /* xxh3_64 with seed 0 for exactly 56 bytes: the branch for 33 to 64. */
    static inline uint64_t rc_xxh3_56(const void *header) {
        const uint8_t *p = (const uint8_t *)header;
        uint64_t h = 56 * 0x9E3779B185EBCA87ull;
        h += rc_mix16(p + 16, 0x78E5C0CC4EE679CBull, 0x2172FFCC7DD05A82ull);
        h += rc_mix16(p + 24, 0x8E2443F7744608B8ull, 0x4C263A81E69035E0ull);
        h += rc_mix16(p, 0xBE4BA423396CFEB8ull, 0x1CAD21F72C81017Cull);
        h += rc_mix16(p + 40, 0xDB979083E96DD4DEull, 0x1F67B3B7A4A44072ull);
        h ^= h >> 37;
        h *= 0x165667919E3779F9ull;
        return h ^ (h >> 32);
    }
    """
    ctypedef struct payload_header:
        uint32_t magic
        uint8_t version
        uint8_t type
        uint8_t flags
        uint8_t key_epoch
        uint8_t transfer_id[16]
        uint32_t index
        uint32_t count
        uint32_t size_bytes
        uint16_t datagram_bytes
        uint16_t length
        uint64_t sender
        uint8_t mac[8]
        uint64_t checksum

    uint64_t rc_xxh3_56(const void *header) noexcept nogil

cdef extern from "<pthread.h>" nogil:
    ctypedef struct pthread_mutex_t:
        pass
    int pthread_mutex_init(pthread_mutex_t *, void *)
    int pthread_mutex_destroy(pthread_mutex_t *)
    int pthread_mutex_lock(pthread_mutex_t *)
    int pthread_mutex_unlock(pthread_mutex_t *)

cdef enum:
    PLACED = 0
    COMPLETED = 1
    DELIVER = 2
    SHORT = 3
    MAGIC = 4
    VERSION = 5
    UNKNOWN_TRANSFER = 6
    CHECKSUM = 7
    UNSEALED = 8
    MISMATCH = 9
    DUPLICATE = 10
    CODES = 11
    OTHER_TRANSFER = 11       # than the datagrams before it: not fed

ctypedef struct fed_t:
    uint32_t size_bytes       # of the datagrams that are done with
    uint32_t count            # of those that were fed, a sealed one among them
    bint completed            # a transfer
    bint control, sealed      # why the next one is for Python: it is no payload, or DELIVER


cdef class Reassembly:
    cdef readonly uint32_t transfers_max
    cdef public int source_fd
    cdef page_pool_t pages
    cdef uint32_t open_count, complete_count, ready_count, bucket_mask
    cdef int32_t free_head
    cdef transfer_t *transfers
    cdef int32_t *buckets
    cdef int32_t *ready
    cdef uint64_t counts[CODES]
    cdef pthread_mutex_t mutex

    cdef void feed_joined(
        self, const uint8_t *data, uint32_t size, uint32_t piece, fed_t *fed
    ) noexcept nogil
    cdef int feed_locked(
        self, const uint8_t *datagram, size_t size, transfer_t **known
    ) noexcept nogil
    cdef bint expects(self) noexcept nogil
    cdef int placed(self, transfer_t *t) noexcept nogil
    cdef int32_t find(self, const uint8_t *transfer_id) noexcept nogil
    cdef int32_t find_bytes(self, bytes transfer_id) noexcept
    cdef int open_locked(self, transfer_t *wanted, size_t room) noexcept nogil
    cdef int place_locked(
        self, transfer_t *t, uint64_t offset, const uint8_t *data, uint64_t end
    ) noexcept nogil
    cdef PyObject *forget(self, int32_t place) noexcept nogil
