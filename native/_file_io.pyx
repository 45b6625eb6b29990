# cython: boundscheck=False, wraparound=False
"""Fast twins of what replicast/file_io.py defines under the same names.

The interpreter's lock is given up once for the write and the sync together: a thread that wants it
back waits for whoever runs then.
"""

import mmap
import os

cimport cython
from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_FillInfo, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.errno cimport EAGAIN, EINTR, EINVAL, EIO, ENOENT, ENOMEM, EOPNOTSUPP, errno
from libc.stdint cimport uintptr_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy
from posix.types cimport off_t

from replicast.native._udp cimport iovec

from replicast.file_io import BLOCK_BYTES, COPY_BELOW_BYTES, MAP_FROM_BYTES, PIECES_MAX

cdef size_t C_BLOCK_BYTES = BLOCK_BYTES, C_COPY_BELOW_BYTES = COPY_BELOW_BYTES
cdef Py_ssize_t C_PIECES_MAX = PIECES_MAX, C_MAP_FROM_BYTES = MAP_FROM_BYTES
cdef size_t C_PAGE_BYTES = mmap.PAGESIZE

cdef extern from "stdlib.h" nogil:
    int posix_memalign(void **memory, size_t alignment, size_t size)

cdef extern from "unistd.h" nogil:
    Py_ssize_t pwrite(int fd, const void *data, size_t size, off_t offset)
    int fdatasync(int fd)

cdef extern from "sys/mman.h" nogil:
    """
    #include <stdlib.h>
    #include <sys/mman.h>
    #include <sys/stat.h>
    #ifndef MADV_POPULATE_READ
    #define MADV_POPULATE_READ 22
    #endif
    /* These bytes of the file, of which the first lies in the first page; NULL unless the page cache has
       them all. Their pages are looked up at once: what is looked up somewhere is kept longest. */
    static char *rc_map_cached(int fd, size_t size, off_t offset, size_t page) {
        struct stat file;
        unsigned char *there;
        size_t pages = (size + page - 1) / page, i = 0;
        char *memory;
        if (fstat(fd, &file) != 0 || file.st_size < offset || (size_t)(file.st_size - offset) < size)
            return NULL;
        memory = mmap(NULL, size, PROT_READ, MAP_SHARED, fd, offset);
        if (memory == MAP_FAILED)
            return NULL;
        there = malloc(pages);
        if (there != NULL && mincore(memory, size, there) == 0)
            while (i < pages && there[i] & 1)
                i++;
        free(there);
        if (i < pages) {
            munmap(memory, size);
            return NULL;
        }
        madvise(memory, size, MADV_POPULATE_READ); /* before Linux 5.14: each when it is wanted */
        return memory;
    }
    """
    char *rc_map_cached(int fd, size_t size, off_t offset, size_t page)
    int munmap(void *memory, size_t size)

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
    Py_ssize_t pwritev(int fd, const iovec *pieces, int count, off_t offset)


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
    return sync(fd)


cdef int sync(int fd) noexcept nogil:
    while fdatasync(fd) != 0:
        if errno != EINTR:
            return errno
    return 0


cdef int write_all(int fd, off_t offset, iovec *pieces, Py_ssize_t count) noexcept nogil:
    """All of it, past short writes; 0 or what went wrong. Uses `pieces` up."""
    cdef Py_ssize_t written
    while True:
        while count > 0 and pieces.iov_len == 0:
            pieces += 1
            count -= 1
        if count == 0:
            return 0
        written = pwritev(fd, pieces, <int>min(count, C_PIECES_MAX), offset)
        if written == 0:
            return EIO
        if written < 0:
            if errno != EINTR:
                return errno
            continue
        offset += written
        while written > 0:
            if <size_t>written < pieces.iov_len:
                pieces.iov_base = <char *>pieces.iov_base + written
                pieces.iov_len -= written
                break
            written -= pieces.iov_len
            pieces += 1
            count -= 1


cdef int align(iovec *aligned, Py_ssize_t *aligned_count, char **scratch, const iovec *pieces,
               Py_ssize_t count) noexcept nogil:
    """The same bytes as at most twice as many pieces that O_DIRECT takes; 0 or ENOMEM. As
    file_io.aligned_pieces(): large ones that lie right stay where they are, others are copied."""
    cdef size_t at = 0, ragged_bytes = 0, whole, size
    cdef Py_ssize_t i, n = 0
    cdef char *end
    cdef const char *data
    cdef bint copying = False
    scratch[0] = NULL
    for i in range(count):
        ragged_bytes += pieces[i].iov_len - as_is_bytes(&pieces[i], at)
        at += pieces[i].iov_len
    if ragged_bytes and posix_memalign(<void **>scratch, C_BLOCK_BYTES, ragged_bytes) != 0:
        return ENOMEM
    end, at = scratch[0], 0
    for i in range(count):
        data, size = <const char *>pieces[i].iov_base, pieces[i].iov_len
        whole = as_is_bytes(&pieces[i], at)
        at += size
        if whole:
            aligned[n].iov_base, aligned[n].iov_len = <void *>data, whole
            n += 1
            copying = False
        if size == whole:
            continue
        if not copying:
            aligned[n].iov_base, aligned[n].iov_len = end, 0
            n += 1
            copying = True
        memcpy(end, data + whole, size - whole)
        end += size - whole
        aligned[n - 1].iov_len += size - whole
    aligned_count[0] = n
    return 0


