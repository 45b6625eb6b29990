# cython: boundscheck=False, wraparound=False, initializedcheck=False
"""Fast twin of replicast/gateway/s3/md5_pure.py, which defines it: same results, same errors.

Messages that have whole blocks of 64 bytes ahead go in step, each in a lane of vectors (_md5.h); a lane
takes the next message as soon as its own has none left. What is left of a block waits for more.
"""

cimport cython
from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, memset

cdef extern from "_md5.h" nogil:
    enum: MD5_LANES_MAX
    ctypedef uint32_t md5_lanes_state[4][MD5_LANES_MAX]
    ctypedef void (*Kernel "md5_kernel *")(
        md5_lanes_state, const uint8_t *const *, const size_t *, size_t
    ) noexcept
    void md5_one(uint32_t *state, const uint8_t *data, size_t count) noexcept
    int md5_widest(int lanes_max, Kernel *kernel) noexcept

cdef enum:
    BLOCK_BYTES = 64
    LOCKED_BYTES_MAX = 2048  # more is worth giving up the interpreter's lock, as in hashlib

cdef struct Message:
    uint32_t state[4]
    uint64_t size_bytes
    uint8_t rest[BLOCK_BYTES]  # the size_bytes % 64 that no block has taken
    Py_buffer *piece  # what is to be hashed, in order
    Py_buffer *end
    size_t at  # in the first piece

cdef Kernel KERNEL = NULL
cdef int LANES = md5_widest(MD5_LANES_MAX, &KERNEL)
cdef uint8_t NOTHING[BLOCK_BYTES]
memset(NOTHING, 0, BLOCK_BYTES)


def lanes():
    """How many messages go in step here; 1: one after the other."""
    return LANES


def use_lanes(lanes_max):
    """Have so many or less, of those that this processor has: for tests and measurements."""
    global KERNEL, LANES
    LANES = md5_widest(lanes_max, &KERNEL)


cdef size_t blocks_ahead(Message *message, const uint8_t **data) noexcept nogil:
    """Whole blocks that lie together in memory, taken from the pieces; 0: all pieces are used up.
    A block of bytes of more than one piece is hashed on the way."""
    cdef size_t rest, taken, left
    while message.piece < message.end:
        left = message.piece.len - message.at
        data[0] = <const uint8_t *>message.piece.buf + message.at
        rest = message.size_bytes % BLOCK_BYTES
        if rest == 0 and left >= BLOCK_BYTES:
            taken = left - left % BLOCK_BYTES
            message.at += taken
            message.size_bytes += taken
            return taken // BLOCK_BYTES
        taken = min(left, BLOCK_BYTES - rest)
        if taken:
            memcpy(message.rest + rest, data[0], taken)
        message.at += taken
        message.size_bytes += taken
        if rest + taken == BLOCK_BYTES:
            md5_one(message.state, message.rest, 1)
        if taken == left:
            message.piece += 1
            message.at = 0
    return 0


cdef void hash_alone(Message *message) noexcept nogil:
    cdef const uint8_t *data
    cdef size_t count = blocks_ahead(message, &data)
    while count:
        md5_one(message.state, data, count)
        count = blocks_ahead(message, &data)


cdef void hash_all(Message *messages, size_t message_count, Kernel kernel, int lanes) noexcept nogil:
    cdef Message *taken[MD5_LANES_MAX]
    cdef const uint8_t *data[MD5_LANES_MAX]
    cdef size_t left[MD5_LANES_MAX]
    cdef size_t steps[MD5_LANES_MAX]
    cdef md5_lanes_state state
    cdef Message *end = messages + message_count
    cdef size_t count
    cdef int lane, i, busy = 0, last = 0
    memset(taken, 0, sizeof(taken))
    memset(left, 0, sizeof(left))
    memset(state, 0, sizeof(state))
    while True:
        for lane in range(lanes):  # what is used up gives its lane to the next
            while left[lane] == 0:
                if taken[lane] == NULL:
                    if messages == end:
                        data[lane] = NOTHING
                        steps[lane] = 0
                        break
                    taken[lane] = messages
                    messages += 1
                    busy += 1
                else:
                    for i in range(4):
                        taken[lane].state[i] = state[i][lane]
                left[lane] = blocks_ahead(taken[lane], &data[lane])
                if left[lane]:
                    steps[lane] = BLOCK_BYTES
                    for i in range(4):
                        state[i][lane] = taken[lane].state[i]
                else:
                    taken[lane] = NULL
                    busy -= 1
            if left[lane]:
                last = lane
        if busy < 2:
            break
        count = 0
        for lane in range(lanes):
            if left[lane] and (count == 0 or left[lane] < count):
                count = left[lane]
        kernel(state, data, steps, count)
        for lane in range(lanes):
            if left[lane]:
                left[lane] -= count
                data[lane] += count * BLOCK_BYTES
    if busy:  # one alone is faster without vectors
        for i in range(4):
            taken[last].state[i] = state[i][last]
        md5_one(taken[last].state, data[last], left[last])
        hash_alone(taken[last])


