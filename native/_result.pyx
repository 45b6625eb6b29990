# cython: boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Fast twin of replicast/transport/result_pure.py: same results, same errors.

The memory is that of the bytes object itself, as malloc gives it. What is written to it is written
before take() gives it out: by fill(), and by transfers that Reassembly has open (without the GIL).
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.string cimport memcpy


@cython.final
@cython.no_gc
cdef class Section:
    """See the definition for every method."""

    @property
    def free(self):
        return self.is_free()

    cdef bint is_free(self) noexcept:
        return not self.writing and not self.views and self.result.whole is not None

    cdef void lend(self) noexcept:
        self.writing = True
        self.result.open_count += 1

    cdef void give_back(self) noexcept:
        self.writing = False
        self.result.open_count -= 1

    def fill(self, data not None):
        cdef const uint8_t[::1] view
        cdef uint64_t size_bytes = len(data)
        if size_bytes != self.size_bytes:
            raise ValueError(f"{size_bytes} bytes for a section of {self.size_bytes}")
        if self.writing or self.result.whole is None:
            raise RuntimeError("the section is not to be written")
        view = data
        self.lend()  # without the interpreter's lock another thread could take the result
        with nogil:
            memcpy(self.data, &view[0], self.size_bytes)
        self.give_back()


@cython.final
@cython.no_gc
cdef class Result:
    """See the definition for every method."""

    def __cinit__(self, size_bytes):
        if size_bytes <= 0:
            raise ValueError(f"a result of {size_bytes} bytes")
        self.size_bytes = size_bytes
        self.whole = PyBytes_FromStringAndSize(NULL, size_bytes)

    def section(self, start, size_bytes):
        cdef Section section
        if start < 0 or size_bytes <= 0 or start + size_bytes > self.size_bytes:
            raise ValueError(
                f"bytes {start}-{start + size_bytes} of a result of {self.size_bytes}"
            )
        section = Section.__new__(Section)
        section.result = self
        section.size_bytes = size_bytes
        if self.whole is not None:
            section.data = <uint8_t *>PyBytes_AS_STRING(self.whole) + <uint64_t>start
        return section

    def take(self):
        cdef bytes whole = self.whole
        if self.open_count or whole is None:
            raise RuntimeError("the result is not to be taken")
        self.whole = None
        return whole
