# cython: boundscheck=False, wraparound=False
"""Twins of replicast/sim/turns_pure.py and trace_pure.py: the same events in the same order, at a
third of the cost.

Heap entries name a place in a list of Python objects, so that the garbage collector sees them.
"""

from asyncio import _set_running_loop
from collections import deque

import xxhash

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.contextvars cimport PyContext_Enter, PyContext_Exit
from libc.math cimport fabs, rint
from libc.stdint cimport int64_t
from libc.stdlib cimport free, malloc, realloc
from libc.string cimport memcpy

from replicast.sim import turns_pure
from replicast.sim.trace_pure import NOTHING

cdef int64_t INSTANT_EVENTS_MAX = turns_pure.INSTANT_EVENTS_MAX
cdef int ROUNDS_MAX = turns_pure.ROUNDS_MAX
cdef Py_ssize_t BUFFER_BYTES = 64 << 10
cdef int64_t MILLION = 1_000_000
# Nanoseconds that may be multiplied by a million, the rest is left to Python's integers: 2.5 hours.
cdef int64_t SHORT_NS = 9_000_000_000_000


cdef inline bint earlier(Entry *one, Entry *other) noexcept:
    return one.at_ns < other.at_ns or (one.at_ns == other.at_ns and one.made < other.made)


cdef class Event:
    """What happens without a call through Python; all other actions are called."""

    cdef int happen(self) except -1:
        return 0


cdef class Events:
    """A binary heap; entries behind its end keep the free places of `_actions`."""

    def __cinit__(self, *args, **more):
        self._actions = []

    def __dealloc__(self):
        free(self._heap)

    def at(self, int64_t time_ns, action):
        self.put(time_ns, action)

    def after(self, int64_t delay_ns, action):
        self.put(self.time_ns + delay_ns, action)

    def busy(self):
        return self.is_busy()

    def run_until(self, int64_t time_ns, done=None):
        try:
            return self._run(time_ns, done)
        finally:
            self.enter(None)

    def stands_still(self):
        pass

    cdef bint is_busy(self) noexcept:
        return self._count > 0 and self._heap[0].at_ns <= self.time_ns

    cdef int enter(self, turns) except -1:
        if self._running is not turns:
            self._running = turns
            _set_running_loop(turns)
        return 0

    cdef int put(self, int64_t time_ns, action) except -1:
        cdef int64_t at_ns = time_ns if time_ns > self.time_ns else self.time_ns
        cdef Py_ssize_t at = self._count, above, place
        if at == self._room:
            self._grow()
        place = self._heap[at].place
        self._actions[place] = action
        self._count += 1
        self._made += 1
        while at > 0:
            above = (at - 1) >> 1
            if self._heap[above].at_ns <= at_ns:  # this one was made last
                break
            self._heap[at] = self._heap[above]
            at = above
        self._heap[at] = Entry(at_ns, self._made, place)
        return 0

    cdef int _grow(self) except -1:
        cdef Py_ssize_t room = 2 * self._room or 64, at
        heap = <Entry *>realloc(self._heap, room * sizeof(Entry))
        if heap == NULL:
            raise MemoryError
        self._heap = heap
        for at in range(self._room, room):
            heap[at].place = at
            self._actions.append(None)
        self._room = room
        return 0

    cdef object _pop(self):
        cdef Entry *heap = self._heap
        cdef Py_ssize_t place = heap[0].place, at = 0, below, count = self._count - 1
        cdef Entry last = heap[count]
        while True:
            below = 2 * at + 1
            if below >= count:
                break
            if below + 1 < count and earlier(&heap[below + 1], &heap[below]):
                below += 1
            if not earlier(&heap[below], &last):
                break
            heap[at] = heap[below]
            at = below
        heap[at] = last
        heap[count].place = place
        self._count = count
        action = self._actions[place]
        self._actions[place] = None
        return action

    cdef bint _run(self, int64_t time_ns, done) except -1:
        cdef int64_t at_ns
        while self._count and self._heap[0].at_ns <= time_ns:
            at_ns = self._heap[0].at_ns
            action = self._pop()
            self._in_this_instant = self._in_this_instant + 1 if at_ns == self.time_ns else 0
            self.time_ns = at_ns
            self.event_count += 1
            if isinstance(action, Event):
                (<Event>action).happen()
            else:
                action()
            action = None
            if self._in_this_instant > INSTANT_EVENTS_MAX:
                self.stands_still()
                return False
            if done is not None and done():
                return True
        if time_ns > self.time_ns:
            self.time_ns = time_ns
        return False


