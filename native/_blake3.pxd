"""BLAKE3 for other modules' code without the interpreter's lock: of one message, while it comes."""

from libc.stdint cimport uint8_t


cdef extern from "_blake3_lanes.h" nogil:
    enum:
        BLAKE3_LANES_MAX
        BLAKE3_CV_BYTES
        BLAKE3_KEY_BYTES
    int blake3_widest(int lanes_max) noexcept


cdef extern from "_blake3.h" nogil:
    ctypedef struct rc_blake3:
        pass  # 7 KiB; it holds no pointers, and may be copied
    void rc_blake3_init(rc_blake3 *state) noexcept
    void rc_blake3_init_lanes(rc_blake3 *state, int lanes_max) noexcept
    void rc_blake3_init_keyed(rc_blake3 *state, const uint8_t *key) noexcept
    void rc_blake3_set_key(rc_blake3 *state, const uint8_t *key) noexcept
    void rc_blake3_update(rc_blake3 *state, const uint8_t *data, size_t size_bytes) noexcept
    void rc_blake3_final(const rc_blake3 *state, uint8_t *digest) noexcept
    void rc_blake3_end(rc_blake3 *state, uint8_t *digest) noexcept
