"""What native/_simpipe.pyx needs of the wire."""

from libc.stdint cimport int64_t

from replicast.native._simworld cimport Events, TraceHash

cdef enum:
    STUCK = -1  # a connection's delay while nothing gets through


cdef class Network:
    cdef readonly Events world
    cdef readonly TraceHash trace
    cdef object _random
    cdef int64_t _bandwidth_bytes
    cdef dict _links, _free_ns, _names
    cdef public object default
    cdef readonly dict ports, groups
    cdef readonly int64_t sent, lost

    cdef int64_t delay(self, source, target, int64_t size_bytes) except? -2
    cdef object way(self, source, target)
    cdef int64_t post(self, tuple source, tuple target, bytes datagram) except -1
    cdef int64_t _leave(self, host, int64_t size_bytes) except -1
    cdef int _carry(
        self, tuple source, tuple target, dict members, host, bytes datagram, int64_t left_ns
    ) except -1
    cdef bint _happens(self, int64_t ppm) except -1
    cdef int64_t _delay(self, weather) except -1