cdef inline size_t as_is_bytes(const iovec *piece, size_t at) noexcept nogil:
    """How much of a piece that comes `at` bytes behind the begin need not be copied."""
    cdef size_t whole = piece.iov_len // C_BLOCK_BYTES * C_BLOCK_BYTES
    if whole < C_COPY_BELOW_BYTES or at % C_BLOCK_BYTES or <uintptr_t>piece.iov_base % C_BLOCK_BYTES:
        return 0
    return whole


cdef int write_aligned(int fd, off_t offset, const iovec *pieces, Py_ssize_t count) noexcept nogil:
    """All of it by O_DIRECT; 0 or what went wrong."""
    cdef char *scratch
    cdef Py_ssize_t aligned_count
    cdef iovec *aligned = <iovec *>calloc(2 * count + 1, sizeof(iovec))
    if aligned == NULL:
        return ENOMEM
    cdef int error = align(aligned, &aligned_count, &scratch, pieces, count)
    if error == 0:
        error = write_all(fd, offset, aligned, aligned_count)
        free(scratch)
    free(aligned)
    return error


cdef int write_pieces_and_sync(int fd, int direct_fd, off_t offset, iovec *pieces,
                               Py_ssize_t count) noexcept nogil:
    """0 or what went wrong. Uses `pieces` up."""
    cdef int error = EINVAL
    if direct_fd >= 0:
        error = write_aligned(direct_fd, offset, pieces, count)
    if error == EINVAL or error == ENOENT or error == EOPNOTSUPP:
        error = write_all(fd, offset, pieces, count)
    return error if error else sync(fd)


cdef class Pieces:
    """What is to be written, held and pinned until this is dropped."""

    def __cinit__(self, list pieces not None):
        cdef Py_ssize_t i, wanted = len(pieces)
        self.views = <Py_buffer *>calloc(wanted + 1, sizeof(Py_buffer))
        self.vectors = <iovec *>calloc(wanted + 1, sizeof(iovec))
        if self.views == NULL or self.vectors == NULL:
            raise MemoryError()
        for i in range(wanted):
            PyObject_GetBuffer(pieces[i], &self.views[i], PyBUF_SIMPLE)
            self.vectors[i].iov_base = self.views[i].buf
            self.vectors[i].iov_len = self.views[i].len
            self.count += 1

    def __dealloc__(self):
        cdef Py_ssize_t i
        for i in range(self.count):
            PyBuffer_Release(&self.views[i])
        free(self.views)
        free(self.vectors)


def write_pieces_synced(int fd, int direct_fd, off_t offset, list pieces not None):
    """Write the pieces, past the page cache where that can be, and make the file's data durable."""
    cdef Pieces pinned = Pieces(pieces)
    cdef int error
    with nogil:
        error = write_pieces_and_sync(fd, direct_fd, offset, pinned.vectors, pinned.count)
    if error:
        raise OSError(error, os.strerror(error))


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


@cython.no_gc
@cython.final
cdef class Mapped:
    """Bytes of a file where the page cache has them; the mapping ends with the last view."""

    cdef char *memory
    cdef size_t mapped_bytes, skipped_bytes

    def __getbuffer__(self, Py_buffer *view, int flags):
        PyBuffer_FillInfo(view, self, self.memory + self.skipped_bytes,
                          self.mapped_bytes - self.skipped_bytes, 1, flags)

    def __dealloc__(self):
        if self.memory != NULL:
            munmap(self.memory, self.mapped_bytes)


def map_cached(int fd, off_t offset, Py_ssize_t size):
    """As read_cached(), by a mapping of what is not small: for the kernel only."""
    cdef Mapped found
    if size < C_MAP_FROM_BYTES or offset < 0:
        return read_cached(fd, offset, size)
    found = Mapped.__new__(Mapped)
    found.skipped_bytes = offset % C_PAGE_BYTES
    found.mapped_bytes = found.skipped_bytes + size
    with nogil:
        found.memory = rc_map_cached(fd, found.mapped_bytes, offset - found.skipped_bytes,
                                     C_PAGE_BYTES)
    return read_cached(fd, offset, size) if found.memory == NULL else found
