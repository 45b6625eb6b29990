# cython: boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Fast twin of replicast/transport/reassembly.py: same results, same errors.

Driven by Python (open, place, take, ...) and, without the GIL, by the network thread through
feed_joined(). One mutex guards everything; of the datagrams of one received message it is held for those
of one transfer at most: 64 KiB to copy, HASH_BYTES_MAX to hash. Where the bytes go is _page_pool.pxd's,
what of a transfer is there _transfer.pxd's. What is opened on a section of a result (_result.pyx) has no
buffer: it is received where it is wanted.
"""

cimport cython
from cpython.buffer cimport PyBuffer_FillInfo
from cpython.object cimport PyObject
from cpython.ref cimport Py_DECREF, Py_INCREF
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcmp, memcpy, memset

from replicast.native._blake3 cimport *
from replicast.native._page_pool cimport *
from replicast.native._result cimport Section
from replicast.native._transfer cimport *

from replicast.transfer_header import FLAG_MAC, HEADER_BYTES, PAYLOAD_MAGIC, PAYLOAD_TYPE, PAYLOAD_VERSION
from replicast.transport.reassembly import (
    PAGE_BYTES, TRANSFERS_MAX, FeedCode, Full, check_section, check_shape, readable,
)

cdef uint32_t C_MAGIC = PAYLOAD_MAGIC
cdef uint8_t C_TYPE = PAYLOAD_TYPE, C_VERSION = PAYLOAD_VERSION, C_FLAG_MAC = FLAG_MAC
cdef size_t C_HEADER = HEADER_BYTES
assert sizeof(payload_header) == HEADER_BYTES
assert PAGE == PAGE_BYTES
assert [int(code) for code in FeedCode] == list(range(CODES)) and FeedCode.DUPLICATE == DUPLICATE


cdef enum:
    OPENED = 0
    OPEN_ALREADY = 1
    NO_TRANSFER = 2
    NO_BUDGET = 3
    NO_MEMORY = 4


cdef inline bint is_payload(const uint8_t *datagram, uint32_t size) noexcept nogil:
    cdef uint32_t magic = 0
    if size >= sizeof(magic):
        memcpy(&magic, datagram, sizeof(magic))
    return magic == C_MAGIC


@cython.no_gc
@cython.final
cdef class PayloadBuffer:
    """A finished chunk; its pages return to the pool when the last view is gone, its section is free."""

    cdef Reassembly owner
    cdef Section section
    cdef bytes whole  # that the section lies in: it may have been given out, and dropped
    cdef uint8_t *data
    cdef uint32_t size_bytes

    def __getbuffer__(self, Py_buffer *view, int flags):
        PyBuffer_FillInfo(view, self, self.data, self.size_bytes, 1, flags)

    def __dealloc__(self):
        if self.data != NULL:
            pthread_mutex_lock(&self.owner.mutex)
            release(&self.owner.pages, self.data, self.size_bytes, self.section is None)
            pthread_mutex_unlock(&self.owner.mutex)
            if self.section is not None:
                self.section.views -= 1


cdef class Reassembly:
    """All open transfers of one process; see the definition for every method."""

    def __cinit__(self, budget_bytes, transfers_max):
        cdef int32_t i
        pthread_mutex_init(&self.mutex, NULL)
        if budget_bytes < PAGE_BYTES or not 0 < transfers_max <= TRANSFERS_MAX:
            raise ValueError(f"no room: budget {budget_bytes} bytes, {transfers_max} transfers")
        self.pages.budget_bytes = budget_bytes
        self.transfers_max = transfers_max
        self.source_fd = -1
        self.bucket_mask = (1 << (2 * transfers_max - 1).bit_length()) - 1
        self.transfers = <transfer_t *>calloc(transfers_max, sizeof(transfer_t))
        self.buckets = <int32_t *>calloc(self.bucket_mask + 1, sizeof(int32_t))
        self.ready = <int32_t *>calloc(transfers_max, sizeof(int32_t))
        if self.transfers == NULL or self.buckets == NULL or self.ready == NULL:
            raise MemoryError()
        for i in range(<int32_t>self.bucket_mask + 1):
            self.buckets[i] = -1
        for i in range(<int32_t>transfers_max):
            self.transfers[i].next = i + 1 if i + 1 < transfers_max else -1
        self.free_head = 0

    def __dealloc__(self):
        cdef uint32_t i
        pthread_mutex_destroy(&self.mutex)
        if self.transfers != NULL:
            for i in range(self.transfers_max):
                if self.transfers[i].section != NULL:
                    done_with(self.transfers[i].section)
                else:
                    free(self.transfers[i].data)
                free(self.transfers[i].bitmap)
                free(self.transfers[i].hash)
        free_spares(&self.pages)
        free(self.transfers)
        free(self.buckets)
        free(self.ready)

    @property
    def budget_bytes(self):
        return self.pages.budget_bytes

    # -- the table of transfers (mutex held) ------------------------------------------
    cdef int32_t find(self, const uint8_t *transfer_id) noexcept nogil:
        cdef int32_t place = self.buckets[bucket_of(transfer_id) & self.bucket_mask]
        while place >= 0 and memcmp(self.transfers[place].id, transfer_id, 16):
            place = self.transfers[place].next
        return place

    cdef int32_t find_bytes(self, bytes transfer_id) noexcept:
        return self.find(<const uint8_t *>transfer_id) if len(transfer_id) == 16 else -1

    cdef PyObject *forget(self, int32_t place) noexcept nogil:
        """Unlink a transfer and free its bitmap; its buffer, if still there, is given back. The
        caller has to be done_with() the section that is returned, without the mutex."""
        cdef transfer_t *t = &self.transfers[place]
        cdef PyObject *section = t.section
        cdef int32_t *link = &self.buckets[bucket_of(t.id) & self.bucket_mask]
        cdef uint32_t i
        while link[0] != place:
            link = &self.transfers[link[0]].next
        link[0] = t.next
        self.complete_count -= t.received_bytes == t.size_bytes
        if t.ready >= 0:
            self.ready_count -= 1
            for i in range(<uint32_t>t.ready, self.ready_count):
                self.ready[i] = self.ready[i + 1]
                self.transfers[self.ready[i]].ready = i
        if t.data != NULL:
            release(&self.pages, t.data, t.size_bytes, section == NULL)
        free(t.bitmap)
        free(t.hash)
        t.data = NULL
        t.bitmap = NULL
        t.hash = NULL
        t.section = NULL
        t.next = self.free_head
        self.free_head = place
        self.open_count -= 1
        return section

    cdef int placed(self, transfer_t *t) noexcept nogil:
        """Something was: PLACED, or COMPLETED once."""
        if t.received_bytes < t.size_bytes:
            return PLACED
        self.complete_count += 1
        t.ready = self.ready_count
        self.ready[self.ready_count] = t - self.transfers
        self.ready_count += 1
        return COMPLETED

    # -- datagrams --------------------------------------------------------------------
    cdef void feed_joined(self, const uint8_t *data, uint32_t size, uint32_t piece,
                          fed_t *fed) noexcept nogil:
        """Feed what is joined of datagrams of `piece` bytes, of which the last may have fewer, up to one
        that is for Python, or of another transfer."""
        cdef transfer_t *t = NULL
        cdef uint32_t length = min(piece, size)
        cdef int code
        fed.size_bytes = fed.count = 0
        fed.completed = fed.sealed = False
        fed.control = not is_payload(data, length)
        if fed.control:
            return
        pthread_mutex_lock(&self.mutex)
        while True:
            code = self.feed_locked(data + fed.size_bytes, length, &t)
            if code == OTHER_TRANSFER:
                break
            self.counts[code] += 1
            fed.count += 1
            if code == DELIVER:
                fed.sealed = True
                break
            fed.completed |= code == COMPLETED
            fed.size_bytes += length
            if fed.size_bytes == size:
                break
            length = min(piece, size - fed.size_bytes)
            fed.control = not is_payload(data + fed.size_bytes, length)
            if fed.control:
                break
        hash_on(t)
        pthread_mutex_unlock(&self.mutex)

    cdef int feed_locked(self, const uint8_t *datagram, size_t size, transfer_t **known) noexcept nogil:
        """Its FeedCode, still to be counted. `known`: the transfer of the datagrams before it, or NULL,
        then it is found; one of another is not fed."""
        cdef payload_header header
        cdef transfer_t *t = known[0]
        cdef int32_t place
        if size < C_HEADER:
            return SHORT
        memcpy(&header, datagram, sizeof(header))
        if header.magic != C_MAGIC or header.type != C_TYPE:
            return MAGIC
        if header.version != C_VERSION:
            return VERSION
        if t == NULL:
            place = self.find(header.transfer_id)
            if place < 0:
                return UNKNOWN_TRANSFER
            t = known[0] = &self.transfers[place]
        elif memcmp(t.id, header.transfer_id, 16):
            return OTHER_TRANSFER
        if header.checksum != rc_xxh3_56(&header):
            return CHECKSUM
        if ((header.flags & C_FLAG_MAC) != 0) != t.authenticated:
            return UNSEALED
        if (header.size_bytes != t.size_bytes or header.datagram_bytes != t.datagram_bytes
                or header.count != t.count or header.index >= t.count
                or header.length != length_of(t, header.index)
                or header.length != size - C_HEADER):
            return MISMATCH
        if has(t, header.index):
            return DUPLICATE
        if t.authenticated:
            return DELIVER
        memcpy(t.data + <size_t>header.index * t.datagram_bytes, datagram + C_HEADER, header.length)
        mark(t, header.index, header.length)
        return self.placed(t)

    cdef bint expects(self) noexcept nogil:
        """Is any transfer open that is not complete?"""
        cdef bint found
        pthread_mutex_lock(&self.mutex)
        found = self.open_count > self.complete_count
        pthread_mutex_unlock(&self.mutex)
        return found

    # -- for Python: nothing of Python runs while the mutex is held -----------------------
    # (a collector run or a switch of threads inside would wait for itself)
    cdef int open_locked(self, transfer_t *wanted, size_t room) noexcept nogil:
        cdef transfer_t *t
        cdef int32_t *bucket
        cdef int32_t place = self.free_head
        if self.find(wanted.id) >= 0:
            return OPEN_ALREADY
        if self.open_count >= self.transfers_max:
            return NO_TRANSFER
        if self.pages.in_use_bytes + room > self.pages.budget_bytes:
            return NO_BUDGET
        wanted.bitmap = <uint64_t *>calloc((wanted.count + 63) // 64, sizeof(uint64_t))
        if wanted.hashed:
            wanted.hash = malloc(sizeof(rc_blake3))
        if wanted.bitmap != NULL and wanted.hashed == (wanted.hash != NULL):
            if wanted.section == NULL:
                wanted.data = acquire(&self.pages, room)
            else:
                self.pages.in_use_bytes += room
        else:
            wanted.data = NULL
        if wanted.data == NULL:
            free(wanted.bitmap)
            free(wanted.hash)
            return NO_MEMORY
        if wanted.hashed:
            rc_blake3_init(<rc_blake3 *>wanted.hash)
        t = &self.transfers[place]
        self.free_head = t.next
        t[0] = wanted[0]
        bucket = &self.buckets[bucket_of(t.id) & self.bucket_mask]
        t.next = bucket[0]
        bucket[0] = place
        self.open_count += 1
        return OPENED

    def open(self, bytes transfer_id not None, size_bytes, datagram_bytes, bint authenticated=False,
             bint hashed=False, Section section=None):
        check_shape(transfer_id, size_bytes, datagram_bytes)
        check_section(section, size_bytes)
        cdef transfer_t wanted
        memset(&wanted, 0, sizeof(wanted))
        memcpy(wanted.id, <const uint8_t *>transfer_id, 16)
        wanted.size_bytes = size_bytes
        wanted.datagram_bytes = datagram_bytes
        wanted.count = -(-size_bytes // datagram_bytes)
        wanted.authenticated = authenticated
        wanted.ready = -1
        wanted.hashed = hashed
        if section is not None:
            wanted.data, wanted.section = section.data, <PyObject *>section
        pthread_mutex_lock(&self.mutex)
        cdef int outcome = self.open_locked(&wanted, rounded(wanted.size_bytes))
        cdef uint64_t in_use_bytes = self.pages.in_use_bytes
        pthread_mutex_unlock(&self.mutex)
        if outcome == OPEN_ALREADY:
            raise KeyError(transfer_id)
        if outcome == NO_TRANSFER:
            raise Full(f"{self.transfers_max} transfers are open")
        if outcome == NO_BUDGET:
            raise Full(f"{in_use_bytes} of {self.pages.budget_bytes} bytes are in use")
        if outcome == NO_MEMORY:
            raise MemoryError()
        if section is not None:
            Py_INCREF(section)
            section.lend()

    def feed(self, datagram not None):
        cdef const uint8_t[::1] view
        cdef const uint8_t *data = NULL
        cdef size_t size = len(datagram)
        cdef transfer_t *t = NULL
        if size:
            view = datagram
            data = &view[0]
        pthread_mutex_lock(&self.mutex)
        cdef int code = self.feed_locked(data, size, &t)
        self.counts[code] += 1
        hash_on(t)
        pthread_mutex_unlock(&self.mutex)
        return code

    cdef int place_locked(self, transfer_t *t, uint64_t offset, const uint8_t *data,
                          uint64_t end) noexcept nogil:
        cdef uint32_t before = t.received_bytes
        put(t, offset, data, end)
        if t.received_bytes == before:
            return DUPLICATE
        hash_on(t)
        return self.placed(t)

    def place(self, bytes transfer_id not None, offset, data not None):
        cdef const uint8_t[::1] view
        cdef const uint8_t *bytes_in = NULL
        cdef uint64_t size = len(data), start = 0, size_bytes = 0
        cdef bint inside = 0 <= offset <= 0xFFFFFFFF
        cdef int code = DUPLICATE
        if inside:
            start = offset
        if size:
            view = data
            bytes_in = &view[0]
        pthread_mutex_lock(&self.mutex)
        cdef int32_t at = self.find_bytes(transfer_id)
        if at >= 0:
            size_bytes = self.transfers[at].size_bytes
            inside = inside and start + size <= size_bytes
            if inside:
                code = self.place_locked(&self.transfers[at], start, bytes_in, start + size)
        pthread_mutex_unlock(&self.mutex)
        if at < 0:
            raise KeyError(transfer_id)
        if not inside:
            raise ValueError(f"bytes {offset}-{offset + size} of {size_bytes}")
        return FeedCode(code)

    def unread(self):
        return readable(self.source_fd)

    def progress(self, bytes transfer_id not None):
        cdef uint32_t received_bytes = 0, size_bytes = 0
        pthread_mutex_lock(&self.mutex)
        cdef int32_t at = self.find_bytes(transfer_id)
        if at >= 0:
            received_bytes = self.transfers[at].received_bytes
            size_bytes = self.transfers[at].size_bytes
        pthread_mutex_unlock(&self.mutex)
        if at < 0:
            raise KeyError(transfer_id)
        return received_bytes, size_bytes

    def gaps(self, bytes transfer_id not None, limit):
        cdef long room = max(0, min(limit, 1 << 16))
        cdef uint32_t *found = <uint32_t *>malloc((2 * room + 1) * sizeof(uint32_t))
        cdef long count = 0, i
        if found == NULL:
            raise MemoryError()
        pthread_mutex_lock(&self.mutex)
        cdef int32_t at = self.find_bytes(transfer_id)
        if at >= 0:
            count = gaps_of(&self.transfers[at], found, room)
        pthread_mutex_unlock(&self.mutex)
        try:
            if at < 0:
                raise KeyError(transfer_id)
            return [(found[2 * i], found[2 * i + 1]) for i in range(count)]
        finally:
            free(found)

    def digest(self, bytes transfer_id not None):
        cdef uint8_t found[BLAKE3_CV_BYTES]
        cdef transfer_t *t
        cdef const uint8_t *wanted = <const uint8_t *>transfer_id
        cdef int32_t at = -1
        cdef bint complete = False, hashed = False, well_formed = len(transfer_id) == 16
        with nogil:
            pthread_mutex_lock(&self.mutex)
            if well_formed:
                at = self.find(wanted)
            if at >= 0:
                t = &self.transfers[at]
                complete, hashed = t.received_bytes == t.size_bytes, t.hashed
                if complete and hashed:
                    hash_all(t, found)
            pthread_mutex_unlock(&self.mutex)
        if at < 0:
            raise KeyError(transfer_id)
        if not complete:
            raise ValueError("transfer is not complete")
        return found[:BLAKE3_CV_BYTES] if hashed else None

    def take(self, bytes transfer_id not None):
        cdef PayloadBuffer buffer = PayloadBuffer.__new__(PayloadBuffer)
        cdef transfer_t *t
        cdef PyObject *section = NULL
        cdef bint complete = False
        buffer.owner = self
        pthread_mutex_lock(&self.mutex)
        cdef int32_t at = self.find_bytes(transfer_id)
        if at >= 0:
            t = &self.transfers[at]
            complete = t.received_bytes == t.size_bytes
            if complete:
                buffer.data = t.data
                buffer.size_bytes = t.size_bytes
                t.data = NULL
                section = self.forget(at)
        pthread_mutex_unlock(&self.mutex)
        if at < 0:
            raise KeyError(transfer_id)
        if not complete:
            raise ValueError("transfer is not complete")
        if section != NULL:
            buffer.section = <Section>section
            buffer.whole = buffer.section.result.whole
            buffer.section.views += 1
            done_with(section)
        return memoryview(buffer)

    def close(self, bytes transfer_id not None):
        cdef PyObject *section = NULL
        pthread_mutex_lock(&self.mutex)
        cdef int32_t at = self.find_bytes(transfer_id)
        if at >= 0:
            section = self.forget(at)
        pthread_mutex_unlock(&self.mutex)
        if section != NULL:
            done_with(section)

    def take_completed(self):
        cdef uint32_t i, count
        cdef uint8_t *ids = <uint8_t *>malloc(16 * <size_t>self.transfers_max)
        if ids == NULL:
            raise MemoryError()
        pthread_mutex_lock(&self.mutex)
        count = self.ready_count
        for i in range(count):
            memcpy(ids + 16 * i, self.transfers[self.ready[i]].id, 16)
            self.transfers[self.ready[i]].ready = -1
        self.ready_count = 0
        pthread_mutex_unlock(&self.mutex)
        try:
            return [(<char *>ids + 16 * i)[:16] for i in range(count)]
        finally:
            free(ids)

    def stats(self):
        cdef uint64_t counts[CODES]
        pthread_mutex_lock(&self.mutex)
        cdef uint64_t in_use_bytes = self.pages.in_use_bytes
        cdef uint32_t transfers = self.open_count
        memcpy(counts, self.counts, sizeof(counts))
        pthread_mutex_unlock(&self.mutex)
        found = {"in_use_bytes": in_use_bytes, "transfers": transfers}
        for code in FeedCode:
            found[code.name.lower()] = counts[<int>code]
        return found


cdef void done_with(PyObject *section) noexcept:
    """No transfer writes to it any more."""
    (<Section>section).give_back()
    Py_DECREF(<Section>section)
