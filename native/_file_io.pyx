"""Fast twins of write_synced() and read_cached() in replicast/file_io.py, which defines them.

The interpreter's lock is given up once for the write and the sync together: a thread that wants it
back waits for whoever runs then.
"""

import os

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.errno cimport EAGAIN, EINTR, EIO, EOPNOTSUPP, errno
from posix.types cimport off_t

cdef extern from "unistd.h" nogil:
    Py_ssize_t pwrite(int fd, const void *data, size_t size, off_t offset)
    int fdatasync(int fd)

cdef extern from "sys/uio.h" nogil:
    """
    #include <sys/uio.h>
    #include <unistd.h>
    static ssize_t rc_read_cached(int fd, void *data, size_t size, off_t offset) {
        struct iovec piece = {data, size};
        return preadv2(fd, &piece, 1, offset, RWF_NOWAIT);
    }
    """
    Py_ssize_t rc_read_cached(int fd, void *data, size_t size, off_t offset)


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


def read_cached(int fd, off_t offset, Py_ssize_t size):
    """Exactly `size` bytes at `offset` if the page cache has them all, else None."""
    cdef bytes data = PyBytes_FromStringAndSize(NULL, size)
    cdef char *into = PyBytes_AS_STRING(data)
    cdef Py_ssize_t got
    cdef int error
    with nogil:
        got = rc_read_cached(fd, into, <size_t>size, offset)
        error = errno
    if got == size:
        return data
    if got >= 0 or error == EAGAIN or error == EOPNOTSUPP:
        return None
    raise OSError(error, os.strerror(error))
