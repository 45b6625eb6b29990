# cython: boundscheck=False, wraparound=False
"""Twin of replicast/wire/codec_pure.py: same results, same errors.

Each class's PLAN is compiled once into a Program: its fields, and where they stand in its
objects. Decoded messages are made without __init__ (the classes are plain dataclasses with
slots, which schema.py makes sure of), and their slots are read and written in place.
"""

from cpython.bytes cimport PyBytes_FromStringAndSize
from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.mem cimport PyMem_Free, PyMem_Malloc
from cpython.object cimport PyObject, PyTypeObject
from cpython.ref cimport Py_INCREF, Py_XDECREF
from cpython.tuple cimport PyTuple_New, PyTuple_SET_ITEM
from libc.stdint cimport int64_t, uint8_t, uint64_t
from libc.string cimport memcpy

from replicast.wire.codec_pure import WireError
from replicast.wire.schema import MESSAGES, Kind

cdef extern from "Python.h":
    object PyUnicode_DecodeUTF8(const char *data, Py_ssize_t size, const char *errors)
    const char *PyUnicode_AsUTF8AndSize(object text, Py_ssize_t *size) except NULL
    unsigned long long PyLong_AsUnsignedLongLong(object value) except? -1
    long long PyLong_AsLongLong(object value) except? -1
    PyObject *new_bytes "PyBytes_FromStringAndSize"(const char *data, Py_ssize_t size) except NULL
    int _PyBytes_Resize(PyObject **made, Py_ssize_t size) except -1
    char *PyBytes_AS_STRING(PyObject *made)
    PyTypeObject *Py_TYPE(object value)

cdef extern from "structmember.h":
    int T_OBJECT_EX
    ctypedef struct PyMemberDef:
        int type
        Py_ssize_t offset
    ctypedef struct PyMemberDescrObject:
        PyMemberDef *d_member
    PyTypeObject PyMemberDescr_Type

cdef enum:
    SHORT_BYTES = 640  # usual bodies are shorter, with what stands before them

cdef enum:
    UINT, INT, FLAG, FIXED, HASH, BYTES, TEXT, STRUCT, LIST

CODES = {
    "uint": UINT, "int": INT, "flag": FLAG, "fixed": FIXED, "hash": HASH,
    "bytes": BYTES, "text": TEXT, "struct": STRUCT, "list": LIST,
}


cdef class Field:
    """One compiled field kind; `program` for structs, `item` for lists."""

    cdef int code
    cdef Py_ssize_t size
    cdef Program program
    cdef Field item


cdef class Program:
    """One compiled class: its fields in order, their names, and the offsets of their slots."""

    cdef object cls
    cdef list names
    cdef list fields
    cdef Py_ssize_t *offsets
    cdef Py_ssize_t count

    def __dealloc__(self):
        PyMem_Free(self.offsets)


cdef struct Buffer:
    uint8_t *data
    size_t used
    size_t room
    PyObject *made  # bytes, in which the body grows once it is not short any more; or NULL


cdef tuple NOTHING = ()
cdef dict programs_by_class = {}
cdef dict programs_by_number = {}


cdef Field compile_field(object kind):
    cdef Field made = Field.__new__(Field)
    if not isinstance(kind, Kind):  # a Struct class as an item
        made.code = STRUCT
        made.program = program_of(kind)
        return made
    made.code = CODES[kind.code]
    made.size = kind.size
    if made.code == STRUCT:
        made.program = program_of(kind.item)
    elif made.code == LIST:
        made.item = compile_field(kind.item)
    elif made.code <= INT and not 1 <= made.size <= 8:
        raise TypeError(f"integer of {kind.size} bytes")
    return made


cdef Py_ssize_t slot_offset(object cls, object name) except -1:
    """Where objects of a class with slots have this field."""
    cdef PyMemberDef *member
    found = getattr(cls, name, None)
    if Py_TYPE(found) != &PyMemberDescr_Type:
        raise TypeError(f"{cls.__name__}.{name} has no slot")
    member = (<PyMemberDescrObject *>found).d_member
    assert member.type == T_OBJECT_EX
    return member.offset


