# cython: cdivision=True
"""Sending a payload job slice by slice, several datagrams per message by UDP_SEGMENT where the kernel
has it. What refuses a message of several is found out job by job: the job goes on datagram by datagram,
and only when the kernel takes one of these is segmentation given up for good. The caller holds the lock
of the sockets."""

from libc.errno cimport EAGAIN, EINTR, EINVAL, EIO, EMSGSIZE, ENOBUFS, errno
from libc.stdint cimport uint32_t
from libc.string cimport memset

from replicast.native._net_counters cimport counters_t
from replicast.native._payload_job cimport advance, fill, job_t, segments, unit_t
from replicast.native._reassembly cimport payload_header
from replicast.native._socket_table cimport await_room, socket_t, socket_table_t
from replicast.native._udp cimport MSG_DONTWAIT, mmsghdr, msghdr, rc_segment, sendmmsg

cdef enum:
    MESSAGES = 12             # per send call, and so per slice

ctypedef struct slice_t:
    unit_t units[MESSAGES]
    mmsghdr messages[MESSAGES]
    bint segmenting           # UDP_SEGMENT was not refused so far


cdef inline void send_failed(job_t *job, socket_table_t *sockets, socket_t *place, uint32_t pieces,
                             counters_t *counters) noexcept nogil:
    if errno == EINTR:
        return
    if errno == EAGAIN or errno == ENOBUFS:
        counters.send_blocked += 1
        await_room(sockets, place, True)
    elif (errno == EIO or errno == EINVAL) and pieces > 1:
        # Segmentation is not possible here (the device, the socket), or, with older kernels,
        # the path has become too narrow: the next datagram, sent alone, will show which.
        job.segmenting, job.refused_joined = False, True
    elif errno == EMSGSIZE and pieces > 1:
        job.segmenting = False  # other receivers of the job may have a wider path
    elif errno == EMSGSIZE:
        counters.send_too_long += 1
        job.refused_joined = False
        advance(job)
    else:
        # This message cannot be sent (no route, filtered): lost, like any other.
        counters.send_errors += 1
        advance(job)


cdef inline void send_slice(slice_t *b, job_t *job, socket_table_t *sockets, socket_t *place,
                            counters_t *counters) noexcept nogil:
    """As much of the job as one call takes."""
    cdef job_t cursor = job[0]
    cdef int count = 0, unit = -1, sent, i
    cdef uint32_t pieces = 0
    cdef msghdr *message
    while count < MESSAGES and cursor.run < cursor.run_count:
        if unit < 0 or cursor.address == 0:
            unit += 1
            pieces = segments(&cursor)
            fill(&cursor, &b.units[unit], pieces)
        message = &b.messages[count].msg_hdr
        memset(message, 0, sizeof(msghdr))
        message.msg_name = &job.addresses[cursor.address]
        message.msg_namelen = job.address_lengths[cursor.address]
        message.msg_iov = b.units[unit].pieces
        message.msg_iovlen = 2 * pieces
        if pieces > 1:
            rc_segment(message, &b.units[unit].control,
                       job.header.datagram_bytes + sizeof(payload_header))
        advance(&cursor)
        count += 1
    sent = sendmmsg(place.fd, b.messages, count, MSG_DONTWAIT)
    if sent < 0:
        send_failed(job, sockets, place, b.messages[0].msg_hdr.msg_iovlen // 2, counters)
        return
    for i in range(sent):
        pieces = b.messages[i].msg_hdr.msg_iovlen // 2
        counters.sent_payload += pieces
        counters.sent_joined += pieces if pieces > 1 else 0
        counters.sent_bytes += b.messages[i].msg_len
        advance(job)
    if job.refused_joined:
        b.segmenting = False
