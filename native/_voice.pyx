# cython: boundscheck=False, wraparound=False
"""Twin of replicast/auth/voice_pure.py: same datagrams, same errors."""

from libc.stdint cimport uint64_t

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize

from replicast.native._header cimport PAIR, Layout, Sealer, fill_header

from replicast.auth import gate_pure, voice_pure
from replicast.auth.recent import Sent
from replicast.auth.voice_pure import Datagram

cdef int UDP_TYPE_MAX = gate_pure.UDP_TYPE_MAX
cdef int PAIR_EPOCH = voice_pure.PAIR_EPOCH


cdef class Voice:
    cdef public dict spoken_keys, addresses
    cdef public list datagrams
    cdef public object counter
    cdef object key_ring, node_id, session, learned, recent, counters
    cdef int epoch
    cdef bytes mac_key
    cdef Sealer sealer

    def __init__(self, node_id, session, keys, learned, recent, counters):
        self.node_id, self.session = node_id, session
        self.learned, self.recent, self.counters = learned, recent, counters
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

    def say(self, outgoing, to, bytes body not None, Py_ssize_t room_bytes, now_ns):
        cdef int epoch = self.epoch, flags = 0
        cdef bytes mac_key = self.mac_key
        cdef bytes tag
        cdef uint64_t receiver
        address = self.addresses.get(to) or self.learned(to)
        if address is None or len(body) > room_bytes:
            return False
        number = outgoing.message.TYPE
        if number > UDP_TYPE_MAX:
            spoken = self.spoken_keys.get(to)
            if spoken is None:
                return False
            epoch, flags, mac_key = PAIR_EPOCH, PAIR, spoken[1]
        identity, generation = outgoing.operation_id, outgoing.generation
        receiver = to
        tag = PyBytes_FromStringAndSize(<const char *>&receiver, sizeof(receiver))
        counter = self.counter = self.counter + 1
        payload = self.seal(
            mac_key, tag, number, flags, epoch, generation, identity, counter, 0, 1,
            PyBytes_AS_STRING(body), len(body),
        )
        self.queue(address, payload)
        self.recent.add(Sent(
            to, flags, number, identity, generation, body, now_ns, 1, counter, 1, room_bytes
        ))
        return True

    def emit(self, to, bytes tag not None, sent, Py_ssize_t index):
        cdef int epoch = self.epoch, flags = sent.flags
        cdef bytes mac_key = self.mac_key, body = sent.body
        cdef Py_ssize_t room_bytes = sent.room_bytes, body_bytes = len(body)
        cdef Py_ssize_t start = min(index * room_bytes, body_bytes)
        if flags & PAIR:
            assert isinstance(sent.to, int), "a pair has no groups"
            spoken = self.spoken_keys.get(sent.to)
            if spoken is None:
                self.counters.count("datagrams_dropped", "no_pair_key")
                return
            epoch, mac_key = PAIR_EPOCH, spoken[1]
        payload = self.seal(
            mac_key, tag, sent.type, flags, epoch, sent.generation, sent.operation_id,
            sent.counter + index, index, sent.count,
            PyBytes_AS_STRING(body) + start, min(room_bytes, body_bytes - start),
        )
        self.queue(to, payload)

    cdef bytes seal(
        self, bytes mac_key, bytes tag, number, int flags, int epoch, generation, bytes operation_id,
        counter, index, count, const char *piece, Py_ssize_t piece_bytes,
    ):
        cdef Layout header
        fill_header(
            &header, number, flags, epoch, generation, operation_id, self.node_id, self.session,
            counter, index, count, piece_bytes,
        )
        return self.sealer.finish(&header, mac_key, tag, piece, piece_bytes)

    cdef int queue(self, to, bytes payload) except -1:
        self.datagrams.append(tuple.__new__(Datagram, (to, payload)))  # as Datagram(...) does
        return 0
