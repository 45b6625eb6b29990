# cython: boundscheck=False, wraparound=False, cdivision=True
"""Small steps on one line of cells; inlined into _flexhash.pyx. Definitions: placement.py."""

ctypedef unsigned short u16
ctypedef unsigned long long u64
ctypedef long long i64
ctypedef int i32

cdef enum:
    NO_VDEV = 0xFFFF


cdef inline bint contains(u16* line, i64 size, i64 slot) noexcept nogil:
    cdef i64 at
    for at in range(size):
        if line[at] == slot:
            return True
    return False


cdef inline bint has_domain(u16* line, i64 size, i32 domain, i32* domains) noexcept nogil:
    cdef i64 at
    for at in range(size):
        if line[at] != NO_VDEV and domains[line[at]] == domain:
            return True
    return False


cdef inline bint is_double(u16* line, i64 size, i64 position, i32* domains) noexcept nogil:
    cdef i64 at
    cdef i32 domain = domains[line[position]]
    for at in range(size):
        if at != position and line[at] != NO_VDEV and domains[line[at]] == domain:
            return True
    return False


cdef inline bint keeps(u16* line, i64 size, i64 position, i64 slot, i32* domains) noexcept nogil:
    cdef i32 domain = domains[slot]
    if domain == domains[line[position]] or not has_domain(line, size, domain, domains):
        return True
    return is_double(line, size, position, domains)


cdef inline i64 distinct(u16* line, i64 size, i32* domains) noexcept nogil:
    cdef i64 at, before, count = 0
    cdef bint is_new
    for at in range(size):
        if line[at] == NO_VDEV:
            continue
        is_new = True
        for before in range(at):
            if line[before] != NO_VDEV and domains[line[before]] == domains[line[at]]:
                is_new = False
                break
        count += is_new
    return count


cdef inline u64 mix64(u64 value) noexcept nogil:
    value += <u64>0x9E3779B97F4A7C15
    value = (value ^ (value >> 30)) * <u64>0xBF58476D1CE4E5B9
    value = (value ^ (value >> 27)) * <u64>0x94D049BB133111EB
    return value ^ (value >> 31)


cdef inline bint helps(i64 excess, i64 lack, bint spread) noexcept nogil:
    if spread:
        return excess + lack >= 2
    return excess > 0 and lack > 0
