# cython: boundscheck=False, wraparound=False
"""Twins of replicast/sim/network_pure.py and inbox_pure.py: a datagram is one event, without a
call through Python from the sender's socket to the receiver's inbox."""

from dataclasses import replace

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy

from replicast.native._reassembly cimport payload_header, rc_xxh3_56
from replicast.native._simworld cimport Event, Events, TraceHash

from replicast.sim import inbox_pure, network_pure
from replicast.sim.network_pure import Weather
from replicast.sim.trace_pure import NOTHING
from replicast.transfer_header import (
    HEADER_BYTES,
    PAYLOAD_MAGIC,
    PAYLOAD_TYPE,
    PAYLOAD_VERSION,
    datagram_count,
)
from replicast.transport.net import FeedCode
from replicast.transport.net_pure import COUNTERS
from replicast.transport.reassembly import check_shape
from replicast.units import MIB, SECOND

assert sizeof(payload_header) == HEADER_BYTES
cdef int64_t HEADERS_BYTES = network_pure.HEADERS_BYTES
cdef int64_t SECOND_NS = SECOND
cdef int64_t SENT_AGAIN_NS = network_pure.SENT_AGAIN_NS
cdef Py_ssize_t CONTROL_COUNT_MAX = inbox_pure.CONTROL_COUNT_MAX
cdef int64_t CONTROL_BYTES_MAX = inbox_pure.CONTROL_BYTES_MAX
cdef bytes MAGIC = PAYLOAD_MAGIC.to_bytes(4, "little")
cdef int DELIVER = FeedCode.DELIVER, COMPLETED = FeedCode.COMPLETED


cdef class Arrival(Event):
    """A datagram on its way."""

    cdef Network _network
    cdef tuple _source
    cdef object _target  # an address
    cdef dict _members  # of a group, else None
    cdef object _host
    cdef bytes _datagram

    cdef int happen(self) except -1:
        cdef Network network = self._network
        if self._members is None:
            deliver = network.ports.get(self._target)
        else:
            deliver = self._members.get(self._host)
        if deliver is None or network.way(self._source[0], self._host).cut:
            return 0
        what = network._names.get(self._source)
        if what is None:
            what = network._names[self._source] = f"from {self._source[0]}:{self._source[1]}"
        network.trace.put(network.world.time_ns, self._host, what, self._datagram, NOTHING)
        if type(deliver) is Port:
            (<Port>deliver).take(self._datagram, self._source)
        else:
            deliver(self._datagram, self._source)
        return 0