cdef inline PyObject **slot(object value, Py_ssize_t offset) noexcept:
    return <PyObject **>(<char *><PyObject *>value + offset)


cdef Program program_of(object cls):
    found = programs_by_class.get(cls)
    if found is not None:
        return <Program>found
    cdef Program made = Program.__new__(Program)
    cdef Py_ssize_t index
    made.cls = cls
    made.names = [name for name, _ in cls.PLAN]
    made.fields = [compile_field(kind) for _, kind in cls.PLAN]
    made.count = len(made.names)
    made.offsets = <Py_ssize_t *>PyMem_Malloc(max(1, made.count) * sizeof(Py_ssize_t))
    if made.offsets == NULL:
        raise MemoryError
    for index in range(made.count):
        made.offsets[index] = slot_offset(cls, made.names[index])
    programs_by_class[cls] = made
    return made


# -- encoding ---------------------------------------------------------------------


def encode(message):
    """The canonical body of `message`. Raises WireError("range") for a value that does not fit."""
    cdef PyObject *made = encode_behind(message, 0)
    try:
        return <object>made
    finally:
        Py_XDECREF(made)


cdef PyObject *encode_behind(object message, Py_ssize_t head_bytes) except NULL:
    """The body as bytes of which the first `head_bytes`, at most a few hundred, are yet to be written.
    The caller has their only reference: until somebody else sees them they may be changed."""
    cdef Buffer out
    cdef uint8_t short[SHORT_BYTES]
    out.used = head_bytes
    out.room = SHORT_BYTES
    out.data = short
    out.made = NULL
    try:
        encode_struct(program_of(type(message)), message, &out)
        if out.made == NULL:
            return new_bytes(<char *>out.data, out.used)
        _PyBytes_Resize(&out.made, out.used)
    except:
        Py_XDECREF(out.made)
        raise
    return out.made


cdef int reserve(Buffer *out, size_t more) except -1:
    """A long field is nearly all of its body: what is about as long as that is not doubled for it."""
    cdef size_t room = 2 * out.used + more + SHORT_BYTES
    if out.used + more <= out.room:
        return 0
    if out.made == NULL:
        out.made = new_bytes(NULL, room)
        memcpy(PyBytes_AS_STRING(out.made), out.data, out.used)
    else:
        _PyBytes_Resize(&out.made, room)
    out.data = <uint8_t *>PyBytes_AS_STRING(out.made)
    out.room = room
    return 0


cdef int put_number(Buffer *out, uint64_t number, Py_ssize_t size) except -1:
    """Little-endian, as machines are."""
    reserve(out, size)
    memcpy(out.data + out.used, &number, size)
    out.used += size
    return 0


cdef int put_octets(Buffer *out, const void *data, Py_ssize_t size) except -1:
    reserve(out, size)
    memcpy(out.data + out.used, data, size)
    out.used += size
    return 0


cdef int encode_struct(Program program, object value, Buffer *out) except -1:
    """`value` is of the class itself."""
    cdef Py_ssize_t index
    cdef PyObject *item
    for index in range(program.count):
        item = slot(value, program.offsets[index])[0]
        if item == NULL:
            raise AttributeError(program.names[index])
        encode_field(<Field>program.fields[index], <object>item, out)
    return 0


cdef int encode_field(Field field, object value, Buffer *out) except -1:
    if field.code == UINT or field.code == INT:
        return encode_integer(field, value, out)
    if field.code == FLAG:
        return put_number(out, 1 if value else 0, 1)
    if field.code == STRUCT:
        if type(value) is not field.program.cls:
            raise TypeError(f"{field.program.cls.__name__} is required")
        return encode_struct(field.program, value, out)
    if field.code == LIST:
        return encode_list(field, value, out)
    if field.code == TEXT:
        return encode_text(field, value, out)
    return encode_octets(field, value, out)


