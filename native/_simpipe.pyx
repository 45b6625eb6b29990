# cython: boundscheck=False, wraparound=False
"""Twins of replicast/sim/pipe_pure.py: from one socket to the other without a call through Python,
but for the watch."""

from collections import deque

from libc.stdint cimport int64_t

from replicast.native._simwire cimport Network, STUCK
from replicast.native._simworld cimport Event, Events

import zmq

from replicast.curve import EVENTS, POLLIN
from replicast.sim import pipe_pure
from replicast.sim.network_pure import RETRY_NS, SILENCE_NS
from replicast.sim.trace_pure import NOTHING

cdef int C_EVENTS = EVENTS, C_REP = zmq.REP, C_ROUTER = zmq.ROUTER, C_FD = zmq.FD
cdef Py_ssize_t FRAMES_MAX = pipe_pure.FRAMES_MAX
cdef int64_t AGAIN_NS = RETRY_NS, SILENT_NS = SILENCE_NS
cdef object READABLE = POLLIN


cdef class SimFrame:
    cdef readonly object bytes
    cdef object _user

    def __init__(self, data, user=""):
        self.bytes, self._user = data, user

    def get(self, name):
        return self._user


cdef class End:
    cdef readonly int kind
    cdef readonly object fd
    cdef public bint closed
    cdef readonly dict ways
    cdef public Pipe way
    cdef object _readable, _inbox

    def __init__(self, int kind, number, readable):
        self.kind, self.fd, self._readable = kind, number, readable
        self.ways, self._inbox = {}, deque()

    def getsockopt(self, int option):
        if option == C_EVENTS:
            return READABLE if self._inbox else 0
        assert option == C_FD
        return self.fd

    def send_multipart(self, list parts not None, flags=0):
        cdef Pipe way
        cdef int wanted
        if self.kind == C_REP:
            self.answer(parts)
            return
        wanted = 2 if self.kind == C_ROUTER else 1
        if len(parts) != wanted:
            raise ValueError(f"{len(parts)} parts, not {wanted}")
        way = self.way if wanted == 1 else self.ways.get(parts[0])
        if way is None or not way.post(parts[wanted - 1]):
            raise zmq.Again()

    def recv_multipart(self, flags=0, copy=True):
        return self._inbox.popleft()

    def arrive(self, list parts not None):
        self.take(parts)

    def answer(self, parts):
        raise NotImplementedError

    cdef int take(self, list parts) except -1:
        self._inbox.append(parts)
        self._readable(self.fd)
        return 0


cdef class Link:
    cdef End _one, _other
    cdef public bint ended

    def __init__(self, End one not None, End other not None):
        self._one, self._other = one, other

    def check(self):
        return self.lives()

    def end(self):
        self.ended = True

    cdef bint lives(self) except -1:
        if self._one.closed or self._other.closed:
            self.end()
        return not self.ended


cdef class Late(Event):
    """A frame in a queue on the way."""

    cdef Pipe _pipe
    cdef bytes _frame

    cdef int happen(self) except -1:
        if self._pipe._link.lives():
            self._pipe._hand_over(self._frame)
        return 0


cdef class Pipe(Event):
    """What is to happen next, while it is `_moving`: another try when it is stuck, else an arrival."""

    cdef Events _world
    cdef Network _network
    cdef Link _link
    cdef End _end
    cdef SimFrame _front
    cdef object _watch, _source, _target, _user, _what, _queue
    cdef int64_t _free_ns, _held_ns, _stuck_ns
    cdef bint _stuck, _moving

    def __init__(self, ether, Link link not None, source, target, End end not None,
                 SimFrame front=None, user=""):
        self._world, self._network, self._watch = ether.world, ether.network, ether.watch
        self._link, self._source, self._target = link, source, target
        self._end, self._front, self._user = end, front, user
        self._what = f"on {source}'s channel"
        self._queue = deque()

    def send(self, bytes frame not None):
        return self.post(frame)

    cdef bint post(self, bytes frame) except -1:
        if self._link.ended or len(self._queue) >= FRAMES_MAX:
            return False
        self._queue.append(frame)
        if self._watch is not None:
            self._watch.sent(self._source, self._target, frame)
        if not self._moving:
            self._move()
        return True

    cdef int happen(self) except -1:
        self._moving = False
        if not self._link.lives():
            return 0
        if not self._stuck:
            self._arrive()
        elif self._world.time_ns - self._stuck_ns > SILENT_NS:
            self._link.end()
        else:
            self._move()
        return 0

    cdef int _move(self) except -1:
        cdef int64_t now_ns = self._world.time_ns, delay_ns
        if self._moving or not self._queue:
            return 0
        frame = self._queue[0]
        delay_ns = self._network.delay(self._source, self._target, len(frame))
        self._moving = True
        if delay_ns == STUCK:
            if not self._stuck:
                self._stuck, self._stuck_ns = True, now_ns
            self._world.put(now_ns + AGAIN_NS, self)
            return 0
        self._stuck = False
        self._free_ns = max(self._free_ns + 1, now_ns + delay_ns)
        self._world.put(self._free_ns, self)
        return 0

    cdef int _arrive(self) except -1:
        cdef int64_t now_ns = self._world.time_ns, held_ns
        cdef Late late
        if not self._queue:
            return 0
        frame = self._queue.popleft()
        held_ns = self._network.way(self._source, self._target).held_ns
        if held_ns or self._held_ns > now_ns:
            self._held_ns = max(self._held_ns + 1, now_ns + held_ns)
            late = Late.__new__(Late)
            late._pipe, late._frame = self, frame
            self._world.put(self._held_ns, late)
        else:
            self._hand_over(frame)
        if self._queue:
            self._move()
        return 0

    cdef int _hand_over(self, bytes frame) except -1:
        cdef SimFrame last = SimFrame.__new__(SimFrame)
        self._network.trace.put(self._world.time_ns, self._target, self._what, frame, NOTHING)
        if self._watch is not None:
            self._watch.arrived(self._source, self._target, frame)
        last.bytes, last._user = frame, self._user
        self._end.take([last] if self._front is None else [self._front, last])
        return 0
