"""The header in memory, and what seals and opens datagrams, for _gate.pyx and _voice.pyx."""

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

cdef packed struct Layout:
    uint32_t magic
    uint8_t version
    uint8_t type
    uint8_t flags
    uint8_t key_epoch
    uint64_t generation
    uint8_t operation_id[16]
    uint64_t sender
    uint64_t session
    uint64_t counter
    uint16_t fragment_index
    uint16_t fragment_count
    uint32_t body_bytes

cdef enum:
    MACED_BYTES = 64  # sizeof(Layout)
    MAC_BYTES = 16
    HEADER_BYTES = 80
    TAG_BYTES = 8
    KIND_MASK = 3
    COPY = 4
    PAIR = 8

cdef int fill_header(
    Layout *header, object type, object flags, object key_epoch, object generation,
    bytes operation_id, object sender, object session, object counter, object fragment_index,
    object fragment_count, object body_bytes,
) except -1
cdef int check_tag(bytes tag) except -1
cdef object to_header(Layout *header)


cdef class Sealer:
    cdef bytes finish(
        self, Layout *header, bytes mac_key, bytes tag, const char *body, Py_ssize_t body_bytes
    )
    cdef int finish_in_place(
        self, Layout *header, bytes mac_key, bytes tag, char *datagram, Py_ssize_t body_bytes
    ) except -1
    cdef int believe(self, Layout *header, dict mac_keys, int kind, bytes tag, Py_buffer *view) except -1
