# cython: boundscheck=False, wraparound=False, cdivision=True
"""Twin of replicast/auth/window_pure.py: the bits in a ring, so that nothing is shifted."""

from libc.stdint cimport uint64_t
from libc.string cimport memset

from replicast.auth import window_pure

cdef enum:
    WINDOW = 4096
    WORDS = 64

assert window_pure.WINDOW == WINDOW == 64 * WORDS


cdef class ReplayWindow:
    cdef uint64_t highest
    cdef uint64_t seen[WORDS]  # that of counter n at n % WINDOW

    def __init__(self, uint64_t floor):
        self.highest = floor
        memset(self.seen, 0xFF, sizeof(self.seen))

    def accept(self, uint64_t counter):
        """True once for each counter that is not too old."""
        cdef uint64_t bit = <uint64_t>1 << (counter & 63)
        cdef uint64_t *word = &self.seen[counter // 64 % WORDS]
        cdef uint64_t passed
        if counter > self.highest:
            if counter - self.highest >= WINDOW:
                memset(self.seen, 0, sizeof(self.seen))
            else:
                passed = self.highest + 1
                while passed != counter:
                    self.seen[passed // 64 % WORDS] &= ~(<uint64_t>1 << (passed & 63))
                    passed += 1
            self.highest = counter
        elif self.highest - counter >= WINDOW or word[0] & bit:
            return False
        word[0] |= bit
        return True
