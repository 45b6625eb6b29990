# cython: boundscheck=False, wraparound=False
"""Twin of replicast/wire/header_pure.py and replicast/auth/seal_pure.py: same results, same errors.

MACs are made without a Python object, by the BLAKE3 of native/_blake3.h.
"""

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy

from replicast.native._blake3 cimport rc_blake3, rc_blake3_end, rc_blake3_init_keyed, rc_blake3_update

from replicast.wire.codec_pure import WireError
from replicast.wire.header_pure import Header

cdef extern from "Python.h":
    unsigned long long PyLong_AsUnsignedLongLong(object value) except? -1

cdef uint32_t MAGIC = 0x31754352
cdef uint8_t VERSION = 1

cdef enum:
    KEY_BYTES = 32
    DIGEST_BYTES = 32  # of which a MAC is the beginning


# -- the form ---------------------------------------------------------------------


cdef uint64_t fit(object value, int bits) except? 0xFFFFFFFFFFFFFFFF:
    cdef uint64_t number
    try:
        number = PyLong_AsUnsignedLongLong(value)
    except (OverflowError, TypeError):
        raise WireError("range") from None
    if bits < 64 and number >> bits:
        raise WireError("range")
    return number


cdef int fill_header(
    Layout *header, type, flags, key_epoch, generation, bytes operation_id, sender, session,
    counter, fragment_index, fragment_count, body_bytes,
) except -1:
    if len(operation_id) != 16:
        raise WireError("range")
    header.magic = MAGIC
    header.version = VERSION
    header.type = <uint8_t>fit(type, 8)
    header.flags = <uint8_t>fit(flags, 8)
    header.key_epoch = <uint8_t>fit(key_epoch, 8)
    header.generation = fit(generation, 64)
    memcpy(header.operation_id, PyBytes_AS_STRING(operation_id), 16)
    header.sender = fit(sender, 64)
    header.session = fit(session, 64)
    header.counter = fit(counter, 64)
    header.fragment_index = <uint16_t>fit(fragment_index, 16)
    header.fragment_count = <uint16_t>fit(fragment_count, 16)
    header.body_bytes = <uint32_t>fit(body_bytes, 32)
    return 0


def pack_header(
    type, flags, key_epoch, generation, bytes operation_id not None, sender, session, counter,
    fragment_index, fragment_count, body_bytes,
):
    """The first 64 bytes, all but the MAC. A value that does not fit raises WireError("range")."""
    cdef Layout header
    fill_header(
        &header, type, flags, key_epoch, generation, operation_id, sender, session, counter,
        fragment_index, fragment_count, body_bytes,
    )
    return PyBytes_FromStringAndSize(<const char *>&header, sizeof(Layout))


def parse_header(datagram):
    """Raises WireError: short, magic, bad_version, flags, truncated, trailing or fragment."""
    cdef Py_buffer view
    cdef Layout header
    PyObject_GetBuffer(datagram, &view, PyBUF_SIMPLE)
    try:
        read_header(&header, &view)
    finally:
        PyBuffer_Release(&view)
    return to_header(&header)


cdef object to_header(Layout *header):
    fields = (
        header.type, header.flags, header.key_epoch, header.generation,
        PyBytes_FromStringAndSize(<const char *>header.operation_id, 16),
        header.sender, header.session, header.counter,
        header.fragment_index, header.fragment_count, header.body_bytes,
    )
    return tuple.__new__(Header, fields)  # what Header(*fields) does in Python


cdef int read_header(Layout *header, Py_buffer *view) except -1:
    cdef Py_ssize_t body_bytes = view.len - HEADER_BYTES
    if body_bytes < 0:
        raise WireError("short")
    memcpy(header, view.buf, sizeof(Layout))
    if header.magic != MAGIC:
        raise WireError("magic")
    if header.version != VERSION:
        raise WireError("bad_version")
    if header.flags != PAIR and (
        header.flags >= PAIR or header.flags & KIND_MASK == 3 or header.flags == COPY
    ):
        raise WireError("flags")
    if header.body_bytes != body_bytes:
        raise WireError("truncated" if header.body_bytes > body_bytes else "trailing")
    if header.fragment_index >= header.fragment_count:
        raise WireError("fragment")
    return 0


