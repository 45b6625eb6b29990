# cython: boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""The network thread: fast twin of replicast/transport/net_pure.py (its header says what it does).

One thread without the GIL waits in epoll for all sockets while much payload moves. Payload datagrams go
straight into Reassembly; everything else is queued for Python, which is woken
once per batch through an eventfd. Payload jobs are sent slice by slice between
receives (_payload_send.pxd): headers are built here, data goes out from the caller's buffer by iovec.

Locks: `table_mutex` for the sockets and buffers (held while one is read or written, so that
remove_socket() returns only when the thread is done with it), `queue_mutex` for what
passes between the threads, which may be taken while the other is held. Nothing of Python runs under either.
"""

cimport cython
from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from libc.errno cimport errno
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free

from replicast.native._control_queue cimport *
from replicast.native._job_queue cimport *
from replicast.native._net_counters cimport counted, counters_t
from replicast.native._payload_job cimport *
from replicast.native._payload_send cimport send_slice, slice_t
from replicast.native._receive_slots cimport *
from replicast.native._reassembly cimport (
    Reassembly,
    fed_t,
    payload_header,
    pthread_mutex_destroy,
    pthread_mutex_init,
    pthread_mutex_lock,
    pthread_mutex_t,
    pthread_mutex_unlock,
)
from replicast.native._socket_table cimport *
from replicast.native._udp cimport *

from threading import Thread

from replicast.transfer_header import HEADER_BYTES, index_runs
from replicast.transport.net_pure import LENT_MS, check_job

cdef enum:
    OWN_RECEIVES = 4          # calls for one socket, 32 datagrams, before it is lent to the thread
    OWN_SLICES = 5            # of a job, before the thread goes on with it

cdef int C_LENT_MS = LENT_MS
assert sizeof(payload_header) == HEADER_BYTES

ctypedef struct buffers_t:
    slots_t slots              # of whoever has the sockets
    slots_t own[OWN_RECEIVES]  # the owner's, for as long as it reads: what is not used takes no memory
    slice_t slice              # that is sent


@cython.no_gc_clear  # __dealloc__ speaks to `reassembly`, which must not be None by then
cdef class NetThread:
    """See replicast.transport.net_pure.NetThread, the definition, for every method."""

    cdef readonly Reassembly reassembly
    cdef socket_table_t sockets
    cdef int wake_fd, notify_fd
    cdef bint stopping
    cdef bint notified         # notify_fd is readable
    cdef uint64_t payload_ms   # when payload came last
    cdef uint64_t flood_ms     # when more came at once than the owner should read
    cdef bint joining          # the kernel agreed to UDP_GRO
    cdef pthread_mutex_t table_mutex, queue_mutex
    cdef control_queue_t controls
    cdef job_queue_t queued
    cdef job_list_t jobs       # the thread's own
    cdef buffers_t *buffers
    cdef int own_used          # of buffers.own, since take() has begun
    cdef counters_t counters, caller_counters
    cdef object thread
    cdef AddressBook book

    def __cinit__(self, Reassembly reassembly not None, *, uint64_t control_count_max=8192,
                  uint64_t control_bytes_max=16 << 20, uint64_t jobs_max=1024,
                  uint64_t job_bytes_max=256 << 20):
        cdef int i
        self.reassembly = reassembly
        self.controls.count_max, self.controls.bytes_max = control_count_max, control_bytes_max
        self.queued.count_max, self.queued.bytes_max = jobs_max, job_bytes_max
        self.book = AddressBook()
        pthread_mutex_init(&self.table_mutex, NULL)
        pthread_mutex_init(&self.queue_mutex, NULL)
        for i in range(SOCKETS_MAX):
            self.sockets.places[i].fd = -1
        self.buffers = <buffers_t *>calloc(1, sizeof(buffers_t))
        if self.buffers == NULL:
            raise MemoryError()
        self.buffers.slice.segmenting = True
        self.sockets.own_epoll = epoll_create1(EPOLL_CLOEXEC)
        self.sockets.thread_epoll = epoll_create1(EPOLL_CLOEXEC)
        self.sockets.owner_epoll = epoll_create1(EPOLL_CLOEXEC)
        self.wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)
        self.notify_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)
        if min(self.sockets.own_epoll, self.sockets.thread_epoll, self.sockets.owner_epoll,
               self.wake_fd, self.notify_fd) < 0:
            raise OSError(errno, "epoll or eventfd")
        rc_watch(self.sockets.thread_epoll, EPOLL_CTL_ADD, self.wake_fd, WAKE, 0)
        rc_watch(self.sockets.owner_epoll, EPOLL_CTL_ADD, self.notify_fd, WAKE, 0)
        rc_watch(self.sockets.owner_epoll, EPOLL_CTL_ADD, self.sockets.own_epoll, SOCKETS, 0)
        reassembly.source_fd = self.sockets.own_epoll

    def __dealloc__(self):
        cdef control_t *entry = take_controls(&self.controls)
        while entry != NULL:
            entry = free_control(entry)
        # Jobs exist from start() to stop(), and the running thread keeps this object alive.
        free(self.buffers)
        if self.buffers != NULL:
            self.close_files()
        pthread_mutex_destroy(&self.table_mutex)
        pthread_mutex_destroy(&self.queue_mutex)

    cdef void close_files(self) noexcept:
        if self.sockets.owner_epoll >= 0:
            self.reassembly.source_fd = -1
        close(self.sockets.own_epoll)  # closed, or never opened: -1, which is no descriptor
        close(self.sockets.thread_epoll)
        close(self.sockets.owner_epoll)
        close(self.wake_fd)
        close(self.notify_fd)
        self.sockets.own_epoll = self.sockets.thread_epoll = self.sockets.owner_epoll = -1
        self.wake_fd = self.notify_fd = -1

    # -- sockets ------------------------------------------------------------------------
    def add_socket(self, int fd, int tag):
        cdef int failed
        with nogil:
            pthread_mutex_lock(&self.table_mutex)
            failed = put_socket(&self.sockets, fd, tag)
            self.joining = rc_ask_gro(fd) == 0 if failed == 0 else self.joining
            pthread_mutex_unlock(&self.table_mutex)
        if failed == -2:
            raise ValueError(f"tag {tag} is taken")
        if failed == -1:
            raise ValueError(f"more than {SOCKETS_MAX} sockets")
        if failed:
            raise OSError(failed, f"descriptor {fd} cannot be watched")

    def remove_socket(self, int tag):
        cdef bint found
        with nogil:
            pthread_mutex_lock(&self.table_mutex)
            found = drop_socket(&self.sockets, tag)
            pthread_mutex_unlock(&self.table_mutex)
        if not found:
            raise ValueError(f"no socket with tag {tag}")

    # -- life ---------------------------------------------------------------------------
    def start(self):
        if self.thread is not None or self.sockets.owner_epoll < 0:
            raise RuntimeError("started already")
        thread = Thread(target=self._run, name="replicast-net", daemon=True)
        thread.start()
        self.thread = thread

    def stop(self):
        cdef int place
        if self.sockets.owner_epoll < 0:
            return
        with nogil:
            pthread_mutex_lock(&self.table_mutex)
            self.stopping = True
            pthread_mutex_unlock(&self.table_mutex)
            self.wake()
        if self.thread is not None:
            self.thread.join()
        append_jobs(&self.queued.done, &self.jobs)
        append_jobs(&self.queued.done, &self.queued.submitted)
        release_jobs(&self.queued.done)
        for place in range(SOCKETS_MAX):
            self.sockets.places[place].fd = -1
        self.close_files()

    def fileno(self):
        return self.sockets.owner_epoll

    def _run(self):
        with nogil:
            self.loop()

    cdef void wake(self) noexcept nogil:
        cdef uint64_t one = 1
        write(self.wake_fd, &one, sizeof(one))

    cdef void loop(self) noexcept nogil:
        cdef epoll_event events[2]
        cdef int count, i, wait_ms = -1
        cdef bint news, stopping = False
        while not stopping:
            count = epoll_wait(self.sockets.thread_epoll, events, 2, wait_ms)
            news = False
            pthread_mutex_lock(&self.table_mutex)
            for i in range(count):
                if events[i].data.u64 == WAKE:
                    self.accept_jobs()
                elif self.serve_all():
                    news = True
            if self.jobs.first != NULL:
                if self.send_next():
                    news = True
            elif self.sockets.lent and not self.busy(rc_now_ms()):
                lend_sockets(&self.sockets, False)
            wait_ms = 0 if self.runnable() else C_LENT_MS if self.sockets.lent else -1
            stopping = self.stopping
            pthread_mutex_unlock(&self.table_mutex)
            if news:
                self.notify()

    cdef bint busy(self, uint64_t now_ms) noexcept nogil:
        """Would its owner be woken too often?"""
        if now_ms < self.flood_ms + C_LENT_MS:
            return True
        return now_ms < self.payload_ms + C_LENT_MS and self.reassembly.expects()

    cdef bint runnable(self) noexcept nogil:
        """Whether a job could go on; called by the thread, with `table_mutex` held."""
        cdef job_t *job = self.jobs.first
        cdef socket_t *place
        while job != NULL:
            place = find_socket(&self.sockets, job.tag)
            if place == NULL or not place.blocked:
                return True
            job = job.next
        return False

    cdef void notify(self) noexcept nogil:
        cdef uint64_t one = 1
        pthread_mutex_lock(&self.queue_mutex)
        if not self.notified:
            self.counters.wake_ups += 1  # by either of the two, without the other lock
            write(self.notify_fd, &one, sizeof(one))
            self.notified = True
        pthread_mutex_unlock(&self.queue_mutex)

    # -- receiving ------------------------------------------------------------------------
    cdef bint serve_all(self) noexcept nogil:
        """What waits at the sockets; whether there is news for Python."""
        cdef epoll_event events[64]
        cdef int i, count = epoll_wait(self.sockets.own_epoll, events, 64, 0)
        cdef bint news = False
        for i in range(count):
            if self.serve(&self.sockets.places[events[i].data.u64], events[i].events):
                news = True
        return news

    cdef bint serve(self, socket_t *place, uint32_t events) noexcept nogil:
        cdef int count
        if place.fd < 0:
            return False
        if place.blocked and events & EPOLLOUT:
            await_room(&self.sockets, place, False)
        return self.receive(place, &self.buffers.slots, False, &count)

    cdef bint receive(self, socket_t *place, slots_t *b, bint stays, int *taken) noexcept nogil:
        """One receive call; whether there is news for Python. `stays`: the slots are not used again before
        Python has its news. `taken`: how many it gave, -1 for none."""
        cdef int i, count
        cdef bint news = False
        cdef uint32_t size, piece
        cdef uint64_t before = self.counters.received_payload
        taken[0] = count = receive_slots(place.fd, b)
        for i in range(count):
            size = b.messages[i].msg_len
            self.counters.received_bytes += size
            if b.messages[i].msg_hdr.msg_flags & MSG_TRUNC:
                self.counters.dropped_truncated += 1
                continue
            piece = rc_piece_bytes(&b.messages[i].msg_hdr)
            if piece == 0 or piece > size:
                piece = size
            if self.deliver(place.tag, &b.sources[i], b.data[i], size, piece, stays):
                news = True
        if self.counters.received_payload != before:
            self.payload_ms = rc_now_ms()
        return news

    cdef bint deliver(self, int tag, rc_address *source, const uint8_t *data, uint32_t size,
                      uint32_t piece, bint stays) noexcept nogil:
        """All datagrams of a message; each has `piece` bytes, but the last may have fewer."""
        cdef fed_t fed
        cdef uint32_t at = 0
        cdef bint news = False
        if piece < size:
            self.counters.received_joined += (size + piece - 1) // piece
        while True:
            self.reassembly.feed_joined(data + at, size - at, piece, &fed)
            self.counters.received_payload += fed.count
            self.counters.received_control += fed.control
            news |= fed.completed
            at += fed.size_bytes
            if fed.control or fed.sealed:
                news |= self.queue(tag, source, data + at, min(piece, size - at), stays)
                at += piece
            if at >= size:
                return news

    cdef bint queue(self, int tag, rc_address *source, const uint8_t *data,
                    uint32_t size, bint stays) noexcept nogil:
        cdef bint kept
        pthread_mutex_lock(&self.queue_mutex)
        kept = push_control(&self.controls, tag, source, data, size, stays)
        pthread_mutex_unlock(&self.queue_mutex)
        self.counters.dropped_queue_full += not kept
        return kept

    # -- sending payload --------------------------------------------------------------------
    cdef void accept_jobs(self) noexcept nogil:
        cdef uint64_t ignored
        read(self.wake_fd, &ignored, sizeof(ignored))
        pthread_mutex_lock(&self.queue_mutex)
        append_jobs(&self.jobs, &self.queued.submitted)
        pthread_mutex_unlock(&self.queue_mutex)
        lend_sockets(&self.sockets, self.sockets.lent or self.jobs.first != NULL)

    cdef bint send_next(self) noexcept nogil:
        """Give the first job that can go on one slice, then put it last; whether one ended."""
        cdef job_t *last = self.jobs.last
        cdef job_t *job = pop_job(&self.jobs)
        cdef socket_t *place = find_socket(&self.sockets, job.tag)
        while place != NULL and place.blocked:
            push_job(&self.jobs, job)
            if job == last:
                return False
            job = pop_job(&self.jobs)
            place = find_socket(&self.sockets, job.tag)
        if place != NULL:
            send_slice(&self.buffers.slice, job, &self.sockets, place, &self.counters)
            if job.run < job.run_count:
                push_job(&self.jobs, job)
                return False
        else:
            self.counters.dropped_unsent += 1
        pthread_mutex_lock(&self.queue_mutex)
        push_job(&self.queued.done, job)
        pthread_mutex_unlock(&self.queue_mutex)
        return True

    def submit_payload(self, job_id, int tag, bytes transfer_id not None, sender, buffer, ranges,
                       datagram_bytes, size_bytes, addresses):
        cdef job_t *job
        cdef bint full, own
        check_job(transfer_id, buffer, datagram_bytes, size_bytes, addresses, sender)
        runs = index_runs(ranges, size_bytes, datagram_bytes)
        if self.thread is None or self.sockets.owner_epoll < 0 or self.stopping:
            raise RuntimeError("not running")
        if not runs:
            raise ValueError("no ranges")
        job = make_job(job_id, tag, transfer_id, sender, runs, datagram_bytes, size_bytes,
                       list(addresses), self.book)
        try:
            PyObject_GetBuffer(buffer, &job.view, PyBUF_SIMPLE)
        except BaseException:
            free_job(job)
            raise
        job.segmenting = self.buffers.slice.segmenting
        job.data = <const uint8_t *>job.view.buf
        job.pinned_bytes = job.view.len
        pthread_mutex_lock(&self.queue_mutex)
        full = not admit_job(&self.queued, job)
        own = self.queued.submitted.first == NULL
        pthread_mutex_unlock(&self.queue_mutex)
        if full:
            PyBuffer_Release(&job.view)
            free_job(job)
            return False
        with nogil:
            self.begin_job(job, own)
        return True

    cdef void begin_job(self, job_t *job, bint own) noexcept nogil:
        """Send it at once, as far as that goes without waiting and `own` says so: the thread need
        not be woken for it. The rest is the thread's."""
        cdef int slices = 0
        cdef bint blocked = False
        cdef socket_t *place
        pthread_mutex_lock(&self.table_mutex)
        place = find_socket(&self.sockets, job.tag)
        own = own and not self.sockets.lent and place != NULL
        while own and slices < OWN_SLICES and job.run < job.run_count and not blocked:
            send_slice(&self.buffers.slice, job, &self.sockets, place, &self.counters)
            slices += 1
            blocked = place.blocked
        if blocked:
            await_room(&self.sockets, place, False)  # only the thread does: it will find out again
        pthread_mutex_unlock(&self.table_mutex)
        own = own and job.run == job.run_count
        pthread_mutex_lock(&self.queue_mutex)
        push_job(&self.queued.done if own else &self.queued.submitted, job)
        pthread_mutex_unlock(&self.queue_mutex)
        if own:
            self.notify()
        else:
            self.wake()

    # -- control --------------------------------------------------------------------------
    def send_control(self, list datagrams not None):
        cdef Py_ssize_t first = 0, end, total = len(datagrams)
        cdef int sent = 0
        cdef socket_t *place
        while first < total:
            end = first + 1
            tag = datagrams[first][0]
            while end < total and end - first < BATCH_MAX and datagrams[end][0] == tag:
                end += 1
            place = find_socket(&self.sockets, tag)
            if place != NULL:
                sent += send_batch(place.fd, datagrams[first:end], self.book,
                                   &self.caller_counters.sent_bytes)
            first = end
        self.caller_counters.sent_control += sent
        self.caller_counters.dropped_unsent += total - sent
        return sent

    cdef void read_own(self) noexcept nogil:
        """What its owner may have been woken for: datagrams, where the thread has not the sockets."""
        cdef epoll_event events[64]
        cdef int i, count = 0
        if self.sockets.owner_epoll < 0:
            return
        self.own_used = 0
        pthread_mutex_lock(&self.table_mutex)
        if not self.sockets.lent:
            count = epoll_wait(self.sockets.own_epoll, events, 64, 0)
        for i in range(count):
            if not self.sockets.lent:
                self.read_socket(&self.sockets.places[events[i].data.u64])
        pthread_mutex_unlock(&self.table_mutex)

    cdef void read_socket(self, socket_t *place) noexcept nogil:
        """All that waits there; lent to the thread when that is too much, or more payload is to come."""
        cdef uint64_t before = self.counters.received_payload
        cdef int i, taken = SLOTS
        for i in range(OWN_RECEIVES):
            if taken == SLOTS:
                self.receive_own(place, &taken)
        if taken == SLOTS:
            self.flood_ms = rc_now_ms()
        if taken == SLOTS or (self.counters.received_payload != before
                              and self.reassembly.expects()):
            lend_sockets(&self.sockets, True)

    cdef void receive_own(self, socket_t *place, int *taken) noexcept nogil:
        """What waits for Python stays where it is: the next call gets other slots, while there are some."""
        cdef control_t *last = self.controls.last
        if self.own_used == OWN_RECEIVES:
            self.receive(place, &self.buffers.slots, False, taken)
            return
        self.receive(place, &self.buffers.own[self.own_used], True, taken)
        self.own_used += self.controls.last != last

    def take(self):
        cdef control_t *entry
        cdef job_t *job
        cdef job_list_t finished
        cdef uint64_t ignored
        cdef list controls = [], sent = []
        with nogil:
            self.read_own()
        pthread_mutex_lock(&self.queue_mutex)
        if self.notified:
            read(self.notify_fd, &ignored, sizeof(ignored))
        self.notified = False
        entry = take_controls(&self.controls)
        finished = take_done(&self.queued)
        pthread_mutex_unlock(&self.queue_mutex)
        while entry != NULL:
            controls.append((entry.tag, (<char *>entry.data)[:entry.size],
                             self.book.unpack(&entry.source)))
            entry = free_control(entry)
        job = finished.first
        while job != NULL:
            sent.append(job.id)
            job = job.next
        release_jobs(&finished)
        return controls, self.reassembly.take_completed(), sent

    @property
    def send_too_long(self):
        return self.counters.send_too_long  # one word, as it is now

    def stats(self):
        cdef counters_t counters
        cdef bint segmenting, joining
        with nogil:
            pthread_mutex_lock(&self.table_mutex)
            pthread_mutex_lock(&self.queue_mutex)  # for wake_ups
            counters, segmenting = self.counters, self.buffers.slice.segmenting
            joining = self.joining
            pthread_mutex_unlock(&self.queue_mutex)
            pthread_mutex_unlock(&self.table_mutex)
        return counted(counters, self.caller_counters) | {
            "segmenting": segmenting, "joining": joining
        }
