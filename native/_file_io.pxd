"""What native/_flush_writer.pyx does in its thread, as write_synced() and write_pieces_synced() do it."""

from posix.types cimport off_t

from replicast.native._udp cimport iovec

cdef int write_and_sync(int fd, off_t offset, const char *data, Py_ssize_t size) noexcept nogil
cdef int write_pieces_and_sync(int fd, int direct_fd, off_t offset, iovec *pieces,
                               Py_ssize_t count) noexcept nogil


cdef class Pieces:
    cdef Py_buffer *views
    cdef iovec *vectors
    cdef Py_ssize_t count
