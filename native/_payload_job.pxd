"""A payload job of native/_net.pyx: what is to be sent to whom, and how far it is.

The cursor moves address by address, then message by message, then run by run; a message
carries one datagram, or as many as UDP_SEGMENT takes ("segmenting").
"""

from libc.stddef cimport size_t
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

from replicast.native._reassembly cimport payload_header, rc_xxh3_56
from replicast.native._udp cimport AddressBook, iovec, rc_address, rc_control, socklen_t

cdef enum:
    SEGMENTS_MAX = 64         # the kernel's limit for UDP_SEGMENT
    SEGMENTED_BYTES_MAX = 65000

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
    bint segmenting           # several datagrams a message
    bint refused_joined       # and a message of several was refused
    rc_address *addresses
    socklen_t *address_lengths
    const uint8_t *data
    size_t pinned_bytes
    payload_header header     # all that is alike in every datagram of the job
    Py_buffer view

ctypedef struct job_list_t:
    job_t *first
    job_t *last

ctypedef struct unit_t:
    payload_header headers[SEGMENTS_MAX]
    iovec pieces[2 * SEGMENTS_MAX]
    rc_control control


cdef inline uint32_t segments(job_t *job) noexcept nogil:
    """How many datagrams the message at the cursor carries."""
    cdef uint32_t left = job.runs[2 * job.run + 1] - job.index
    cdef uint32_t fit = SEGMENTED_BYTES_MAX // (job.header.datagram_bytes + sizeof(payload_header))
    if not job.segmenting or fit < 2:
        return 1
    fit = min(fit, <uint32_t>SEGMENTS_MAX)
    return min(left, fit)


cdef inline void advance(job_t *job) noexcept nogil:
    """Move the cursor past one message: next address, then next datagrams, then next run."""
    job.address += 1
    if job.address < job.address_count:
        return
    job.address = 0
    job.index += segments(job)
    if job.index >= job.runs[2 * job.run + 1]:
        job.run += 1
        if job.run < job.run_count:
            job.index = job.runs[2 * job.run]


cdef inline void fill(job_t *job, unit_t *unit, uint32_t count) noexcept nogil:
    cdef uint32_t i, left
    cdef payload_header *header
    for i in range(count):
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


cdef inline void push_job(job_list_t *jobs, job_t *job) noexcept nogil:
    job.next = NULL
    if jobs.first == NULL:
        jobs.first = job
    else:
        jobs.last.next = job
    jobs.last = job


cdef inline job_t *pop_job(job_list_t *jobs) noexcept nogil:
    """The first; there must be one."""
    cdef job_t *job = jobs.first
    jobs.first = job.next
    return job


cdef inline void append_jobs(job_list_t *jobs, job_list_t *more) noexcept nogil:
    """Move all of `more` to the end."""
    while more.first != NULL:
        push_job(jobs, pop_job(more))


cdef job_t *make_job(job_id, int tag, bytes transfer_id, sender, list runs, datagram_bytes,
                     size_bytes, list addresses, AddressBook book) except NULL
cdef void free_job(job_t *job) noexcept
cdef void release_jobs(job_list_t *jobs)
