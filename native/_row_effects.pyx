# cython: boundscheck=False, wraparound=False
"""Fast twin of target/names/effects_pure.py, which defines it: same keys and values, same errors.

What does not fit its field, or is of another type than a decoder makes, goes to the definition as a whole.
The summary of a version is laid out once and copied into both values that hold it.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.long cimport PyLong_CheckExact
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset

from replicast.target.names import effects_pure
from replicast.wire.name_messages import (
    DELETE_MARKER,
    ETAG_BYTES_MAX,
    OBJECT,
    VersionId,
)
from replicast.wire.row_messages import MARK_DELETED, PUT
from replicast.wire.schema import HASH_BYTES_MAX

cdef extern from "Python.h":
    const char *PyUnicode_AsUTF8AndSize(object text, Py_ssize_t *size) except NULL

cdef enum:
    META_BYTES = 12  # row u32, ff x 8
    OPERATION_ID_BYTES = 16
    SUFFIX_BYTES = 20
    ETAG_MAX = 128
    HASH_MAX = 64
    # As name_messages.VersionSummary: two versions, kind, null, size, etag, operation, hash, chunks.
    SUMMARY_MAX = 20 + 20 + 1 + 1 + 8 + 4 + ETAG_MAX + OPERATION_ID_BYTES + 1 + HASH_MAX + 2
    KIND_PUT = 1
    KIND_MARK_DELETED = 2
    SUMMARY_OBJECT = 1
    SUMMARY_DELETE_MARKER = 2

assert (ETAG_BYTES_MAX, HASH_BYTES_MAX) == (ETAG_MAX, HASH_MAX)
assert (PUT, MARK_DELETED) == (KIND_PUT, KIND_MARK_DELETED)
assert (OBJECT, DELETE_MARKER) == (SUMMARY_OBJECT, SUMMARY_DELETE_MARKER)


class _Unusual(Exception):
    """For the definition."""


# So does what does not fit its field, or is of no type that an operation can have.
FOR_THE_DEFINITION = (_Unusual, OverflowError, TypeError, ValueError, AttributeError)


cdef uint64_t number(object value) except? 0xFFFFFFFFFFFFFFFF:
    if not PyLong_CheckExact(value):
        raise _Unusual
    return value


cdef uint64_t time_of(object value) except? 0xFFFFFFFFFFFFFFFF:
    """An i64 of ours, none of which is below 0."""
    cdef uint64_t found = number(value)
    if found >> 63:
        raise _Unusual
    return found


cdef uint64_t up_to(object value, uint64_t most) except? 0xFFFFFFFFFFFFFFFF:
    cdef uint64_t found = number(value)
    if found > most:
        raise _Unusual
    return found


cdef inline uint8_t *put_big(uint8_t *at, uint64_t value, int size) noexcept:
    cdef int i
    for i in range(size):
        at[i] = <uint8_t>(value >> (8 * (size - 1 - i)))
    return at + size


cdef inline uint8_t *put(uint8_t *at, uint64_t value, int size) noexcept:
    """Little-endian, as machines are."""
    memcpy(at, &value, size)
    return at + size


cdef inline uint8_t *copy(uint8_t *at, const void *data, Py_ssize_t size) noexcept:
    memcpy(at, data, size)
    return at + size


cdef struct Version:
    uint64_t time_ns
    uint64_t segment_id
    uint64_t sequence


cdef int read_version(Version *made, object value) except -1:
    if type(value) is not VersionId:
        raise _Unusual
    made.time_ns = time_of(value.time_ns)
    made.segment_id = number(value.segment_id)
    made.sequence = up_to(value.sequence, 0xFFFFFFFF)
    return 0


cdef inline uint8_t *put_version(uint8_t *at, const Version *version) noexcept:
    return put(put(put(at, version.time_ns, 8), version.segment_id, 8), version.sequence, 4)


cdef Py_ssize_t lay_summary(uint8_t *start, const Version *version, object operation) except -1:
    """The encoded summary of what an operation is about; its size."""
    cdef Version replaces
    cdef Py_ssize_t etag_bytes, hash_bytes, short_chunks
    cdef const char *etag
    cdef uint8_t *at
    cdef bytes body_hash
    etag_of, hash_of, short_of = operation.etag, operation.body_hash, operation.short_of_copies
    if type(etag_of) is not str or type(hash_of) is not bytes or type(short_of) is not tuple:
        raise _Unusual
    etag = PyUnicode_AsUTF8AndSize(etag_of, &etag_bytes)
    body_hash = <bytes>hash_of
    hash_bytes = PyBytes_GET_SIZE(body_hash)
    short_chunks = len(<tuple>short_of)
    if etag_bytes > ETAG_MAX or not 1 <= hash_bytes <= HASH_MAX or short_chunks > 0xFFFF:
        raise _Unusual
    read_version(&replaces, operation.replaces)
    at = put_version(put_version(start, version), &replaces)
    marks = number(operation.kind) == KIND_MARK_DELETED
    at = put(at, SUMMARY_DELETE_MARKER if marks else SUMMARY_OBJECT, 1)
    at = put(at, 1 if operation.null else 0, 1)
    at = put(at, number(operation.logical_size), 8)
    at = copy(put(at, etag_bytes, 4), etag, etag_bytes)
    at = copy(at, PyBytes_AS_STRING(operation_id_of(operation)), OPERATION_ID_BYTES)
    at = copy(put(at, hash_bytes, 1), PyBytes_AS_STRING(body_hash), hash_bytes)
    return put(at, short_chunks, 2) - start


cdef bytes operation_id_of(object operation):
    value = operation.operation_id
    if type(value) is not bytes or PyBytes_GET_SIZE(value) != OPERATION_ID_BYTES:
        raise _Unusual
    return <bytes>value


cdef inline bytes room(Py_ssize_t size):
    return PyBytes_FromStringAndSize(NULL, size)


cdef inline uint8_t *start_of(bytes made) noexcept:
    return <uint8_t *>PyBytes_AS_STRING(made)


cdef inline uint8_t *put_meta(uint8_t *at, uint64_t row, int letter) noexcept:
    at = put_big(at, row, 4)
    memset(at, 0xFF, 8)
    at[8] = letter
    return at + 9


cdef bytes lay_prefix(object row, object incarnation, object name, Py_ssize_t behind):
    """A name's prefix, and room behind it."""
    cdef Py_ssize_t size
    cdef const char *text
    cdef uint8_t *at
    cdef bytes made
    if type(name) is not str:
        raise _Unusual
    text = PyUnicode_AsUTF8AndSize(name, &size)
    made = room(META_BYTES + size + 1 + behind)
    at = put_big(start_of(made), up_to(row, 0xFFFFFFFF), 4)
    at = copy(put_big(at, number(incarnation), 8), text, size)
    at[0] = 0
    return made


