# cython: boundscheck=False, wraparound=False
"""Twin of replicast/auth/voice_pure.py: same datagrams, same errors."""

from libc.stdint cimport uint64_t
from libc.string cimport memcpy

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from cpython.object cimport PyObject
from cpython.ref cimport Py_XDECREF

from replicast.native._codec cimport encode_behind
from replicast.native._count cimport count_one
from replicast.native._header cimport HEADER_BYTES, PAIR, Layout, Sealer, check_tag, fill_header

from replicast.auth import gate_pure, voice_pure
from replicast.auth.recent import Sent
from replicast.auth.voice_pure import Datagram
from replicast.native._codec import encode
from replicast.wire.codec_pure import WireError
from replicast.wire.messages import MESSAGES

cdef extern from "Python.h":
    PyObject *new_bytes "PyBytes_FromStringAndSize"(const char *data, Py_ssize_t size) except NULL
    char *octets "PyBytes_AS_STRING"(PyObject *made)
    Py_ssize_t size_of "PyBytes_GET_SIZE"(PyObject *made)
    int _PyBytes_Resize(PyObject **made, Py_ssize_t size) except -1

cdef int UDP_TYPE_MAX = gate_pure.UDP_TYPE_MAX
cdef int PAIR_EPOCH = voice_pure.PAIR_EPOCH
cdef object PAIR_TYPES = gate_pure.PAIR_TYPES
cdef dict COUNTS = {n: ("messages_sent", (cls.NAME,)) for n, cls in MESSAGES.items()}


cdef class Voice:
    cdef public dict spoken_keys, addresses
    cdef public list datagrams
    cdef public object counter
    cdef object key_ring, node_id, session, learned, recent, counters
    cdef Py_ssize_t body_bytes_max
    cdef int epoch
    cdef bytes mac_key
    cdef Sealer sealer

    def __init__(self, node_id, session, keys, learned, recent, counters, body_bytes_max):
        self.node_id, self.session = node_id, session
        self.learned, self.recent, self.counters = learned, recent, counters
        self.body_bytes_max = body_bytes_max
        self.sealer = Sealer()
        self.spoken_keys, self.addresses = {}, {}
        self.counter, self.datagrams = 0, []
        self.keys = keys

    @property
    def keys(self):
        return self.key_ring

    @keys.setter
    def keys(self, keys):
        self.key_ring, self.epoch = keys, keys.current
        self.mac_key = keys.mac_keys[keys.current]

    def say(self, outgoing, to, bytes body, Py_ssize_t room_bytes, now_ns):
        cdef int flags = 0
        cdef uint64_t receiver
        cdef PyObject *made
        message = outgoing.message
        number = message.TYPE
        if number > UDP_TYPE_MAX:
            if number not in PAIR_TYPES or to not in self.spoken_keys:
                return False
            flags = PAIR
        address = self.addresses.get(to) or self.learned(to)
        if address is None:
            return False
        identity, generation = outgoing.operation_id, outgoing.generation
        sent = Sent(to, flags, number, identity, generation, now_ns)
        receiver = to
        tag = PyBytes_FromStringAndSize(<const char *>&receiver, sizeof(receiver))
        if body is None:  # what can fail comes before: nobody else would drop `made`
            made = encode_behind(message, HEADER_BYTES)
            try:
                self.count(message, size_of(made) - HEADER_BYTES)
            except:
                Py_XDECREF(made)
                raise
        else:
            made = behind(body)
        self.seal_all(address, tag, sent, made, room_bytes)
        self.recent.add(sent)
        return True

    def encode(self, message):
        body = encode(message)
        self.count(message, len(body))
        return body

    def send(self, to, bytes tag not None, sent, bytes body not None, Py_ssize_t room_bytes):
        self.seal_all(to, tag, sent, behind(body), room_bytes)

    def emit(self, to, bytes tag not None, sent, index):
        cdef Layout header
        cdef int epoch
        cdef bytes mac_key, before
        cdef Py_ssize_t piece_bytes
        epoch, mac_key = self.sealing(sent, 1)
        if mac_key is None:
            return
        check_tag(tag)
        before = sent.datagrams[index]
        piece_bytes = len(before) - HEADER_BYTES
        fill_header(
            &header, sent.type, sent.flags, epoch, sent.generation, sent.operation_id, self.node_id,
            self.session, sent.counter + index, index, len(sent.datagrams), piece_bytes,
        )
        payload = self.sealer.finish(
            &header, mac_key, tag, PyBytes_AS_STRING(before) + HEADER_BYTES, piece_bytes
        )
        self.queue(to, payload)

    cdef int count(self, message, Py_ssize_t body_bytes) except -1:
        if body_bytes > self.body_bytes_max:
            raise WireError("oversize")
        return count_one(self.counters, COUNTS[message.TYPE])

    cdef tuple sealing(self, sent, count):
        if not sent.flags & PAIR:
            return self.epoch, self.mac_key
        assert isinstance(sent.to, int), "a pair has no groups"
        spoken = self.spoken_keys.get(sent.to)
        if spoken is None:
            self.counters.count("datagrams_dropped", "no_pair_key", by=count)
            return PAIR_EPOCH, None
        return PAIR_EPOCH, spoken[1]

    cdef int seal_all(
        self, to, bytes tag, sent, PyObject *made, Py_ssize_t room_bytes
    ) except -1:
        """`made`: room for a header, and the body; it becomes the first datagram, where the body stands
        already, and only the pieces behind that are copied. Its reference is taken over."""
        cdef Layout header
        cdef int epoch
        cdef bytes mac_key
        cdef uint64_t first
        cdef Py_ssize_t body_bytes = size_of(made) - HEADER_BYTES, index, start, piece_bytes
        try:
            count = max(1, (body_bytes + room_bytes - 1) // room_bytes)
            first = self.counter + 1
            sent.counter, sent.body_bytes = first, body_bytes
            self.counter += count
            epoch, mac_key = self.sealing(sent, count)
            if mac_key is None:
                return 0
            check_tag(tag)
            piece_bytes = min(room_bytes, body_bytes)
            fill_header(
                &header, sent.type, sent.flags, epoch, sent.generation, sent.operation_id,
                self.node_id, self.session, first, 0, count, piece_bytes,
            )
            self.sealer.finish_in_place(&header, mac_key, tag, octets(made), piece_bytes)
            pieces = []
            for index in range(1, header.fragment_count):
                start = index * room_bytes
                header.counter, header.fragment_index = first + index, index
                header.body_bytes = min(room_bytes, body_bytes - start)
                pieces.append(self.sealer.finish(
                    &header, mac_key, tag, octets(made) + HEADER_BYTES + start, header.body_bytes
                ))
            if pieces:
                _PyBytes_Resize(&made, HEADER_BYTES + piece_bytes)
            sent.datagrams = (<object>made, *pieces)
        finally:
            Py_XDECREF(made)
        for payload in sent.datagrams:
            self.queue(to, payload)
        return 0

    cdef int queue(self, to, bytes payload) except -1:
        self.datagrams.append(tuple.__new__(Datagram, (to, payload)))  # as Datagram(...) does
        return 0


cdef PyObject *behind(bytes body) except NULL:
    cdef PyObject *made = new_bytes(NULL, HEADER_BYTES + len(body))
    memcpy(octets(made) + HEADER_BYTES, PyBytes_AS_STRING(body), len(body))
    return made
