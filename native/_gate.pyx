# cython: boundscheck=False, wraparound=False
"""Twin of replicast/auth/gate_pure.py: same results, same errors, in the same order."""

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.stdint cimport uint8_t
from libc.string cimport memcpy

from replicast.native._count cimport count_one
from replicast.native._header cimport COPY, HEADER_BYTES, PAIR, Layout, Sealer, check_tag, to_header

from replicast.auth import gate_pure
from replicast.auth.gate_pure import Held
from replicast.auth.keyring import GROUP_KINDS, group_tag
from replicast.machine import Incoming
from replicast.native._codec import decode
from replicast.wire.codec_pure import WireError
from replicast.wire.messages import MESSAGES
from replicast.wire.session_messages import SESSION_TYPES, FragmentGaps

cdef int UDP_TYPE_MAX = gate_pure.UDP_TYPE_MAX
cdef int GAPS_TYPE = FragmentGaps.TYPE
cdef object PAIR_TYPES = gate_pure.PAIR_TYPES
cdef object sessions = SESSION_TYPES
cdef dict messages = MESSAGES
cdef dict NO_KEYS = {}
cdef dict COUNTS = {n: ("messages_received", (cls.NAME,)) for n, cls in MESSAGES.items()}


cdef class Gate:
    cdef public dict mac_keys, heard_keys
    cdef bytes tag
    cdef object hears, counters
    cdef Sealer sealer

    def __init__(self, bytes tag not None, hears, counters):
        check_tag(tag)
        self.mac_keys, self.heard_keys = {}, {}
        self.tag, self.hears, self.counters = tag, hears, counters
        self.sealer = Sealer()

    def open(self, bytes datagram not None, source, group):
        cdef Layout header
        self.believe(&header, datagram, group)
        if header.type in sessions:
            return Held(to_header(&header), False)
        new = self.hears(header.sender, header.session, group, header.counter, source)
        if new is None:
            return Held(to_header(&header), False)
        if not new and header.fragment_count == 1:
            raise WireError("replay")
        if header.flags & PAIR:
            if header.type not in PAIR_TYPES:
                raise WireError("unknown_type")
        elif header.type > UDP_TYPE_MAX or header.type not in messages:
            raise WireError("unknown_type")
        if header.fragment_count != 1 or header.flags & COPY or header.type == GAPS_TYPE:
            return Held(to_header(&header), True, new)
        message = decode(header.type, datagram, HEADER_BYTES)
        self.count(header.type)
        return Incoming(
            message, header.sender, PyBytes_FromStringAndSize(<const char *>header.operation_id, 16),
            header.generation, source, group,
        )

    cdef int believe(self, Layout *header, bytes datagram, group) except -1:
        cdef Py_buffer view
        cdef int kind = 0
        cdef bytes tag = self.tag
        cdef dict mac_keys = self.mac_keys
        if group is not None:
            kind, tag = GROUP_KINDS[group.kind], group_tag(group)
        PyObject_GetBuffer(datagram, &view, PyBUF_SIMPLE)
        try:
            if view.len >= HEADER_BYTES:
                memcpy(header, view.buf, sizeof(Layout))
                if header.flags & PAIR:
                    mac_keys = self.heard_keys.get(header.sender, NO_KEYS)
            return self.sealer.believe(header, mac_keys, kind, tag, &view)
        finally:
            PyBuffer_Release(&view)

    cdef int count(self, uint8_t number) except -1:
        return count_one(self.counters, COUNTS[number])