cdef class TraceHash:
    """What is hashed goes through a buffer: hardly an event is worth a call of its own."""

    def __cinit__(self, *args, **more):
        self._buffer = <char *>malloc(BUFFER_BYTES)
        if self._buffer == NULL:
            raise MemoryError

    def __dealloc__(self):
        free(self._buffer)

    def __init__(self, bint kept):
        self.kept = kept
        self._hash = xxhash.xxh3_128()
        self._update = self._hash.update

    def fingerprint(self):
        self._flush()
        return self._hash.hexdigest()

    def add(self, int64_t time_ns, process, what, bytes data not None=b"", more=NOTHING):
        self.put(time_ns, process, what, data, more)

    def show(self, time_ns, process, what, data, more):
        pass

    cdef int put(self, int64_t time_ns, process, what, bytes data, more) except -1:
        cdef Py_ssize_t size_bytes = PyBytes_GET_SIZE(data)
        cdef bytes head
        self.count += 1
        text = f"{time_ns} {process} {what} {size_bytes} "
        if more:
            text += " ".join([f"{key}={value!r}" for key, value in more.items()])
        head = text.encode()
        self._write(PyBytes_AS_STRING(head), PyBytes_GET_SIZE(head))
        self._write(PyBytes_AS_STRING(data), size_bytes)
        if self.kept:
            self.show(time_ns, process, what, data, more)
        return 0

    cdef int _write(self, const char *start, Py_ssize_t size_bytes) except -1:
        if size_bytes > BUFFER_BYTES - self._filled:
            self._flush()
            if size_bytes > BUFFER_BYTES:
                self._update(PyBytes_FromStringAndSize(start, size_bytes))
                return 0
        memcpy(self._buffer + self._filled, start, size_bytes)
        self._filled += size_bytes
        return 0

    cdef int _flush(self) except -1:
        if self._filled:
            self._update(PyBytes_FromStringAndSize(self._buffer, self._filled))
            self._filled = 0
        return 0


