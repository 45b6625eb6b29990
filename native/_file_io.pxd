"""What native/_flush_writer.pyx does in its thread, as write_synced() does it."""

from posix.types cimport off_t

cdef int write_and_sync(int fd, off_t offset, const char *data, Py_ssize_t size) noexcept nogil
