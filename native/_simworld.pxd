"""What native/_simwire.pyx and native/_simpipe.pyx need of the events and their trace."""

from libc.stdint cimport int64_t

ctypedef struct Entry:
    int64_t at_ns
    int64_t made
    Py_ssize_t place


cdef class Event:
    cdef int happen(self) except -1


cdef class Events:
    cdef readonly int64_t time_ns
    cdef readonly int64_t event_count
    cdef Entry *_heap
    cdef Py_ssize_t _count, _room
    cdef list _actions
    cdef int64_t _made, _in_this_instant
    cdef object _running

    cdef bint is_busy(self) noexcept
    cdef int enter(self, turns) except -1
    cdef int put(self, int64_t time_ns, action) except -1
    cdef int _grow(self) except -1
    cdef object _pop(self)
    cdef bint _run(self, int64_t time_ns, done) except -1


cdef class TraceHash:
    cdef readonly bint kept
    cdef readonly int64_t count
    cdef object _hash, _update
    cdef char *_buffer
    cdef Py_ssize_t _filled

    cdef int put(self, int64_t time_ns, process, what, bytes data, more) except -1
    cdef int _write(self, const char *start, Py_ssize_t size_bytes) except -1
    cdef int _flush(self) except -1
