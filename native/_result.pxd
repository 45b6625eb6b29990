"""What native/_reassembly.pyx needs: where a section lies, and who uses it."""

from libc.stdint cimport uint8_t, uint32_t, uint64_t


cdef class Result:
    cdef bytes whole  # None once it is taken
    cdef uint64_t size_bytes
    cdef uint32_t open_count


cdef class Section:
    cdef Result result
    cdef uint8_t *data
    cdef readonly uint64_t size_bytes
    cdef bint writing
    cdef uint32_t views

    cdef bint is_free(self) noexcept
    cdef void lend(self) noexcept
    cdef void give_back(self) noexcept
