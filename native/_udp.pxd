"""What of Linux's UDP native/_net.pyx uses: many datagrams per call, GSO, GRO, epoll."""

from libc.stdint cimport uint16_t, uint32_t, uint64_t


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
    #include <time.h>
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
    static inline uint64_t rc_now_ms(void) {
        struct timespec now;
        clock_gettime(CLOCK_MONOTONIC, &now);
        return (uint64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
    }
    static inline int rc_watch(int epoll, int operation, int fd, uint64_t key, int writable) {
        struct epoll_event event;
        event.events = EPOLLIN | (writable ? EPOLLOUT : 0);
        event.data.u64 = key;
        return epoll_ctl(epoll, operation, fd, &event);
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
    uint64_t rc_now_ms() noexcept nogil
    int rc_watch(int epoll, int operation, int fd, uint64_t key, int writable) noexcept nogil


cdef class AddressBook:
    cdef dict packed, read

    cdef bytes pack(self, address)
    cdef tuple unpack(self, rc_address *source)


cdef enum:
    BATCH_MAX = 32

cdef int send_batch(int fd, list batch, AddressBook book, uint64_t *sent_bytes) except -1
