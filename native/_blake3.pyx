# cython: boundscheck=False, wraparound=False, initializedcheck=False
"""Fast twin of the package blake3, which defines it, for code without the interpreter's lock (_blake3.pxd).

The class is for tests and measurements: Python code takes the package.
"""

cimport cython
from cpython.buffer cimport PyBUF_FORMAT, PyBUF_ND, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING
from libc.stdint cimport uint8_t

cdef enum:
    LOCKED_BYTES_MAX = 2048  # more is worth giving up the interpreter's lock, as in hashlib

cdef int LANES = BLAKE3_LANES_MAX


def lanes():
    """How many chunks go in step here; 1: one after the other."""
    return blake3_widest(LANES)


def use_lanes(lanes_max):
    """Have so many or less, of those that this processor has, in each Blake3 from now on: for tests and
    measurements."""
    global LANES
    LANES = lanes_max


@cython.final
cdef class Blake3:
    """As blake3.blake3 without a first piece: one message, of 32 bytes its digest. ValueError: `key` does
    not have 32 bytes."""

    cdef rc_blake3 state
    cdef bint busy

    def __cinit__(self, *, bytes key=None):
        rc_blake3_init_lanes(&self.state, LANES)
        if key is not None:
            if len(key) != BLAKE3_KEY_BYTES:
                raise ValueError(f"expected a 32-byte key, found {len(key)}")
            rc_blake3_set_key(&self.state, <const uint8_t *>PyBytes_AS_STRING(key))

    def update(self, piece, /):
        """More of the message. TypeError: not a buffer; BufferError: not one of bytes that lie together;
        ValueError: another thread is at it."""
        cdef Py_buffer view
        PyObject_GetBuffer(piece, &view, PyBUF_ND | PyBUF_FORMAT)
        try:
            if view.itemsize != 1:
                raise BufferError("buffer contents are not compatible with u8")
            if self.busy:
                raise ValueError("a message is hashed at the moment")
            if view.len <= LOCKED_BYTES_MAX:
                rc_blake3_update(&self.state, <const uint8_t *>view.buf, view.len)
            else:
                self.busy = True
                with nogil:
                    rc_blake3_update(&self.state, <const uint8_t *>view.buf, view.len)
                self.busy = False
        finally:
            PyBuffer_Release(&view)
        return self

    def digest(self):
        """Of what came so far; more may come. ValueError: another thread is at it."""
        cdef uint8_t digest[BLAKE3_CV_BYTES]
        if self.busy:
            raise ValueError("a message is hashed at the moment")
        rc_blake3_final(&self.state, digest)
        return digest[:BLAKE3_CV_BYTES]