cdef class Network:
    def __init__(self, Events world, int64_t bandwidth_bytes=400 * MIB):
        self.world, self.trace, self._bandwidth_bytes = world, world.trace, bandwidth_bytes
        self._random, self._names = world.fork_rng().random, {}
        self.default = Weather()
        self._links, self._free_ns, self.ports, self.groups = {}, {}, {}, {}

    def weather(self, source, target):
        return self.way(source, target)

    def change(self, source, target):
        return self._links.setdefault((source, target), replace(self.default))

    def calm(self):
        self._links.clear()
        self.default = Weather()

    def send(self, tuple source, tuple target, bytes datagram):
        return self.post(source, target, datagram)

    def connection_delay(self, source, target, int64_t size_bytes):
        cdef int64_t delay_ns = self.delay(source, target, size_bytes)
        return None if delay_ns == STUCK else delay_ns

    cdef int64_t delay(self, source, target, int64_t size_bytes) except? -2:
        cdef int64_t now_ns = self.world.time_ns, delay_ns
        weather, back = self.way(source, target), self.way(target, source)
        if weather.cut or back.cut:
            return STUCK
        if max(weather.clogged_until_ns, back.clogged_until_ns) > now_ns:
            return STUCK
        delay_ns = self._delay(weather)
        if self._happens(weather.loss_ppm):
            delay_ns += SENT_AGAIN_NS
        return self._leave(source, size_bytes) - now_ns + delay_ns

    cdef object way(self, source, target):
        if not self._links:
            return self.default
        found = self._links.get((source, target))
        return self.default if found is None else found

    cdef int64_t post(self, tuple source, tuple target, bytes datagram) except -1:
        cdef int64_t left_ns = self._leave(source[0], PyBytes_GET_SIZE(datagram))
        self.sent += 1
        members = self.groups.get(target)
        if members is None:
            self._carry(source, target, None, target[0], datagram, left_ns)
        else:
            for host in list(members):
                if self.way(source[0], host).groups_cut:
                    self.lost += 1
                    continue
                self._carry(source, target, members, host, datagram, left_ns)
        return left_ns

    cdef int64_t _leave(self, host, int64_t size_bytes) except -1:
        cdef int64_t begins_ns = self.world.time_ns, free_ns = self._free_ns.get(host, 0)
        if free_ns > begins_ns:
            begins_ns = free_ns
        begins_ns += (size_bytes + HEADERS_BYTES) * SECOND_NS // self._bandwidth_bytes
        self._free_ns[host] = begins_ns
        return begins_ns

    cdef int _carry(
        self, tuple source, tuple target, dict members, host, bytes datagram, int64_t left_ns
    ) except -1:
        cdef Arrival arrival
        cdef int64_t clogged_ns
        cdef int copies = 1
        weather = self.way(source[0], host)
        if weather.cut or self._happens(weather.loss_ppm):
            self.lost += 1
            return 0
        if self._happens(weather.duplicate_ppm):
            copies = 2
        clogged_ns = weather.clogged_until_ns
        arrival = Arrival.__new__(Arrival)
        arrival._network, arrival._source, arrival._target = self, source, target
        arrival._members, arrival._host, arrival._datagram = members, host, datagram
        while copies:
            copies -= 1
            self.world.put(max(left_ns, clogged_ns) + self._delay(weather), arrival)
        return 0

    cdef bint _happens(self, int64_t ppm) except -1:
        if not ppm:
            return False
        return <double>self._random() * 1_000_000 < ppm

    cdef int64_t _delay(self, weather) except -1:
        cdef int64_t least_ns = weather.delay_ns_min, most_ns = weather.delay_ns_max
        cdef int64_t slow_ppm = weather.slow_ppm
        cdef int64_t delay_ns = least_ns + <int64_t>(<double>self._random() * (most_ns - least_ns))
        if <double>self._random() * 1_000_000 < slow_ppm:
            delay_ns += <int64_t>(<double>self._random() * <int64_t>weather.slow_ns)
        return delay_ns


cdef class Port:
    """Where the datagrams for a socket come in."""

    cdef Inbox _inbox
    cdef object _tag

    def __call__(self, bytes datagram, tuple source):
        self.take(datagram, source)

    cdef int take(self, bytes datagram, tuple source) except -1:
        return self._inbox.deliver(self._tag, datagram, source)


cdef class Heads:
    """Of the plain datagrams of one transfer."""

    cdef payload_header _head

    def __init__(self, bytes transfer_id, size_bytes, datagram_bytes, uint64_t sender):
        check_shape(transfer_id, size_bytes, datagram_bytes)
        self._head.magic, self._head.version = PAYLOAD_MAGIC, PAYLOAD_VERSION
        self._head.type, self._head.sender = PAYLOAD_TYPE, sender
        memcpy(self._head.transfer_id, PyBytes_AS_STRING(transfer_id), 16)
        self._head.size_bytes, self._head.datagram_bytes = size_bytes, datagram_bytes
        self._head.count = datagram_count(size_bytes, datagram_bytes)

    cdef bytes datagram(self, uint32_t index, const uint8_t *data):
        """One of them, with its part of the data; `index` is below the count."""
        cdef payload_header *head = &self._head
        cdef uint32_t start = index * head.datagram_bytes, left = head.size_bytes - start
        cdef bytes made
        head.index = index
        head.length = <uint16_t>min(left, <uint32_t>head.datagram_bytes)
        head.checksum = rc_xxh3_56(head)
        made = PyBytes_FromStringAndSize(NULL, sizeof(payload_header) + head.length)
        memcpy(PyBytes_AS_STRING(made), head, sizeof(payload_header))
        memcpy(PyBytes_AS_STRING(made) + sizeof(payload_header), data + start, head.length)
        return made


