"""Fast twin of write_synced() in replicast/file_io.py, which defines it.

The interpreter's lock is given up once for the write and the sync together: a thread that wants it
back waits for whoever runs then.
"""

import os

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from libc.errno cimport EINTR, EIO, errno
from posix.types cimport off_t

cdef extern from "unistd.h" nogil:
    Py_ssize_t pwrite(int fd, const void *data, size_t size, off_t offset)
    int fdatasync(int fd)


cdef int write_and_sync(int fd, off_t offset, const char *data, Py_ssize_t size) noexcept nogil:
    """0 or what went wrong."""
    cdef Py_ssize_t written
    while size > 0:
        written = pwrite(fd, data, <size_t>size, offset)
        if written > 0:
            data += written
            offset += written
            size -= written
        elif written == 0:
            return EIO
        elif errno != EINTR:
            return errno
    while fdatasync(fd) != 0:
        if errno != EINTR:
            return errno
    return 0


def write_synced(int fd, off_t offset, piece):
    """Write a piece, past short writes, and make the file's data durable."""
    cdef Py_buffer view
    cdef int error
    PyObject_GetBuffer(piece, &view, PyBUF_SIMPLE)
    with nogil:
        error = write_and_sync(fd, offset, <const char *>view.buf, view.len)
    PyBuffer_Release(&view)
    if error:
        raise OSError(error, os.strerror(error))