cdef int encode_integer(Field field, object value, Buffer *out) except -1:
    cdef uint64_t bits
    cdef int64_t number
    cdef int spare = 64 - 8 * <int>field.size
    if not isinstance(value, int):
        raise TypeError("an integer is required")
    try:
        if field.code == UINT:
            bits = PyLong_AsUnsignedLongLong(value)
            if spare and bits >> (8 * field.size):
                raise WireError("range")
        else:
            number = PyLong_AsLongLong(value)
            if spare and (number >> (8 * field.size - 1)) not in (0, -1):
                raise WireError("range")
            bits = <uint64_t>number
    except OverflowError:
        raise WireError("range") from None
    return put_number(out, bits, field.size)


cdef int encode_list(Field field, object value, Buffer *out) except -1:
    cdef Py_ssize_t count = len(value)
    if count > field.size:
        raise WireError("range")
    put_number(out, count, 2)
    for item in value:
        encode_field(field.item, item, out)
    return 0


cdef int encode_text(Field field, object value, Buffer *out) except -1:
    cdef Py_ssize_t size
    cdef const char *data
    if not isinstance(value, str):
        raise TypeError("a string is required")
    try:
        data = PyUnicode_AsUTF8AndSize(value, &size)
    except UnicodeEncodeError:
        raise WireError("range") from None
    if size > field.size:
        raise WireError("range")
    put_number(out, size, 4)
    return put_octets(out, data, size)


cdef int encode_octets(Field field, object value, Buffer *out) except -1:
    cdef Py_buffer view
    PyObject_GetBuffer(value, &view, PyBUF_SIMPLE)
    try:
        if view.len > field.size or (field.code == FIXED and view.len < field.size):
            raise WireError("range")
        if field.code == HASH:
            if view.len == 0:
                raise WireError("range")
            put_number(out, view.len, 1)
        elif field.code == BYTES:
            put_number(out, view.len, 4)
        return put_octets(out, view.buf, view.len)
    finally:
        PyBuffer_Release(&view)


# -- decoding ---------------------------------------------------------------------


cdef struct Cursor:
    const uint8_t *data
    Py_ssize_t at
    Py_ssize_t end
    Py_ssize_t behind  # bytes in the pieces that come after this one
    PyObject *pieces   # a list of bytes, each of which begins with `head_bytes` that do not count
    Py_ssize_t next, head_bytes
    uint8_t joined[8]  # a number that two pieces share


def decode(int number, body, Py_ssize_t start=0):
    """The message `number` in `body`; raises WireError (unknown_type, truncated, trailing, range)."""
    cdef Py_buffer view
    cdef Cursor cursor
    if start < 0:
        raise ValueError("a body does not begin before its buffer")
    program = program_of_number(number)
    PyObject_GetBuffer(body, &view, PyBUF_SIMPLE)
    try:
        cursor.data = <const uint8_t *>view.buf
        cursor.at = start
        cursor.end = view.len
        cursor.behind = 0
        return decode_whole(program, &cursor)
    finally:
        PyBuffer_Release(&view)


def decode_pieces(int number, list pieces not None, Py_ssize_t head_bytes):
    """decode() of a body in pieces, each behind `head_bytes` of something else; nothing is joined."""
    cdef Cursor cursor
    cursor.data = NULL
    cursor.at = cursor.end = cursor.behind = cursor.next = 0
    cursor.pieces, cursor.head_bytes = <PyObject *>pieces, head_bytes
    for piece in pieces:
        if not 0 <= head_bytes <= len(<bytes?>piece):
            raise ValueError("a piece does not begin behind its end")
        cursor.behind += len(<bytes>piece) - head_bytes
    return decode_whole(program_of_number(number), &cursor)


cdef Program program_of_number(int number):
    found = programs_by_number.get(number)
    if found is None:
        cls = MESSAGES.get(number)
        if cls is None:
            raise WireError("unknown_type")
        found = programs_by_number[number] = program_of(cls)
    return <Program>found


cdef object decode_whole(Program program, Cursor *cursor):
    value = decode_struct(program, cursor)
    if left(cursor):
        raise WireError("trailing")
    return value


cdef inline Py_ssize_t left(Cursor *cursor) noexcept:
    return cursor.end - cursor.at + cursor.behind