cdef class Inbox:
    cdef readonly object reassembly
    cdef readonly dict addresses, jobs
    cdef Network _network
    cdef object _number, _readable, _alive
    cdef list _controls, _done
    cdef int64_t _control_bytes
    cdef bint _notified, _stopped
    cdef int64_t _received_control, _received_payload, _received_bytes, _dropped
    cdef int64_t _sent_control, _sent_payload, _sent_bytes, _wake_ups

    def __init__(self, Network network, buffers, number, readable, alive):
        self.reassembly, self._network, self._number = buffers, network, number
        self._readable, self._alive = readable, alive
        self.addresses, self.jobs, self._controls, self._done = {}, {}, [], []

    def is_open(self):
        return self.open()

    def shut(self):
        self._stopped = True

    def fileno(self):
        return self._number

    def stats(self):
        return dict.fromkeys(COUNTERS, 0) | {
            "received_control": self._received_control,
            "received_payload": self._received_payload,
            "received_bytes": self._received_bytes,
            "sent_control": self._sent_control,
            "sent_payload": self._sent_payload,
            "sent_bytes": self._sent_bytes,
            "wake_ups": self._wake_ups,
            "dropped_queue_full": self._dropped,
        }

    def port(self, tag):
        cdef Port port = Port.__new__(Port)
        port._inbox, port._tag = self, tag
        return port

    def take(self):
        controls, done = self._controls, self._done
        self._controls, self._done = [], []
        self._notified, self._control_bytes = False, 0
        for job in done:
            del self.jobs[job]
        return controls, self.reassembly.take_completed(), done

    def send_control(self, list datagrams):
        if not self.open():
            return 0
        for tag, payload, address in datagrams:
            self._send(tag, payload, address)
        self._sent_control += len(datagrams)
        return len(datagrams)

    def send_payload(self, tag, bytes transfer_id not None, buffer, ranges, datagram_bytes,
                     uint64_t sender, addresses):
        cdef const uint8_t[::1] data = memoryview(buffer).cast("B")
        cdef Heads heads = Heads(transfer_id, len(data), datagram_bytes, sender)
        cdef int64_t left_ns = 0
        cdef bytes datagram
        for index in inbox_pure.indexes(ranges, len(data), datagram_bytes):
            datagram = heads.datagram(index, &data[0])
            for address in addresses:
                self._sent_payload += 1
                left_ns = self._send(tag, datagram, address)
        return left_ns

    def finish(self, job_id):
        if self.open():
            self._done.append(job_id)
            self._notify()

    cdef bint open(self) except -1:
        return not self._stopped and self._alive()

    cdef int64_t _send(self, tag, bytes datagram, tuple address) except -1:
        self._sent_bytes += PyBytes_GET_SIZE(datagram)
        return self._network.post(self.addresses[tag], address, datagram)

    cdef int deliver(self, tag, bytes datagram, tuple source) except -1:
        cdef int code
        cdef bint news
        if not self.open():
            return 0
        self._received_bytes += PyBytes_GET_SIZE(datagram)
        if not datagram.startswith(MAGIC):
            self._received_control += 1
            news = self._queue(tag, datagram, source)
        else:
            self._received_payload += 1
            code = self.reassembly.feed(datagram)
            news = self._queue(tag, datagram, source) if code == DELIVER else code == COMPLETED
        if news:
            self._notify()
        return 0

    cdef bint _queue(self, tag, bytes datagram, tuple source) except -1:
        cdef int64_t bytes_after = self._control_bytes + PyBytes_GET_SIZE(datagram)
        if len(self._controls) >= CONTROL_COUNT_MAX or bytes_after > CONTROL_BYTES_MAX:
            self._dropped += 1
            return False
        self._controls.append((tag, datagram, source))
        self._control_bytes = bytes_after
        return True

    cdef int _notify(self) except -1:
        if not self._notified:
            self._notified = True
            self._wake_ups += 1
            self._readable(self._number)
        return 0
