"""Sending a batch of datagrams; IP addresses between Python's (host, port) and the kernel's."""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.errno cimport EAGAIN, EINTR, ENOBUFS, errno
from libc.stdint cimport uint64_t
from libc.string cimport memset

from replicast.native._udp cimport *

cdef int CACHED_MAX = 4096


cdef class AddressBook:
    """Addresses seen, in a bounded cache both ways; for one thread."""

    def __cinit__(self):
        self.packed, self.read = {}, {}

    cdef bytes pack(self, address):
        """The socket address as bytes, from a bounded cache."""
        cdef rc_address parsed
        cdef socklen_t length
        cached = self.packed.get(address)
        if cached is not None:
            return cached
        host, port = address
        name = host.encode()
        length = rc_parse(name, port, &parsed) if 0 < port < 65536 else 0
        if length == 0:
            raise ValueError(f"not an IP address and port: {host!r}, {port!r}")
        if len(self.packed) >= CACHED_MAX:
            self.packed.clear()
        packed = (<char *>&parsed)[:length]
        self.packed[address] = packed
        return packed

    cdef tuple unpack(self, rc_address *source):
        cdef char host[64]
        cdef int port
        key = (<char *>source)[:sizeof(rc_address)]
        cached = self.read.get(key)
        if cached is None:
            port = rc_format(source, host)
            if len(self.read) >= CACHED_MAX:
                self.read.clear()
            cached = self.read[key] = (host.decode(), port)
        return cached


cdef int send_batch(int fd, list batch, AddressBook book, uint64_t *sent_bytes) except -1:
    """Send up to BATCH_MAX (tag, datagram, address) now; how many the kernel took.

    An address that is none (a table may hold any text) costs its own datagram only.
    """
    cdef mmsghdr messages[BATCH_MAX]
    cdef iovec pieces[BATCH_MAX]
    cdef int count, i, sent = 0, did
    cdef list kept = []
    memset(messages, 0, sizeof(messages))
    for _, payload, address in batch:
        try:
            kept.append((book.pack(address), bytes(payload)))
        except ValueError:
            continue
    count = len(kept)
    for i in range(count):
        packed, payload = kept[i]
        pieces[i].iov_base = PyBytes_AS_STRING(payload)
        pieces[i].iov_len = PyBytes_GET_SIZE(payload)
        messages[i].msg_hdr.msg_name = PyBytes_AS_STRING(packed)
        messages[i].msg_hdr.msg_namelen = PyBytes_GET_SIZE(packed)
        messages[i].msg_hdr.msg_iov = &pieces[i]
        messages[i].msg_hdr.msg_iovlen = 1
    with nogil:
        i = 0
        while i < count:
            did = sendmmsg(fd, &messages[i], count - i, MSG_DONTWAIT)
            if did < 0 and errno == EINTR:
                continue
            if did < 0 and (errno == EAGAIN or errno == ENOBUFS):
                break
            if did < 0:
                i += 1  # this one cannot be sent at all
                continue
            sent += did
            i += did
        for i in range(count):
            sent_bytes[0] += messages[i].msg_len
    return sent
