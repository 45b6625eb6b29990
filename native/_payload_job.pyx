# cython: boundscheck=False, wraparound=False, cdivision=True
"""Making and freeing payload jobs; their arithmetic is inline in the .pxd."""

from cpython.buffer cimport PyBuffer_Release
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy

from replicast.native._reassembly cimport payload_header
from replicast.native._udp cimport AddressBook, rc_address, socklen_t

from replicast.transfer_header import PAYLOAD_MAGIC, PAYLOAD_TYPE, PAYLOAD_VERSION

cdef uint32_t C_MAGIC = PAYLOAD_MAGIC
cdef uint8_t C_TYPE = PAYLOAD_TYPE, C_VERSION = PAYLOAD_VERSION


cdef job_t *make_job(job_id, int tag, bytes transfer_id, sender, list runs, datagram_bytes,
                     size_bytes, list addresses, AddressBook book) except NULL:
    """A job with all but its buffer; free_job() until the buffer is there, then release_jobs()."""
    cdef job_t *job = <job_t *>calloc(1, sizeof(job_t))
    if job == NULL:
        raise MemoryError()
    try:
        job.id = job_id
        job.tag = tag
        fill_header(&job.header, transfer_id, sender, datagram_bytes, size_bytes)
        fill_runs(job, runs)
        fill_addresses(job, addresses, book)
    except BaseException:
        free_job(job)
        raise
    return job


cdef int fill_header(payload_header *header, bytes transfer_id, sender, uint32_t datagram_bytes,
                     uint32_t size_bytes) except -1:
    header.magic = C_MAGIC
    header.version = C_VERSION
    header.type = C_TYPE
    memcpy(header.transfer_id, PyBytes_AS_STRING(transfer_id), 16)
    header.count = (size_bytes + datagram_bytes - 1) // datagram_bytes
    header.size_bytes = size_bytes
    header.datagram_bytes = <uint16_t>datagram_bytes
    header.sender = sender
    return 0


cdef int fill_runs(job_t *job, list runs) except -1:
    cdef int i
    job.run_count = len(runs)
    job.runs = <uint32_t *>calloc(2 * job.run_count, sizeof(uint32_t))
    if job.runs == NULL:
        raise MemoryError()
    for i in range(job.run_count):
        job.runs[2 * i], job.runs[2 * i + 1] = runs[i]
    job.index = job.runs[0]
    return 0


cdef int fill_addresses(job_t *job, list addresses, AddressBook book) except -1:
    cdef int i
    job.address_count = len(addresses)
    job.addresses = <rc_address *>calloc(job.address_count, sizeof(rc_address))
    job.address_lengths = <socklen_t *>calloc(job.address_count, sizeof(socklen_t))
    if job.addresses == NULL or job.address_lengths == NULL:
        raise MemoryError()
    for i in range(job.address_count):
        packed = book.pack(addresses[i])
        job.address_lengths[i] = PyBytes_GET_SIZE(packed)
        memcpy(&job.addresses[i], PyBytes_AS_STRING(packed), PyBytes_GET_SIZE(packed))
    return 0


cdef void free_job(job_t *job) noexcept:
    free(job.runs)
    free(job.addresses)
    free(job.address_lengths)
    free(job)


cdef void release_jobs(job_list_t *jobs):
    """Unpin the buffers of all jobs in the list and free them."""
    cdef job_t *job
    while jobs.first != NULL:
        job = pop_job(jobs)
        PyBuffer_Release(&job.view)
        free_job(job)