cdef class Clock:
    cdef Events _events
    cdef int64_t _offset_ns
    cdef readonly int64_t rate_ppm
    cdef public int64_t wall_offset_ns

    def __init__(self, Events events, int64_t offset_ns, int64_t rate_ppm, int64_t wall_offset_ns):
        self._events = events
        self._offset_ns, self.rate_ppm = offset_ns, rate_ppm
        self.wall_offset_ns = wall_offset_ns

    def now_ns(self):
        return self.now()

    def wall_ns(self):
        return self.wall_offset_ns + self.now() - self._offset_ns

    def world_ns(self, now_ns):
        passed = now_ns - self._offset_ns
        return -(-passed * MILLION // (MILLION + self.rate_ppm))

    cdef int64_t now(self) noexcept:
        cdef int64_t t = self._events.time_ns
        return self._offset_ns + t + t * self.rate_ppm // MILLION

    cdef int64_t world(self, double when) except? -1:
        """Of seconds of this clock."""
        cdef double now_ns = when * 1e9
        cdef int64_t passed
        if not fabs(now_ns) < 9e18:
            return self.world_ns(round(now_ns))
        passed = <int64_t>rint(now_ns) - self._offset_ns
        if not -SHORT_NS < passed < SHORT_NS:
            return self.world_ns(round(now_ns))
        return -(-passed * MILLION // (MILLION + self.rate_ppm))


def _nothing():
    pass


cdef class SimHandle(Event):
    cdef object _callback
    cdef tuple _args
    cdef object _context
    cdef bint _cancelled

    def cancel(self):
        self._cancelled = True
        self._callback, self._args, self._context = _nothing, (), None

    def cancelled(self):
        return self._cancelled

    cdef int run(self, Turns turns) except -1:
        if self._cancelled:
            return 0
        cdef tuple args = self._args
        callback, context = self._callback, self._context
        try:
            if context is None:
                callback(*args)
            else:
                PyContext_Enter(context)
                try:
                    callback(*args)
                finally:
                    PyContext_Exit(context)
        except Exception as error:
            message = f"exception in callback {self._callback!r}"
            turns.call_exception_handler({"message": message, "exception": error})
        return 0


cdef SimHandle handle_of(callback, tuple args, context):
    cdef SimHandle handle = SimHandle.__new__(SimHandle)
    handle._callback, handle._args, handle._context = callback, args, context
    return handle


cdef class SimTimer(SimHandle):
    cdef object _when
    cdef Turns _turns

    def when(self):
        return self._when

    cdef int happen(self) except -1:
        if not self._cancelled:
            self._turns.add(self)
        return 0


cdef class Reading(SimHandle):
    """Something can be read; who reads is decided when the turn comes."""

    cdef object _fd

    cdef int run(self, Turns turns) except -1:
        reader = turns._readers.get(self._fd)
        if reader is not None:
            self._callback, self._args = reader
            SimHandle.run(self, turns)
        return 0


cdef class Turns(Event):
    cdef Events _events
    cdef Clock _clock
    cdef object _ready
    cdef bint _scheduled, _paused, _dead
    cdef dict _readers

    def __init__(self, Events events, Clock clock):
        self._events, self._clock = events, clock
        self._ready = deque()
        self._readers = {}

    def pause(self):
        self._paused = True

    def resume(self):
        self._paused = False
        if self._ready:
            self._schedule()

    def kill(self):
        self._dead = True
        self._ready.clear()
        self._readers.clear()

    @property
    def dead(self):
        return self._dead

    @property
    def paused(self):
        return self._paused

    def alive(self):
        return not self._dead

    def call_soon(self, callback, *args, context=None):
        handle = handle_of(callback, args, context)
        self.add(handle)
        return handle

    def call_later(self, double delay, callback, *args, context=None):
        return self._timer(self._clock.now() / 1e9 + delay, callback, args, context)

    def call_at(self, when, callback, *args, context=None):
        return self._timer(when, callback, args, context)

    def time(self):
        return self._clock.now() / 1e9

    def add_reader(self, fd, callback, *args):
        self._readers[int(fd)] = (callback, args)

    def remove_reader(self, fd):
        return self._readers.pop(int(fd), None) is not None

    def readable(self, fd):
        cdef Reading reading = Reading.__new__(Reading)
        reading._fd = fd
        self.add(reading)

    def get_debug(self):
        return False

    def reader(self, fd):
        return self._readers.get(fd)

    def is_running(self):
        return not self._dead

    def is_closed(self):
        return self._dead

    cdef SimTimer _timer(self, when, callback, tuple args, context):
        cdef SimTimer timer = SimTimer.__new__(SimTimer)
        timer._callback, timer._args, timer._context = callback, args, context
        timer._when, timer._turns = when, self
        self._events.put(self._clock.world(when), timer)
        return timer

    cdef int add(self, SimHandle handle) except -1:
        if not self._dead:
            self._ready.append(handle)
            self._schedule()
        return 0

    cdef int _schedule(self) except -1:
        if not self._scheduled and not self._paused:
            self._scheduled = True
            self._events.put(self._events.time_ns, self)
        return 0

    cdef int happen(self) except -1:
        """The turn."""
        cdef int rounds
        cdef Py_ssize_t count
        ready = self._ready
        if self._paused or self._dead:
            self._scheduled = False
            return 0
        self._events.enter(self)
        for rounds in range(ROUNDS_MAX):
            for count in range(len(ready)):
                if ready:
                    (<SimHandle>ready.popleft()).run(self)
            if not ready or self._paused or self._events.is_busy():
                break
        self._scheduled = False
        if ready:
            self._schedule()
        return 0
