# cython: boundscheck=False, wraparound=False
"""Twin of flexhash/raft/codec_pure.py: same bytes, same values, same errors."""

from libc.stdint cimport int64_t, uint8_t, uint32_t
from libc.string cimport memcpy

from replicast.flexhash.raft.codec_pure import DEPTH_MAX, CodecError

cdef extern from "Python.h":
    object PyUnicode_DecodeUTF8(const char *data, Py_ssize_t size, const char *errors)
    long long PyLong_AsLongLongAndOverflow(object value, int *overflow) except? -1
    int PyByteArray_Resize(object array, Py_ssize_t size) except -1
    char *PyByteArray_AS_STRING(object array)

cdef int DEPTH = DEPTH_MAX
TRUNCATED = "truncated or malformed"


cdef class Out:
    """Bytes being written; grows by doubling."""

    cdef bytearray data
    cdef Py_ssize_t used, room

    def __cinit__(self):
        self.room = 256
        self.data = bytearray(self.room)

    cdef int put(self, const void *what, Py_ssize_t size) except -1:
        if self.used + size > self.room:
            self.room = 2 * self.room + size
            PyByteArray_Resize(self.data, self.room)
        memcpy(PyByteArray_AS_STRING(self.data) + self.used, what, size)
        self.used += size
        return 0

    cdef int put_tag(self, char tag) except -1:
        return self.put(&tag, 1)

    cdef int put_count(self, char tag, Py_ssize_t count) except -1:
        cdef uint8_t head[5]
        if count > 0xFFFFFFFF:
            raise OverflowError("more than 32 bits can count")
        head[0] = tag
        put_u32(head + 1, <uint32_t>count)
        return self.put(head, 5)

    cdef int put_int(self, object value) except -1:
        cdef uint8_t head[9]
        cdef int overflow = 0, at
        cdef unsigned long long number
        number = <unsigned long long>PyLong_AsLongLongAndOverflow(value, &overflow)
        if overflow:
            raise CodecError("integer beyond 64 bits")
        head[0] = b"i"
        for at in range(8):
            head[1 + at] = (number >> (8 * at)) & 0xFF
        return self.put(head, 9)


def dumps(value, protocol=None):
    """The bytes of `value`. `protocol` is pickle's argument and means nothing here."""
    cdef Out out = Out()
    encode(value, out, 0)
    return PyByteArray_AS_STRING(out.data)[:out.used]


def loads(data):
    """The value in `data`, all of it; raises CodecError."""
    cdef bytes raw = bytes(data)
    cdef Py_ssize_t at = 0
    value = decode(raw, len(raw), &at, 0)
    if at != len(raw):
        raise CodecError("bytes left over")
    return value


cdef int encode(object value, Out out, int depth) except -1:
    if depth > DEPTH:
        raise CodecError("nested too deep")
    kind = type(value)
    if value is None:
        out.put_tag(b"N")
    elif kind is bool:
        out.put_tag(b"T" if value else b"F")
    elif kind is int:
        out.put_int(value)
    elif kind is bytes:
        out.put_count(b"b", len(<bytes>value))
        out.put(<const char *><bytes>value, len(<bytes>value))
    elif kind is str:
        text = (<str>value).encode("utf-8")
        out.put_count(b"s", len(<bytes>text))
        out.put(<const char *><bytes>text, len(<bytes>text))
    elif kind is tuple:
        out.put_count(b"t", len(<tuple>value))
        for item in <tuple>value:
            encode(item, out, depth + 1)
    elif kind is list:
        out.put_count(b"l", len(<list>value))
        for item in <list>value:
            encode(item, out, depth + 1)
    elif kind is dict:
        out.put_count(b"d", len(<dict>value))
        for key, item in (<dict>value).items():
            encode(key, out, depth + 1)
            encode(item, out, depth + 1)
    else:
        raise CodecError(f"no bytes for {kind.__name__}")
    return 0


cdef object decode(bytes raw, Py_ssize_t size, Py_ssize_t *place, int depth):
    """The value at `place`, which moves behind it."""
    cdef const uint8_t *data = <const uint8_t *><const char *>raw
    cdef Py_ssize_t at = place[0] + 1, count
    cdef uint8_t tag
    if depth > DEPTH:
        raise CodecError("nested too deep")
    tag = data[at - 1] if at <= size else 0
    if tag == b"N" or tag == b"T" or tag == b"F":
        place[0] = at
        return None if tag == b"N" else tag == b"T"
    if tag == b"i":
        if size - at < 8:
            raise CodecError(TRUNCATED)
        place[0] = at + 8
        return get_int(data + at)
    if size - at < 4:
        raise CodecError(TRUNCATED)
    count = get_u32(data + at)
    at += 4
    if count > size - at:  # every item takes at least one byte
        raise CodecError("longer than its bytes")
    place[0] = at
    if tag == b"b" or tag == b"s":
        place[0] = at + count
        if tag == b"b":
            return raw[at : at + count]
        return decode_text(data + at, count)
    if tag == b"l" or tag == b"t":
        items = decode_items(raw, size, place, depth, count)
        return tuple(items) if tag == b"t" else items
    if tag == b"d":
        return pair(decode_items(raw, size, place, depth, 2 * count))
    raise CodecError("unknown tag")


cdef list decode_items(bytes raw, Py_ssize_t size, Py_ssize_t *place, int depth, Py_ssize_t count):
    cdef list items = []
    while count > 0:
        items.append(decode(raw, size, place, depth + 1))
        count -= 1
    return items


cdef dict pair(list items):
    """Keys and values in turn, as a dictionary."""
    cdef dict made = {}
    cdef Py_ssize_t at
    try:
        for at in range(0, len(items), 2):
            made[items[at]] = items[at + 1]
    except TypeError:
        raise CodecError(TRUNCATED) from None
    return made


cdef object decode_text(const uint8_t *data, Py_ssize_t size):
    try:
        return PyUnicode_DecodeUTF8(<const char *>data, size, NULL)
    except UnicodeDecodeError:
        raise CodecError(TRUNCATED) from None


cdef void put_u32(uint8_t *to, uint32_t number):
    cdef int at
    for at in range(4):
        to[at] = (number >> (8 * at)) & 0xFF


cdef Py_ssize_t get_u32(const uint8_t *data):
    return data[0] | data[1] << 8 | data[2] << 16 | <Py_ssize_t>data[3] << 24


cdef object get_int(const uint8_t *data):
    cdef unsigned long long number = 0
    cdef int at
    for at in range(8):
        number |= <unsigned long long>data[at] << (8 * at)
    return <int64_t>number
