# cython: cdivision=True
"""The memory of a Reassembly: page-aligned buffers within its budget. Up to SPARES_MAX that were given
back are kept for the next transfer of their size, because fresh pages cost more than the copy. The
caller holds the lock."""

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free

cdef extern from "<stdlib.h>" nogil:
    int posix_memalign(void **memory, size_t alignment, size_t size)

cdef enum:
    PAGE = 4096               # PAGE_BYTES of replicast/transport/reassembly.py
    SPARES_MAX = 64

ctypedef struct spare_t:
    uint8_t *data
    size_t room

ctypedef struct page_pool_t:
    uint64_t budget_bytes
    uint64_t in_use_bytes, spare_bytes
    int spare_count
    spare_t spares[SPARES_MAX]


cdef inline size_t rounded(size_t size) noexcept nogil:
    return (size + PAGE - 1) // PAGE * PAGE


cdef inline uint8_t *acquire(page_pool_t *pool, size_t room) noexcept nogil:
    cdef int i
    cdef void *data = NULL
    for i in range(pool.spare_count):
        if pool.spares[i].room == room:
            data = pool.spares[i].data
            pool.spare_count -= 1
            pool.spares[i] = pool.spares[pool.spare_count]
            pool.spare_bytes -= room
            pool.in_use_bytes += room
            return <uint8_t *>data
    while pool.spare_count and pool.in_use_bytes + pool.spare_bytes + room > pool.budget_bytes:
        pool.spare_count -= 1
        pool.spare_bytes -= pool.spares[pool.spare_count].room
        free(pool.spares[pool.spare_count].data)
    if posix_memalign(&data, PAGE, room):
        return NULL
    pool.in_use_bytes += room
    return <uint8_t *>data


cdef inline void give_back(page_pool_t *pool, uint8_t *data, size_t room) noexcept nogil:
    pool.in_use_bytes -= room
    if pool.spare_count == SPARES_MAX:
        free(data)
        return
    pool.spares[pool.spare_count].data = data
    pool.spares[pool.spare_count].room = room
    pool.spare_count += 1
    pool.spare_bytes += room


cdef inline void release(page_pool_t *pool, uint8_t *data, uint32_t size_bytes,
                         bint pooled) noexcept nogil:
    """What is not `pooled` lies in a section; it took as much of the budget."""
    if pooled:
        give_back(pool, data, rounded(size_bytes))
    else:
        pool.in_use_bytes -= rounded(size_bytes)


cdef inline void free_spares(page_pool_t *pool) noexcept nogil:
    cdef int i
    for i in range(pool.spare_count):
        free(pool.spares[i].data)
