"""Datagrams that wait for Python: a list bounded in count and bytes. The caller holds the lock."""

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy

from replicast.native._udp cimport rc_address

ctypedef struct control_t:
    control_t *next
    rc_address source
    int tag
    uint32_t size
    const uint8_t *data       # `kept`, or where it was received
    uint8_t kept[1]

ctypedef struct control_queue_t:
    control_t *first
    control_t *last
    uint64_t count, count_max
    uint64_t size_bytes, bytes_max


cdef inline bint push_control(control_queue_t *queue, int tag, rc_address *source,
                              const uint8_t *data, uint32_t size, bint stays) noexcept nogil:
    """False when it does not fit. `stays`: `data` does until the queue was taken, and is not copied."""
    cdef control_t *entry
    if queue.count >= queue.count_max or queue.size_bytes + size > queue.bytes_max:
        return False
    entry = <control_t *>malloc(sizeof(control_t) + (0 if stays else size))
    if entry == NULL:
        return False
    entry.next = NULL
    entry.source = source[0]
    entry.tag = tag
    entry.size = size
    if stays:
        entry.data = data
    else:
        memcpy(entry.kept, data, size)
        entry.data = entry.kept
    if queue.first == NULL:
        queue.first = entry
    else:
        queue.last.next = entry
    queue.last = entry
    queue.count += 1
    queue.size_bytes += size
    return True


cdef inline control_t *take_controls(control_queue_t *queue) noexcept nogil:
    """All entries, oldest first; the queue is empty afterwards."""
    cdef control_t *first = queue.first
    queue.first = queue.last = NULL
    queue.count = queue.size_bytes = 0
    return first


cdef inline control_t *free_control(control_t *entry) noexcept nogil:
    """Free one; returns the one behind it."""
    cdef control_t *after = entry.next
    free(entry)
    return after