# -- the MAC ----------------------------------------------------------------------


cdef int check_tag(bytes tag) except -1:
    if len(tag) != TAG_BYTES:
        raise ValueError("a receiver tag has 8 bytes")
    return 0


cdef int mac_of(
    uint8_t *digest, bytes mac_key, const void *head, bytes tag, const void *body, Py_ssize_t body_bytes
) except -1:
    """The interpreter's lock stays: 60 KiB take 10 us. The state is not cleared, which would take as long
    as a short MAC."""
    cdef rc_blake3 state
    if len(mac_key) != KEY_BYTES:
        raise ValueError(f"expected a 32-byte key, found {len(mac_key)}")
    rc_blake3_init_keyed(&state, <const uint8_t *>PyBytes_AS_STRING(mac_key))
    rc_blake3_update(&state, <const uint8_t *>head, MACED_BYTES)
    rc_blake3_update(&state, <const uint8_t *>PyBytes_AS_STRING(tag), TAG_BYTES)
    rc_blake3_update(&state, <const uint8_t *>body, body_bytes)
    rc_blake3_end(&state, digest)
    return 0


cdef class Sealer:
    """It keeps nothing."""

    def seal(
        self, bytes mac_key not None, bytes tag not None, type, flags, key_epoch, generation,
        bytes operation_id not None, sender, session, counter, fragment_index, fragment_count,
        bytes body not None,
    ):
        """The whole datagram. A value that does not fit raises WireError("range")."""
        cdef Layout header
        check_tag(tag)
        fill_header(
            &header, type, flags, key_epoch, generation, operation_id, sender, session, counter,
            fragment_index, fragment_count, len(body),
        )
        return self.finish(&header, mac_key, tag, PyBytes_AS_STRING(body), len(body))

    cdef bytes finish(
        self, Layout *header, bytes mac_key, bytes tag, const char *body, Py_ssize_t body_bytes
    ):
        datagram = PyBytes_FromStringAndSize(NULL, HEADER_BYTES + body_bytes)
        memcpy(PyBytes_AS_STRING(datagram) + HEADER_BYTES, body, body_bytes)
        self.finish_in_place(header, mac_key, tag, PyBytes_AS_STRING(datagram), body_bytes)
        return datagram

    cdef int finish_in_place(
        self, Layout *header, bytes mac_key, bytes tag, char *datagram, Py_ssize_t body_bytes
    ) except -1:
        """The body is in its place already."""
        cdef uint8_t mac[DIGEST_BYTES]
        mac_of(mac, mac_key, header, tag, datagram + HEADER_BYTES, body_bytes)
        memcpy(datagram, header, MACED_BYTES)
        memcpy(datagram + MACED_BYTES, mac, MAC_BYTES)
        return 0

    def unseal(self, dict mac_keys not None, int kind, bytes tag not None, datagram):
        """The believed header; raises WireError as parse_header does, or receiver, key_epoch, mac."""
        cdef Py_buffer view
        cdef Layout header
        check_tag(tag)
        PyObject_GetBuffer(datagram, &view, PyBUF_SIMPLE)
        try:
            self.believe(&header, mac_keys, kind, tag, &view)
        finally:
            PyBuffer_Release(&view)
        return to_header(&header)

    cdef int believe(self, Layout *header, dict mac_keys, int kind, bytes tag, Py_buffer *view) except -1:
        cdef const char *at = <const char *>view.buf
        cdef uint8_t mac[DIGEST_BYTES]
        read_header(header, view)
        if kind != (0 if header.flags & COPY else header.flags & KIND_MASK):
            raise WireError("receiver")
        mac_key = mac_keys.get(header.key_epoch)
        if mac_key is None:
            raise WireError("key_epoch")
        mac_of(mac, mac_key, at, tag, at + HEADER_BYTES, view.len - HEADER_BYTES)
        if differ(<const uint8_t *>at + MACED_BYTES, mac):
            raise WireError("mac")
        return 0


cdef bint differ(const uint8_t *given, const uint8_t *right) noexcept:
    """All bytes are looked at, so that the time says nothing about which one was wrong."""
    cdef uint8_t difference = 0
    cdef int index
    for index in range(MAC_BYTES):
        difference |= given[index] ^ right[index]
    return difference != 0
