# cython: boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""The network thread: fast twin of replicast/transport/net_pure.py (its header says what it does).

One thread without the GIL waits in epoll for all sockets. Payload datagrams go
straight into Reassembly; everything else is queued for Python, which is woken
once per batch through an eventfd. Payload jobs are sent slice by slice between
receives: headers are built here, data goes out from the caller's buffer by iovec,
several datagrams per message by UDP_SEGMENT where the kernel has it.

Locks: `table_mutex` for the sockets (held while one is read or written, so that
remove_socket() returns only when the thread is done with it), `queue_mutex` for what
passes between the threads. Nothing of Python runs under either.
"""

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.errno cimport EAGAIN, EINTR, EINVAL, EIO, ENOBUFS, errno
from libc.stdint cimport int32_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcpy, memset

from replicast.native._reassembly cimport (
    COMPLETED,
    DELIVER,
    Reassembly,
    payload_header,
    pthread_mutex_destroy,
    pthread_mutex_init,
    pthread_mutex_lock,
    pthread_mutex_t,
    pthread_mutex_unlock,
    rc_xxh3_56,
)

from threading import Thread

from replicast.transfer_header import (
    HEADER_BYTES,
    PAYLOAD_MAGIC,
    PAYLOAD_TYPE,
    PAYLOAD_VERSION,
    index_runs,
)
from replicast.transport.net_pure import check_job

cdef extern from *:
    """
    #ifndef _GNU_SOURCE
    #define _GNU_SOURCE
    #endif
    #include <sys/socket.h>
    #include <sys/epoll.h>
    #include <sys/eventfd.h>
    #include <sys/uio.h>
    #include <netinet/in.h>
    #include <netinet/udp.h>
    #include <arpa/inet.h>
    #include <unistd.h>
    #ifndef UDP_SEGMENT
    #define UDP_SEGMENT 103
    #endif
    #ifndef UDP_GRO
    #define UDP_GRO 104
    #endif

    typedef union {
        struct sockaddr any;
        struct sockaddr_in v4;
        struct sockaddr_in6 v6;
    } rc_address;

    /* IPv4 or IPv6 literal and port; the length, or 0 when the host is neither. */
    static inline socklen_t rc_parse(const char *host, int port, rc_address *to) {
        memset(to, 0, sizeof *to);
        if (inet_pton(AF_INET, host, &to->v4.sin_addr) == 1) {
            to->v4.sin_family = AF_INET;
            to->v4.sin_port = htons(port);
            return sizeof to->v4;
        }
        if (inet_pton(AF_INET6, host, &to->v6.sin6_addr) == 1) {
            to->v6.sin6_family = AF_INET6;
            to->v6.sin6_port = htons(port);
            return sizeof to->v6;
        }
        return 0;
    }
    static inline int rc_format(const rc_address *from, char *host) {
        if (from->any.sa_family == AF_INET) {
            inet_ntop(AF_INET, &from->v4.sin_addr, host, INET6_ADDRSTRLEN);
            return ntohs(from->v4.sin_port);
        }
        inet_ntop(AF_INET6, &from->v6.sin6_addr, host, INET6_ADDRSTRLEN);
        return ntohs(from->v6.sin6_port);
    }
    #define RC_CONTROL_BYTES CMSG_SPACE(sizeof(int))
    typedef struct { _Alignas(struct cmsghdr) char bytes[RC_CONTROL_BYTES]; } rc_control;

    /* The size of the pieces of a joined datagram, or 0 when it is a single one. */
    static inline int rc_piece_bytes(struct msghdr *message) {
        struct cmsghdr *c;
        for (c = CMSG_FIRSTHDR(message); c; c = CMSG_NXTHDR(message, c))
            if (c->cmsg_level == IPPROTO_UDP && c->cmsg_type == UDP_GRO) {
                int size;
                memcpy(&size, CMSG_DATA(c), sizeof size);
                return size;
            }
        return 0;
    }
    static inline void rc_segment(struct msghdr *message, rc_control *room, uint16_t size) {
        struct cmsghdr *c;
        memset(room, 0, sizeof *room);
        message->msg_control = room;
        message->msg_controllen = CMSG_SPACE(sizeof size);
        c = CMSG_FIRSTHDR(message);
        c->cmsg_level = IPPROTO_UDP;
        c->cmsg_type = UDP_SEGMENT;
        c->cmsg_len = CMSG_LEN(sizeof size);
        memcpy(CMSG_DATA(c), &size, sizeof size);
    }
    static inline int rc_ask_gro(int fd) {
        int on = 1;
        return setsockopt(fd, IPPROTO_UDP, UDP_GRO, &on, sizeof on);
    }
    static inline void rc_watch(int epoll, int operation, int fd, uint64_t key, int writable) {
        struct epoll_event event;
        event.events = EPOLLIN | (writable ? EPOLLOUT : 0);
        event.data.u64 = key;
        epoll_ctl(epoll, operation, fd, &event);
    }
    """
    ctypedef union rc_address:
        pass
    ctypedef struct rc_control:
        pass
    ctypedef uint32_t socklen_t
    cdef struct iovec:
        void *iov_base
        size_t iov_len
    cdef struct msghdr:
        void *msg_name
        socklen_t msg_namelen
        iovec *msg_iov
        size_t msg_iovlen
        void *msg_control
        size_t msg_controllen
        int msg_flags
    cdef struct mmsghdr:
        msghdr msg_hdr
        unsigned int msg_len
    ctypedef union epoll_data_t:
        uint64_t u64
    cdef struct epoll_event:
        uint32_t events
        epoll_data_t data
    int EPOLL_CTL_ADD, EPOLL_CTL_MOD, EPOLL_CTL_DEL, EPOLL_CLOEXEC
    uint32_t EPOLLIN, EPOLLOUT, EPOLLERR
    int EFD_NONBLOCK, EFD_CLOEXEC, MSG_DONTWAIT, MSG_TRUNC, INET6_ADDRSTRLEN
    int epoll_create1(int flags) nogil
    int epoll_wait(int epoll, epoll_event *events, int room, int timeout_ms) nogil
    int eventfd(unsigned int start, int flags) nogil
    int recvmmsg(int fd, mmsghdr *messages, unsigned int count, int flags, void *timeout) nogil
    int sendmmsg(int fd, mmsghdr *messages, unsigned int count, int flags) nogil
    ssize_t read(int fd, void *data, size_t size) nogil
    ssize_t write(int fd, const void *data, size_t size) nogil
    int close(int fd) nogil
    socklen_t rc_parse(const char *host, int port, rc_address *to) noexcept nogil
    int rc_format(const rc_address *source, char *host) noexcept nogil
    int rc_piece_bytes(msghdr *message) noexcept nogil
    void rc_segment(msghdr *message, rc_control *room, uint16_t size) noexcept nogil
    int rc_ask_gro(int fd) noexcept nogil
    void rc_watch(int epoll, int operation, int fd, uint64_t key, int writable) noexcept nogil

cdef enum:
    SOCKETS_MAX = 256
    SLOTS = 32                # datagrams (or joined ones) per receive call
    SLOT_BYTES = 65536
    MESSAGES = 12             # per send call, and so per slice
    SEGMENTS_MAX = 64         # the kernel's limit for UDP_SEGMENT
    SEGMENTED_BYTES_MAX = 65000
    WAKE = 0xFFFFFFFF

cdef uint32_t C_MAGIC = PAYLOAD_MAGIC
cdef uint8_t C_TYPE = PAYLOAD_TYPE, C_VERSION = PAYLOAD_VERSION
assert sizeof(payload_header) == HEADER_BYTES

ctypedef struct socket_t:
    int fd                    # -1: free place
    int tag
    bint blocked              # EAGAIN: waiting for EPOLLOUT

ctypedef struct control_t:
    control_t *next
    rc_address source
    int tag
    uint32_t size
    uint8_t data[1]

ctypedef struct job_t:
    job_t *next
    uint64_t id
    int tag
    int address_count
    int address               # cursor: next address for the unit at `index`
    int run_count
    int run                   # cursor: which run
    uint32_t index            # cursor: next datagram
    uint32_t *runs            # pairs first, end
    rc_address *addresses
    socklen_t *address_lengths
    const uint8_t *data
    size_t pinned_bytes
    payload_header header     # all that is alike in every datagram of the job
    Py_buffer view

ctypedef struct unit_t:
    payload_header headers[SEGMENTS_MAX]
    iovec pieces[2 * SEGMENTS_MAX]
    rc_control control

ctypedef struct buffers_t:
    uint8_t data[SLOTS][SLOT_BYTES]
    rc_address sources[SLOTS]
    rc_control controls[SLOTS]
    iovec pieces[SLOTS]
    mmsghdr messages[SLOTS]
    unit_t units[MESSAGES]
    mmsghdr outgoing[MESSAGES]

ctypedef struct counters_t:
    uint64_t received_control, received_payload, received_bytes
    uint64_t sent_control, sent_payload, sent_bytes
    uint64_t send_errors, send_blocked, wake_ups
    uint64_t dropped_queue_full, dropped_truncated, dropped_unsent


cdef class NetThread:
    """See replicast.transport.net_pure.NetThread, the definition, for every method."""

    cdef readonly Reassembly reassembly
    cdef socket_t sockets[SOCKETS_MAX]
    cdef int epoll, wake_fd, notify_fd
    cdef bint stopping, notified, segmenting
    cdef pthread_mutex_t table_mutex, queue_mutex
    cdef control_t *controls_first
    cdef control_t **controls_last
    cdef uint64_t control_count, control_bytes, control_count_max, control_bytes_max
    cdef job_t *submitted_first
    cdef job_t **submitted_last
    cdef job_t *done_first
    cdef job_t **done_last
    cdef job_t *jobs_first     # owned by the thread
    cdef job_t **jobs_last
    cdef uint64_t job_count, job_bytes, jobs_max, job_bytes_max
    cdef buffers_t *buffers
    cdef counters_t counters, caller_counters
    cdef object thread
    cdef dict parsed, sources

    def __cinit__(self, Reassembly reassembly not None, *, uint64_t control_count_max=8192,
                  uint64_t control_bytes_max=16 << 20, uint64_t jobs_max=1024,
                  uint64_t job_bytes_max=256 << 20):
        cdef int i
        self.reassembly = reassembly
        self.control_count_max, self.control_bytes_max = control_count_max, control_bytes_max
        self.jobs_max, self.job_bytes_max = jobs_max, job_bytes_max
        self.controls_last = &self.controls_first
        self.submitted_last = &self.submitted_first
        self.done_last = &self.done_first
        self.jobs_last = &self.jobs_first
        self.segmenting = True
        self.parsed, self.sources = {}, {}
        pthread_mutex_init(&self.table_mutex, NULL)
        pthread_mutex_init(&self.queue_mutex, NULL)
        for i in range(SOCKETS_MAX):
            self.sockets[i].fd = -1
        self.buffers = <buffers_t *>calloc(1, sizeof(buffers_t))
        if self.buffers == NULL:
            raise MemoryError()
        for i in range(SLOTS):
            self.buffers.pieces[i].iov_base = self.buffers.data[i]
            self.buffers.pieces[i].iov_len = SLOT_BYTES
        self.epoll = epoll_create1(EPOLL_CLOEXEC)
        self.wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)
        self.notify_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)
        if self.epoll < 0 or self.wake_fd < 0 or self.notify_fd < 0:
            raise OSError(errno, "epoll or eventfd")
        rc_watch(self.epoll, EPOLL_CTL_ADD, self.wake_fd, WAKE, 0)

    def __dealloc__(self):
        cdef control_t *entry = self.controls_first
        cdef control_t *after
        while entry != NULL:
            after = entry.next
            free(entry)
            entry = after
        free_jobs(self.jobs_first)
        free_jobs(self.submitted_first)
        free_jobs(self.done_first)
        free(self.buffers)
        if self.buffers != NULL:
            self.close_files()
        pthread_mutex_destroy(&self.table_mutex)
        pthread_mutex_destroy(&self.queue_mutex)

    cdef void close_files(self) noexcept:
        if self.epoll >= 0:
            close(self.epoll)
            close(self.wake_fd)
            close(self.notify_fd)
        self.epoll = self.wake_fd = self.notify_fd = -1

    # -- sockets ------------------------------------------------------------------------
    def add_socket(self, int fd, int tag):
        cdef int i, free_place = -1
        cdef bint taken = False
        with nogil:
            pthread_mutex_lock(&self.table_mutex)
            for i in range(SOCKETS_MAX):
                if self.sockets[i].fd < 0:
                    free_place = i if free_place < 0 else free_place
                elif self.sockets[i].tag == tag:
                    taken = True
            if not taken and free_place >= 0:
                rc_ask_gro(fd)
                self.sockets[free_place].fd = fd
                self.sockets[free_place].tag = tag
                self.sockets[free_place].blocked = False
                rc_watch(self.epoll, EPOLL_CTL_ADD, fd, free_place, 0)
            pthread_mutex_unlock(&self.table_mutex)
        if taken:
            raise ValueError(f"tag {tag} is taken")
        if free_place < 0:
            raise ValueError(f"more than {SOCKETS_MAX} sockets")

    def remove_socket(self, int tag):
        cdef socket_t *place
        with nogil:
            pthread_mutex_lock(&self.table_mutex)
            place = self.find(tag)
            if place != NULL:
                rc_watch(self.epoll, EPOLL_CTL_DEL, place.fd, 0, 0)
                place.fd = -1
            pthread_mutex_unlock(&self.table_mutex)
        if place == NULL:
            raise ValueError(f"no socket with tag {tag}")

    cdef socket_t *find(self, int tag) noexcept nogil:
        cdef int i
        for i in range(SOCKETS_MAX):
            if self.sockets[i].fd >= 0 and self.sockets[i].tag == tag:
                return &self.sockets[i]
        return NULL

    # -- life ---------------------------------------------------------------------------
    def start(self):
        if self.thread is not None or self.epoll < 0:
            raise RuntimeError("started already")
        self.thread = Thread(target=self._run, name="replicast-net", daemon=True)
        self.thread.start()

    def stop(self):
        cdef job_t *job
        cdef int place
        if self.epoll < 0:
            return
        self.stopping = True
        self.wake()
        if self.thread is not None:
            self.thread.join()
        self.submitted_last[0] = self.jobs_first
        job = self.submitted_first
        self.submitted_first = self.jobs_first = NULL
        self.submitted_last, self.jobs_last = &self.submitted_first, &self.jobs_first
        release_jobs(job)
        job = self.done_first
        self.done_first = NULL
        self.done_last = &self.done_first
        release_jobs(job)
        for place in range(SOCKETS_MAX):
            self.sockets[place].fd = -1
        self.close_files()

    def fileno(self):
        return self.notify_fd

    def _run(self):
        with nogil:
            self.loop()

    cdef void wake(self) noexcept nogil:
        cdef uint64_t one = 1
        write(self.wake_fd, &one, sizeof(one))

    cdef void loop(self) noexcept nogil:
        cdef epoll_event events[64]
        cdef int count, i
        cdef bint news
        while not self.stopping:
            count = epoll_wait(self.epoll, events, 64, 0 if self.runnable() else -1)
            news = False
            pthread_mutex_lock(&self.table_mutex)
            for i in range(count):
                if events[i].data.u64 == WAKE:
                    self.accept_jobs()
                elif self.serve(&self.sockets[events[i].data.u64], events[i].events):
                    news = True
            if self.jobs_first != NULL and self.send_next():
                news = True
            pthread_mutex_unlock(&self.table_mutex)
            if news:
                self.notify()

    cdef bint runnable(self) noexcept nogil:
        """Whether a job could go on; called by the thread, which alone blocks sockets."""
        cdef job_t *job = self.jobs_first
        cdef socket_t *place
        while job != NULL:
            place = self.find(job.tag)
            if place == NULL or not place.blocked:
                return True
            job = job.next
        return False

    cdef void notify(self) noexcept nogil:
        cdef uint64_t one = 1
        cdef bint before
        pthread_mutex_lock(&self.queue_mutex)
        before = self.notified
        self.notified = True
        pthread_mutex_unlock(&self.queue_mutex)
        if not before:
            self.counters.wake_ups += 1
            write(self.notify_fd, &one, sizeof(one))

    # -- receiving ------------------------------------------------------------------------
    cdef bint serve(self, socket_t *place, uint32_t events) noexcept nogil:
        if place.fd < 0:
            return False
        if place.blocked and events & EPOLLOUT:
            place.blocked = False
            rc_watch(self.epoll, EPOLL_CTL_MOD, place.fd, place - self.sockets, 0)
        return self.receive(place)

    cdef bint receive(self, socket_t *place) noexcept nogil:
        """One receive call; whether there is news for Python."""
        cdef buffers_t *b = self.buffers
        cdef int i, count
        cdef bint news = False
        cdef uint32_t at, size, piece
        for i in range(SLOTS):
            memset(&b.messages[i], 0, sizeof(mmsghdr))
            b.messages[i].msg_hdr.msg_name = &b.sources[i]
            b.messages[i].msg_hdr.msg_namelen = sizeof(rc_address)
            b.messages[i].msg_hdr.msg_iov = &b.pieces[i]
            b.messages[i].msg_hdr.msg_iovlen = 1
            b.messages[i].msg_hdr.msg_control = &b.controls[i]
            b.messages[i].msg_hdr.msg_controllen = sizeof(rc_control)
        count = recvmmsg(place.fd, b.messages, SLOTS, MSG_DONTWAIT, NULL)
        for i in range(count):
            size = b.messages[i].msg_len
            self.counters.received_bytes += size
            if b.messages[i].msg_hdr.msg_flags & MSG_TRUNC:
                self.counters.dropped_truncated += 1
                continue
            piece = rc_piece_bytes(&b.messages[i].msg_hdr)
            if piece == 0 or piece > size:
                piece = size
            at = 0
            while True:
                if self.deliver(place.tag, &b.sources[i], b.data[i] + at, min(piece, size - at)):
                    news = True
                at += piece
                if at >= size:
                    break
        return news

    cdef bint deliver(self, int tag, rc_address *source, const uint8_t *data,
                      uint32_t size) noexcept nogil:
        cdef uint32_t magic = 0
        cdef int code
        if size >= 4:
            memcpy(&magic, data, 4)
        if magic != C_MAGIC:
            self.counters.received_control += 1
            return self.queue(tag, source, data, size)
        self.counters.received_payload += 1
        code = self.reassembly.feed_c(data, size)
        if code == DELIVER:
            return self.queue(tag, source, data, size)
        return code == COMPLETED

    cdef bint queue(self, int tag, rc_address *source, const uint8_t *data,
                    uint32_t size) noexcept nogil:
        cdef control_t *entry = NULL
        cdef bint full
        pthread_mutex_lock(&self.queue_mutex)
        full = (self.control_count >= self.control_count_max
                or self.control_bytes + size > self.control_bytes_max)
        if not full:
            entry = <control_t *>malloc(sizeof(control_t) + size)
        if entry != NULL:
            entry.next = NULL
            entry.source = source[0]
            entry.tag = tag
            entry.size = size
            memcpy(entry.data, data, size)
            self.controls_last[0] = entry
            self.controls_last = &entry.next
            self.control_count += 1
            self.control_bytes += size
        pthread_mutex_unlock(&self.queue_mutex)
        if entry == NULL:
            self.counters.dropped_queue_full += 1
        return entry != NULL

    # -- sending payload --------------------------------------------------------------------
    cdef void accept_jobs(self) noexcept nogil:
        cdef uint64_t ignored
        read(self.wake_fd, &ignored, sizeof(ignored))
        pthread_mutex_lock(&self.queue_mutex)
        if self.submitted_first != NULL:
            self.jobs_last[0] = self.submitted_first
            self.jobs_last = self.submitted_last
            self.submitted_first = NULL
            self.submitted_last = &self.submitted_first
        pthread_mutex_unlock(&self.queue_mutex)

    cdef bint send_next(self) noexcept nogil:
        """Give the first job that can go on one slice, then put it last; whether one ended."""
        cdef job_t **link = &self.jobs_first
        cdef job_t *job
        cdef socket_t *place = NULL
        while link[0] != NULL:
            job = link[0]
            place = self.find(job.tag)
            if place == NULL or not place.blocked:
                break
            link = &job.next
        job = link[0]
        if job == NULL:
            return False
        link[0] = job.next
        if self.jobs_last == &job.next:
            self.jobs_last = link
        job.next = NULL
        if place != NULL:
            self.send_slice(job, place)
        else:
            self.counters.dropped_unsent += 1
        if place != NULL and job.run < job.run_count:
            self.jobs_last[0] = job
            self.jobs_last = &job.next
            return False
        pthread_mutex_lock(&self.queue_mutex)
        self.done_last[0] = job
        self.done_last = &job.next
        pthread_mutex_unlock(&self.queue_mutex)
        return True

    cdef uint32_t segments(self, job_t *job) noexcept nogil:
        """How many datagrams the message at the cursor carries."""
        cdef uint32_t left = job.runs[2 * job.run + 1] - job.index
        cdef uint32_t fit = SEGMENTED_BYTES_MAX // (job.header.datagram_bytes + sizeof(payload_header))
        if not self.segmenting or fit < 2:
            return 1
        fit = min(fit, <uint32_t>SEGMENTS_MAX)
        return min(left, fit)

    cdef void advance(self, job_t *job) noexcept nogil:
        """Move the cursor past one message: next address, then next datagrams, then next run."""
        job.address += 1
        if job.address < job.address_count:
            return
        job.address = 0
        job.index += self.segments(job)
        if job.index >= job.runs[2 * job.run + 1]:
            job.run += 1
            if job.run < job.run_count:
                job.index = job.runs[2 * job.run]

    cdef void fill(self, job_t *job, unit_t *unit, uint32_t segments) noexcept nogil:
        cdef uint32_t i, left
        cdef payload_header *header
        for i in range(segments):
            header = &unit.headers[i]
            header[0] = job.header
            header.index = job.index + i
            left = job.header.size_bytes - header.index * job.header.datagram_bytes
            header.length = <uint16_t>min(left, <uint32_t>job.header.datagram_bytes)
            header.checksum = rc_xxh3_56(header)
            unit.pieces[2 * i].iov_base = header
            unit.pieces[2 * i].iov_len = sizeof(payload_header)
            unit.pieces[2 * i + 1].iov_base = <void *>(
                job.data + <size_t>header.index * job.header.datagram_bytes)
            unit.pieces[2 * i + 1].iov_len = header.length

    cdef void send_slice(self, job_t *job, socket_t *place) noexcept nogil:
        cdef buffers_t *b = self.buffers
        cdef job_t cursor = job[0]
        cdef int count = 0, unit = -1, sent, i
        cdef uint32_t segments = 0
        cdef msghdr *message
        while count < MESSAGES and cursor.run < cursor.run_count:
            if unit < 0 or cursor.address == 0:
                unit += 1
                segments = self.segments(&cursor)
                self.fill(&cursor, &b.units[unit], segments)
            message = &b.outgoing[count].msg_hdr
            memset(message, 0, sizeof(msghdr))
            message.msg_name = &job.addresses[cursor.address]
            message.msg_namelen = job.address_lengths[cursor.address]
            message.msg_iov = b.units[unit].pieces
            message.msg_iovlen = 2 * segments
            if segments > 1:
                rc_segment(message, &b.units[unit].control,
                           job.header.datagram_bytes + sizeof(payload_header))
            self.advance(&cursor)
            count += 1
        sent = sendmmsg(place.fd, b.outgoing, count, MSG_DONTWAIT)
        if sent < 0:
            self.send_failed(job, place, b.outgoing[0].msg_hdr.msg_iovlen)
            return
        for i in range(sent):
            self.counters.sent_payload += b.outgoing[i].msg_hdr.msg_iovlen // 2
            self.counters.sent_bytes += b.outgoing[i].msg_len
            self.advance(job)

    cdef void send_failed(self, job_t *job, socket_t *place, size_t pieces) noexcept nogil:
        if errno == EINTR:
            return
        if errno == EAGAIN or errno == ENOBUFS:
            self.counters.send_blocked += 1
            place.blocked = True
            rc_watch(self.epoll, EPOLL_CTL_MOD, place.fd, place - self.sockets, 1)
        elif (errno == EIO or errno == EINVAL) and pieces > 2:
            # No segmentation here (an old kernel, a device without checksums): one by one.
            self.segmenting = False
        else:
            # This message cannot be sent (no route, too long, filtered): lost, like any other.
            self.counters.send_errors += 1
            self.advance(job)

    def submit_payload(self, job_id, int tag, bytes transfer_id not None, sender, buffer, ranges,
                       datagram_bytes, size_bytes, addresses):
        cdef job_t *job
        cdef bint full
        check_job(transfer_id, buffer, datagram_bytes, size_bytes, addresses)
        runs = index_runs(ranges, size_bytes, datagram_bytes)
        if self.thread is None or self.epoll < 0 or self.stopping:
            raise RuntimeError("not running")
        if not runs:
            raise ValueError("no ranges")
        job = make_job(job_id, tag, transfer_id, sender, runs, datagram_bytes, size_bytes)
        try:
            self.address_job(job, addresses)
            PyObject_GetBuffer(buffer, &job.view, PyBUF_SIMPLE)
        except BaseException:
            free_job(job)
            raise
        job.data = <const uint8_t *>job.view.buf
        job.pinned_bytes = job.view.len
        pthread_mutex_lock(&self.queue_mutex)
        full = (self.job_count >= self.jobs_max
                or self.job_bytes + job.pinned_bytes > self.job_bytes_max)
        if not full:
            self.job_count += 1
            self.job_bytes += job.pinned_bytes
            self.submitted_last[0] = job
            self.submitted_last = &job.next
        pthread_mutex_unlock(&self.queue_mutex)
        if full:
            PyBuffer_Release(&job.view)
            free_job(job)
            return False
        self.wake()
        return True

    cdef int address_job(self, job_t *job, addresses) except -1:
        cdef int i
        job.address_count = len(addresses)
        job.addresses = <rc_address *>calloc(job.address_count, sizeof(rc_address))
        job.address_lengths = <socklen_t *>calloc(job.address_count, sizeof(socklen_t))
        if job.addresses == NULL or job.address_lengths == NULL:
            raise MemoryError()
        for i in range(job.address_count):
            packed = self.pack_address(addresses[i])
            job.address_lengths[i] = PyBytes_GET_SIZE(packed)
            memcpy(&job.addresses[i], PyBytes_AS_STRING(packed), PyBytes_GET_SIZE(packed))
        return 0

    # -- control --------------------------------------------------------------------------
    cdef bytes pack_address(self, address):
        """The socket address as bytes, from a bounded cache."""
        cdef rc_address parsed
        cdef socklen_t length
        cached = self.parsed.get(address)
        if cached is not None:
            return cached
        host, port = address
        name = host.encode()
        length = rc_parse(name, port, &parsed)
        if length == 0 or not 0 < port < 65536:
            raise ValueError(f"not an IP address and port: {host!r}, {port!r}")
        if len(self.parsed) >= 4096:
            self.parsed.clear()
        packed = (<char *>&parsed)[:length]
        self.parsed[address] = packed
        return packed

    cdef tuple unpack_address(self, rc_address *source):
        cdef char host[64]
        cdef int port
        key = (<char *>source)[:sizeof(rc_address)]
        cached = self.sources.get(key)
        if cached is None:
            port = rc_format(source, host)
            if len(self.sources) >= 4096:
                self.sources.clear()
            cached = self.sources[key] = (host.decode(), port)
        return cached

    def send_control(self, list datagrams not None):
        cdef Py_ssize_t first = 0, end, total = len(datagrams)
        cdef int sent_all = 0, sent
        while first < total:
            end = first + 1
            tag = datagrams[first][0]
            while end < total and end - first < SLOTS and datagrams[end][0] == tag:
                end += 1
            sent_all += self.send_batch(tag, datagrams[first:end])
            first = end
        return sent_all

    cdef int send_batch(self, int tag, list batch) except -1:
        cdef mmsghdr messages[SLOTS]
        cdef iovec pieces[SLOTS]
        cdef int count = len(batch), i, sent = 0, did
        cdef uint64_t size = 0
        cdef socket_t *place
        cdef list kept = []
        memset(messages, 0, sizeof(messages))
        for i in range(count):
            _, payload, address = batch[i]
            packed = self.pack_address(address)
            if not isinstance(payload, bytes):
                payload = bytes(payload)
            kept.append((packed, payload))
            pieces[i].iov_base = PyBytes_AS_STRING(payload)
            pieces[i].iov_len = PyBytes_GET_SIZE(payload)
            messages[i].msg_hdr.msg_name = PyBytes_AS_STRING(packed)
            messages[i].msg_hdr.msg_namelen = PyBytes_GET_SIZE(packed)
            messages[i].msg_hdr.msg_iov = &pieces[i]
            messages[i].msg_hdr.msg_iovlen = 1
        with nogil:
            place = self.find(tag)
            i = 0
            while place != NULL and i < count:
                did = sendmmsg(place.fd, &messages[i], count - i, MSG_DONTWAIT)
                if did < 0:
                    if errno == EAGAIN or errno == ENOBUFS:
                        break
                    if errno != EINTR:
                        i += 1
                    continue
                sent += did
                i += did
            for i in range(count):
                size += messages[i].msg_len
        self.caller_counters.sent_control += sent
        self.caller_counters.sent_bytes += size
        self.caller_counters.dropped_unsent += count - sent
        return sent

    def take(self):
        cdef control_t *entry
        cdef control_t *after
        cdef job_t *job
        cdef job_t *finished
        cdef uint64_t ignored, job_count = 0, job_bytes = 0
        cdef list controls = [], sent = []
        if self.notify_fd >= 0:
            read(self.notify_fd, &ignored, sizeof(ignored))
        pthread_mutex_lock(&self.queue_mutex)
        self.notified = False
        entry = self.controls_first
        self.controls_first = NULL
        self.controls_last = &self.controls_first
        self.control_count = self.control_bytes = 0
        finished = job = self.done_first
        self.done_first = NULL
        self.done_last = &self.done_first
        while job != NULL:
            self.job_count -= 1
            self.job_bytes -= job.pinned_bytes
            job = job.next
        pthread_mutex_unlock(&self.queue_mutex)
        while entry != NULL:
            after = entry.next
            controls.append((entry.tag, (<char *>entry.data)[:entry.size],
                             self.unpack_address(&entry.source)))
            free(entry)
            entry = after
        job = finished
        while job != NULL:
            sent.append(job.id)
            job = job.next
        release_jobs(finished)
        return controls, self.reassembly.take_completed(), sent

    def stats(self):
        cdef counters_t a = self.counters, b = self.caller_counters
        return {
            "received_control": a.received_control,
            "received_payload": a.received_payload,
            "received_bytes": a.received_bytes,
            "sent_control": a.sent_control + b.sent_control,
            "sent_payload": a.sent_payload,
            "sent_bytes": a.sent_bytes + b.sent_bytes,
            "send_errors": a.send_errors,
            "send_blocked": a.send_blocked,
            "wake_ups": a.wake_ups,
            "dropped_queue_full": a.dropped_queue_full,
            "dropped_truncated": a.dropped_truncated,
            "dropped_unsent": a.dropped_unsent + b.dropped_unsent,
        }


cdef job_t *make_job(job_id, int tag, bytes transfer_id, sender, list runs, datagram_bytes,
                     size_bytes) except NULL:
    cdef job_t *job = <job_t *>calloc(1, sizeof(job_t))
    cdef int i
    if job == NULL:
        raise MemoryError()
    job.runs = <uint32_t *>calloc(2 * len(runs), sizeof(uint32_t))
    if job.runs == NULL:
        free(job)
        raise MemoryError()
    job.run_count = len(runs)
    for i in range(job.run_count):
        job.runs[2 * i], job.runs[2 * i + 1] = runs[i]
    job.id = job_id
    job.tag = tag
    job.index = job.runs[0]
    job.header.magic = C_MAGIC
    job.header.version = C_VERSION
    job.header.type = C_TYPE
    memcpy(job.header.transfer_id, PyBytes_AS_STRING(transfer_id), 16)
    job.header.count = (<uint64_t>size_bytes + <uint64_t>datagram_bytes - 1) // <uint64_t>datagram_bytes
    job.header.size_bytes = size_bytes
    job.header.datagram_bytes = datagram_bytes
    job.header.sender = sender
    return job


cdef void free_job(job_t *job) noexcept:
    free(job.runs)
    free(job.addresses)
    free(job.address_lengths)
    free(job)


cdef void free_jobs(job_t *job) noexcept:
    cdef job_t *after
    while job != NULL:
        after = job.next
        free_job(job)
        job = after


cdef void release_jobs(job_t *job):
    """Unpin the buffers of a list of jobs and free it."""
    cdef job_t *after
    while job != NULL:
        after = job.next
        PyBuffer_Release(&job.view)
        free_job(job)
        job = after
