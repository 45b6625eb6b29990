"""Room for the datagrams of one receive call, single ones or several joined by UDP_GRO."""

from libc.stdint cimport uint8_t
from libc.string cimport memset

from replicast.native._udp cimport MSG_DONTWAIT, iovec, mmsghdr, rc_address, rc_control, recvmmsg

cdef enum:
    SLOTS = 8                 # datagrams (or joined ones) per receive call; few stay in the cache
    SLOT_BYTES = 65536

ctypedef struct slots_t:
    uint8_t data[SLOTS][SLOT_BYTES]
    rc_address sources[SLOTS]
    rc_control controls[SLOTS]
    iovec pieces[SLOTS]
    mmsghdr messages[SLOTS]


cdef inline int receive_slots(int fd, slots_t *slots) noexcept nogil:
    """What waits there, at most SLOTS; how many, -1 for none."""
    cdef int i
    for i in range(SLOTS):
        slots.pieces[i].iov_base = slots.data[i]
        slots.pieces[i].iov_len = SLOT_BYTES
        memset(&slots.messages[i], 0, sizeof(mmsghdr))
        slots.messages[i].msg_hdr.msg_name = &slots.sources[i]
        slots.messages[i].msg_hdr.msg_namelen = sizeof(rc_address)
        slots.messages[i].msg_hdr.msg_iov = &slots.pieces[i]
        slots.messages[i].msg_hdr.msg_iovlen = 1
        slots.messages[i].msg_hdr.msg_control = &slots.controls[i]
        slots.messages[i].msg_hdr.msg_controllen = sizeof(rc_control)
    return recvmmsg(fd, slots.messages, SLOTS, MSG_DONTWAIT, NULL)
