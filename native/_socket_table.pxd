"""The sockets of a NetThread, in an epoll of their own, and which other watches that: the thread's, while
payload moves, or else the one that its owner waits for. So all change hands by two calls, and by multicast there
are twenty. The caller holds the lock."""

from libc.errno cimport errno

from replicast.native._udp cimport EPOLL_CTL_ADD, EPOLL_CTL_DEL, EPOLL_CTL_MOD, rc_watch

cdef enum:
    SOCKETS_MAX = 256
    WAKE = 0xFFFFFFFF         # what the thread's and the owner's epoll watch: their eventfd,
    SOCKETS = 0xFFFFFFFE      # and all sockets

ctypedef struct socket_t:
    int fd                    # -1: free place
    int tag
    bint blocked              # EAGAIN: waiting for EPOLLOUT

ctypedef struct socket_table_t:
    socket_t places[SOCKETS_MAX]
    int own_epoll, thread_epoll, owner_epoll
    bint lent                 # to the thread


cdef inline int watcher(socket_table_t *table) noexcept nogil:
    return table.thread_epoll if table.lent else table.owner_epoll


cdef inline socket_t *find_socket(socket_table_t *table, int tag) noexcept nogil:
    cdef int i
    for i in range(SOCKETS_MAX):
        if table.places[i].fd >= 0 and table.places[i].tag == tag:
            return &table.places[i]
    return NULL


cdef inline int put_socket(socket_table_t *table, int fd, int tag) noexcept nogil:
    """0, or why it cannot be watched: errno; -1: no place is free, -2: the tag is taken."""
    cdef int i, place = -1
    for i in range(SOCKETS_MAX):
        if table.places[i].fd < 0:
            place = i if place < 0 else place
        elif table.places[i].tag == tag:
            return -2
    if place < 0:
        return -1
    if rc_watch(table.own_epoll, EPOLL_CTL_ADD, fd, place, 0) != 0:
        return errno
    table.places[place].fd, table.places[place].tag = fd, tag
    table.places[place].blocked = False
    return 0


cdef inline bint drop_socket(socket_table_t *table, int tag) noexcept nogil:
    cdef socket_t *place = find_socket(table, tag)
    if place == NULL:
        return False
    rc_watch(table.own_epoll, EPOLL_CTL_DEL, place.fd, 0, 0)
    place.fd = -1
    return True


cdef inline void await_room(socket_table_t *table, socket_t *place, bint blocked) noexcept nogil:
    """Whether it is watched for being writable, too; only the thread sends what may have to wait."""
    place.blocked = blocked
    rc_watch(table.own_epoll, EPOLL_CTL_MOD, place.fd, place - table.places, blocked)


cdef inline void lend_sockets(socket_table_t *table, bint lent) noexcept nogil:
    """To the thread, or back to its owner, whichever of them has them now."""
    if table.lent == lent:
        return
    rc_watch(watcher(table), EPOLL_CTL_DEL, table.own_epoll, 0, 0)
    table.lent = lent
    rc_watch(watcher(table), EPOLL_CTL_ADD, table.own_epoll, SOCKETS, 0)