@cython.final
cdef class Md5:
    """As hashlib.md5: one message. Its pieces are hashed one at a time, in whatever thread."""

    cdef Message message
    cdef bint busy

    def __cinit__(self):
        self.message.state[0] = 0x67452301
        self.message.state[1] = 0xEFCDAB89
        self.message.state[2] = 0x98BADCFE
        self.message.state[3] = 0x10325476

    def update(self, piece, /):
        """More of the message."""
        update_together(((self, (piece,)),))

    def digest(self):
        """Of what came so far."""
        cdef Message closed = self.message
        cdef size_t rest = closed.size_bytes % BLOCK_BYTES
        cdef uint8_t digest[16]
        cdef int i
        if self.busy:
            raise ValueError("a message is hashed at the moment")
        closed.rest[rest] = 0x80
        memset(closed.rest + rest + 1, 0, BLOCK_BYTES - rest - 1)
        if rest >= BLOCK_BYTES - 8:
            md5_one(closed.state, closed.rest, 1)
            memset(closed.rest, 0, BLOCK_BYTES)
        for i in range(8):
            closed.rest[BLOCK_BYTES - 8 + i] = (8 * closed.size_bytes) >> (8 * i) & 255
        md5_one(closed.state, closed.rest, 1)
        for i in range(16):
            digest[i] = closed.state[i // 4] >> (8 * (i % 4)) & 255
        return digest[:16]


def update_together(work):
    """More of several messages, [(message, pieces)]; where it raises, nothing was hashed."""
    cdef list messages = []
    cdef list pieces = []
    cdef list counts = []
    cdef Md5 each
    for message, its_pieces in work:
        if not isinstance(message, Md5):
            raise TypeError("a message is an Md5")
        messages.append(message)
        before = len(pieces)
        pieces.extend(its_pieces)
        counts.append(len(pieces) - before)
    cdef size_t message_count = len(messages), piece_count = len(pieces)
    cdef size_t i, first = 0, held = 0, taken = 0, size_bytes = 0
    cdef Message *all_messages = <Message *>calloc(message_count + 1, sizeof(Message))
    cdef Py_buffer *views = <Py_buffer *>calloc(piece_count + 1, sizeof(Py_buffer))
    cdef Kernel kernel = KERNEL
    cdef int lane_count = LANES
    try:
        if all_messages == NULL or views == NULL:
            raise MemoryError
        for i in range(piece_count):
            PyObject_GetBuffer(pieces[i], &views[i], PyBUF_SIMPLE)
            held += 1
            size_bytes += views[i].len
        for i in range(message_count):
            each = messages[i]
            if each.busy:
                raise ValueError("a message is hashed at the moment")
            each.busy = True
            taken += 1
            all_messages[i] = each.message
            all_messages[i].piece = views + first
            first += <size_t>counts[i]
            all_messages[i].end = views + first
            all_messages[i].at = 0
        if size_bytes <= LOCKED_BYTES_MAX:
            run(all_messages, message_count, kernel, lane_count)
        else:
            with nogil:
                run(all_messages, message_count, kernel, lane_count)
        for i in range(message_count):
            each = messages[i]
            each.message = all_messages[i]
    finally:
        for i in range(taken):
            each = messages[i]
            each.busy = False
        for i in range(held):
            PyBuffer_Release(&views[i])
        free(views)
        free(all_messages)


cdef void run(Message *messages, size_t count, Kernel kernel, int lanes) noexcept nogil:
    cdef size_t i
    if lanes > 1 and count > 1:
        hash_all(messages, count, kernel, lanes)
    else:
        for i in range(count):
            hash_alone(messages + i)
