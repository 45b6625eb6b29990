"""Payload jobs on their way from Python to the thread and back, bounded in count and bytes. The caller
holds the lock."""

from libc.stdint cimport uint64_t

from replicast.native._payload_job cimport append_jobs, job_list_t, job_t

ctypedef struct job_queue_t:
    job_list_t submitted, done
    uint64_t count, count_max
    uint64_t pinned_bytes, bytes_max


cdef inline bint admit_job(job_queue_t *queue, job_t *job) noexcept nogil:
    """False when it does not fit."""
    if (queue.count >= queue.count_max
            or queue.pinned_bytes + job.pinned_bytes > queue.bytes_max):
        return False
    queue.count += 1
    queue.pinned_bytes += job.pinned_bytes
    return True


cdef inline job_list_t take_done(job_queue_t *queue) noexcept nogil:
    """Those that ended; there is room for as many others."""
    cdef job_list_t finished = [NULL, NULL]
    cdef job_t *job
    append_jobs(&finished, &queue.done)
    job = finished.first
    while job != NULL:
        queue.count -= 1
        queue.pinned_bytes -= job.pinned_bytes
        job = job.next
    return finished