cdef void gather(Cursor *cursor, uint8_t *out, Py_ssize_t size) noexcept:
    """`size` bytes, of which so many are left, out of one piece after the other."""
    cdef Py_ssize_t part
    while True:
        part = min(size, cursor.end - cursor.at)
        if part:
            memcpy(out, cursor.data + cursor.at, part)
        cursor.at += part
        out += part
        size -= part
        if size == 0:
            return
        piece = <bytes>(<list>cursor.pieces)[cursor.next]
        cursor.data = <const uint8_t *>PyBytes_AS_STRING(<PyObject *>piece) + cursor.head_bytes
        cursor.next += 1
        cursor.at, cursor.end = 0, len(piece) - cursor.head_bytes
        cursor.behind -= cursor.end


cdef const uint8_t *take(Cursor *cursor, Py_ssize_t size) except NULL:
    """Of a number, so at most 8 bytes."""
    cdef const uint8_t *start = cursor.data + cursor.at
    if size > cursor.end - cursor.at:
        if size > left(cursor):
            raise WireError("truncated")
        gather(cursor, cursor.joined, size)
        return cursor.joined
    cursor.at += size
    return start


cdef uint64_t take_number(Cursor *cursor, Py_ssize_t size) except? 0xFFFFFFFFFFFFFFFF:
    cdef uint64_t number = 0
    memcpy(&number, take(cursor, size), size)
    return number


cdef object decode_struct(Program program, Cursor *cursor):
    cdef Py_ssize_t index
    cls = program.cls
    value = (<PyTypeObject *>cls).tp_new(cls, <PyObject *>NOTHING, NULL)
    for index in range(program.count):
        item = decode_field(<Field>program.fields[index], cursor)
        Py_INCREF(item)
        slot(value, program.offsets[index])[0] = <PyObject *>item
    return value


cdef object decode_field(Field field, Cursor *cursor):
    cdef uint64_t number
    cdef int spare
    if field.code == UINT:
        return take_number(cursor, field.size)
    if field.code == INT:
        spare = 64 - 8 * <int>field.size
        number = take_number(cursor, field.size)
        return <int64_t>(number << spare) >> spare
    if field.code == FLAG:
        number = take_number(cursor, 1)
        if number > 1:
            raise WireError("range")
        return number == 1
    if field.code == STRUCT:
        return decode_struct(field.program, cursor)
    if field.code == LIST:
        return decode_list(field, cursor)
    return decode_octets(field, cursor)


cdef object decode_octets(Field field, Cursor *cursor):
    cdef Py_ssize_t size = field.size
    cdef const uint8_t *data
    if field.code != FIXED:
        size = <Py_ssize_t>take_number(cursor, 1 if field.code == HASH else 4)
        if size > field.size or (field.code == HASH and size == 0):
            raise WireError("range")
    if size > cursor.end - cursor.at:
        if size > left(cursor):
            raise WireError("truncated")
        value = PyBytes_FromStringAndSize(NULL, size)
        data = <const uint8_t *>PyBytes_AS_STRING(<PyObject *>value)
        gather(cursor, <uint8_t *>data, size)
        if field.code != TEXT:
            return value
    else:
        data = cursor.data + cursor.at
        cursor.at += size
    if field.code != TEXT:
        return PyBytes_FromStringAndSize(<const char *>data, size)
    try:
        return PyUnicode_DecodeUTF8(<const char *>data, size, "strict")
    except UnicodeDecodeError:
        raise WireError("range") from None


cdef object decode_list(Field field, Cursor *cursor):
    cdef Py_ssize_t index
    cdef Py_ssize_t count = <Py_ssize_t>take_number(cursor, 2)
    if count > field.size:
        raise WireError("range")
    if count > left(cursor):
        # Every item has at least one byte: the pure twin finds the same end item by item, but
        # may meet a bad item first, so the items are gone through without room being made.
        return skip_list(field, cursor, count)
    items = PyTuple_New(count)
    for index in range(count):
        item = decode_field(field.item, cursor)
        Py_INCREF(item)
        PyTuple_SET_ITEM(items, index, item)
    return items


cdef object skip_list(Field field, Cursor *cursor, Py_ssize_t count):
    cdef Py_ssize_t index
    for index in range(count):
        decode_field(field.item, cursor)
    raise WireError("truncated")