def name_prefix(row, incarnation, name):
    """Start of the keys of all versions of one name."""
    try:
        return lay_prefix(row, incarnation, name, 0)
    except FOR_THE_DEFINITION:
        return effects_pure.name_prefix(row, incarnation, name)


cdef list usual_effects(object row_number, object position, object operation):
    cdef uint8_t summary[SUMMARY_MAX]
    cdef uint8_t *at
    cdef Version version
    cdef uint64_t row = up_to(row_number, 0xFFFFFFFF), index = number(position.index)
    cdef uint64_t time_ns = time_of(operation.time_ns), kind = number(operation.kind)
    cdef Py_ssize_t summary_bytes
    cdef bytes key, value, operation_id = operation_id_of(operation)
    cdef list made = []
    read_version(&version, operation.version)
    summary_bytes = lay_summary(summary, &version, operation)
    if kind == KIND_PUT or kind == KIND_MARK_DELETED:
        key = lay_prefix(row_number, operation.bucket_incarnation, operation.name, SUFFIX_BYTES)
        at = start_of(key) + PyBytes_GET_SIZE(key) - SUFFIX_BYTES
        at = put_big(at, ~version.time_ns, 8)
        at = put_big(at, ~version.segment_id, 8)
        put_big(at, ~version.sequence, 4)
        value = room(16 + summary_bytes)
        copy(put(put(start_of(value), index, 8), 0, 8), summary, summary_bytes)
        made.append((key, value))
    key = room(META_BYTES + 1 + OPERATION_ID_BYTES)
    copy(put_meta(start_of(key), row, c"R"), start_of(operation_id), OPERATION_ID_BYTES)
    value = room(9 + summary_bytes)
    at = put(put(start_of(value), time_ns, 8), up_to(operation.reason, 0xFF), 1)
    copy(at, summary, summary_bytes)
    made.append((key, value))
    key = room(META_BYTES + 1 + 8 + OPERATION_ID_BYTES)
    at = put_big(put_meta(start_of(key), row, c"E"), time_ns, 8)
    copy(at, start_of(operation_id), OPERATION_ID_BYTES)
    value = room(8)
    put_big(start_of(value), index, 8)
    made.append((key, value))
    key = room(META_BYTES + 1)
    put_meta(start_of(key), row, c"A")
    value = room(32)
    at = put(put(start_of(value), time_ns, 8), number(position.epoch), 8)
    put(put(at, number(position.tenure), 8), index, 8)
    made.append((key, value))
    return made


def entry_effects(row, position, operation):
    """What applying an entry puts, whatever is there already."""
    try:
        return usual_effects(row, position, operation)
    except FOR_THE_DEFINITION:
        return effects_pure.entry_effects(row, position, operation)
