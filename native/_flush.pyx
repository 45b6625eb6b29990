# cython: boundscheck=False, wraparound=False
"""Fast twin of target/store/flush_pure.py, which defines it: same bytes, same errors.

It knows the records of usual flushes; a flush with others, or with what does not fit its field, goes
to the definition as a whole. xxh3 stays with its library.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.memoryview cimport PyMemoryView_FromMemory
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset

from xxhash import xxh3_64_intdigest

from replicast.target.store import flush_pure
from replicast.target.store.record import Chunk, ChunkDrop, Header, Hold, RowEntry, RowStaged
from replicast.target.store.segment import PackedFlush, Placed

cdef extern from "Python.h":
    enum:
        PyBUF_READ

# As in segment.py and record.py; machines are little-endian, as everywhere in native.
cdef packed struct FlushLayout:
    uint8_t magic[4]
    uint16_t version
    uint16_t zero
    uint8_t tag[8]
    uint64_t incarnation
    uint64_t flush_number
    uint64_t complete_through
    uint64_t sequence
    uint64_t open_count
    uint64_t size_bytes
    uint32_t record_count
    uint32_t meta_bytes
    uint64_t meta_checksum
    uint64_t digest
    uint64_t padding

cdef packed struct RecordLayout:
    uint8_t kind
    uint8_t algorithm
    uint8_t chid_bytes
    uint8_t zero
    uint32_t size
    uint64_t sequence
    uint64_t a
    uint64_t b
    uint64_t c
    uint64_t checksum
    uint64_t reserved
    uint64_t digest

cdef enum:
    FLUSH_HEADER_BYTES = 96  # sizeof(FlushLayout)
    FLUSH_DIGESTED_BYTES = 80
    HEADER_BYTES = 64  # sizeof(RecordLayout)
    HEADER_DIGESTED_BYTES = 56
    BLOCK_BYTES = 4096
    ALIGN_ABOVE_BYTES = 32768
    FORMAT_VERSION = 1
    CHUNK = 1
    HOLD = 2
    ROW_ENTRY = 4

cdef uint64_t HEADER_SALT = 0x52435245434F5244
cdef uint64_t FLUSH_SALT = 0x464C555348000000
cdef uint64_t META_SALT = 0x4D45544100000000


class _Unusual(Exception):
    """For the definition."""


# So does what does not fit its field, or is of no type that a record can have.
FOR_THE_DEFINITION = (
    _Unusual, OverflowError, TypeError, ValueError, AttributeError, BufferError
)


cdef inline uint64_t padded(uint64_t size) noexcept:
    return (size + 7) & ~<uint64_t>7


cdef inline uint64_t to_block(uint64_t size) noexcept:
    return (size + BLOCK_BYTES - 1) & ~<uint64_t>(BLOCK_BYTES - 1)


cdef bytes exactly_bytes(object value):
    if type(value) is not bytes:
        raise _Unusual
    return <bytes>value


cdef bytes inline_of(object record):
    """What lies behind the header of a usual record."""
    kind = type(record)
    if kind is RowEntry:
        return exactly_bytes(record.data)
    if kind is Chunk or kind is Hold:
        return exactly_bytes(record.chid)
    raise _Unusual


cdef object digest(const void *data, Py_ssize_t size, uint64_t seed):
    return xxh3_64_intdigest(PyMemoryView_FromMemory(<char *>data, size, PyBUF_READ), seed)


cdef object lay_header(
    uint8_t *at, int kind, object algorithm, object size, uint64_t sequence, object a, object b,
    object c, object checksum, bytes inline, uint64_t seed,
):
    """Header, inline bytes and padding; the Header."""
    cdef RecordLayout *header = <RecordLayout *>at
    cdef Py_ssize_t inline_bytes = PyBytes_GET_SIZE(inline)
    cdef Py_ssize_t chid_bytes = 0 if kind == ROW_ENTRY else inline_bytes
    cdef uint8_t digested[HEADER_DIGESTED_BYTES + 256]
    if chid_bytes > 255:
        raise _Unusual
    header.kind = kind
    header.algorithm = algorithm
    header.chid_bytes = <uint8_t>chid_bytes
    header.zero = 0
    header.size = size
    header.sequence = sequence
    header.a = a
    header.b = b
    header.c = c
    header.checksum = checksum
    header.reserved = 0
    memcpy(digested, at, HEADER_DIGESTED_BYTES)
    memcpy(digested + HEADER_DIGESTED_BYTES, PyBytes_AS_STRING(inline), chid_bytes)
    header.digest = digest(digested, HEADER_DIGESTED_BYTES + chid_bytes, seed ^ HEADER_SALT)
    memcpy(at + HEADER_BYTES, PyBytes_AS_STRING(inline), inline_bytes)
    memset(at + HEADER_BYTES + inline_bytes, 0, padded(inline_bytes) - inline_bytes)
    return tuple.__new__(Header, (kind, algorithm, size, sequence, a, b, c, checksum, inline))


cdef object pack_usual(object records, object position, object identity):
    cdef uint64_t offset = position.offset, sequence = position.sequence, seed = identity.seed
    cdef uint64_t flush_number = position.flush_number, meta_bytes = FLUSH_HEADER_BYTES
    cdef uint64_t cursor, start, at = FLUSH_HEADER_BYTES, size, payload_bytes
    cdef bytes inline, head
    cdef uint8_t *data
    cdef FlushLayout *flush
    cdef bint rows_only = True
    cdef list placed = [], payloads = []
    for record in records:
        meta_bytes += HEADER_BYTES + padded(PyBytes_GET_SIZE(inline_of(record)))
        rows_only = rows_only and type(record) is not Chunk
    if meta_bytes >> 31 or flush_number == 0 or offset >> 60 or sequence >> 60:
        raise _Unusual
    head = PyBytes_FromStringAndSize(NULL, to_block(meta_bytes) if rows_only else meta_bytes)
    data = <uint8_t *>PyBytes_AS_STRING(head)
    incarnation = position.incarnation
    cursor = offset + meta_bytes
    for record in records:
        inline = inline_of(record)
        kind = type(record)
        if kind is RowEntry:
            header = lay_header(
                data + at, ROW_ENTRY, 0, PyBytes_GET_SIZE(inline), sequence, record.row,
                record.epoch, record.index, xxh3_64_intdigest(inline, seed), inline, seed,
            )
        elif kind is Hold:
            header = lay_header(
                data + at, HOLD, 0, 0, sequence, record.until_ns, 0, 0, 0, inline, seed
            )
        else:
            payload = record.payload
            payload_bytes = len(payload)
            start = to_block(cursor) if payload_bytes >= ALIGN_ABOVE_BYTES else padded(cursor)
            if start > cursor:
                payloads.append(bytes(start - cursor))
            payloads.append(memoryview(payload).cast("B") if payload_bytes else b"")
            cursor = start + payload_bytes
            header = lay_header(
                data + at, CHUNK, record.algorithm, payload_bytes, sequence, record.hold_until_ns,
                start, 0, 0, inline, seed,
            )
        placed.append(tuple.__new__(Placed, (header, incarnation, offset + at)))
        at += HEADER_BYTES + padded(PyBytes_GET_SIZE(inline))
        sequence += 1
    size = to_block(cursor - offset)
    flush = <FlushLayout *>data
    memset(data, 0, FLUSH_HEADER_BYTES)
    memcpy(flush.magic, b"RCFL", 4)
    flush.version = FORMAT_VERSION
    inline = exactly_bytes(identity.vdev_id)
    if PyBytes_GET_SIZE(inline) < 8:
        raise _Unusual
    memcpy(flush.tag, PyBytes_AS_STRING(inline), 8)
    flush.incarnation = incarnation
    flush.flush_number = flush_number
    flush.complete_through = flush_number - 1
    flush.sequence = position.sequence
    flush.open_count = identity.open_count
    flush.size_bytes = size
    flush.record_count = <uint32_t>len(placed)
    flush.meta_bytes = <uint32_t>meta_bytes
    flush.meta_checksum = digest(
        data + FLUSH_HEADER_BYTES, meta_bytes - FLUSH_HEADER_BYTES, seed ^ META_SALT
    )
    flush.digest = digest(data, FLUSH_DIGESTED_BYTES, seed ^ FLUSH_SALT)
    if rows_only:
        memset(data + meta_bytes, 0, to_block(meta_bytes) - meta_bytes)
    else:
        payloads.append(bytes(offset + size - cursor))
    return tuple.__new__(PackedFlush, ([head, *payloads], size, placed))


def pack_flush(records, position, identity):
    """Lay `records` out as one flush at `position`; payloads are referred to, not copied."""
    try:
        return pack_usual(records, position, identity)
    except FOR_THE_DEFINITION:
        return flush_pure.pack_flush(records, position, identity)


def flush_bytes(records):
    """An upper bound of what `records` take in a flush."""
    cdef uint64_t size = FLUSH_HEADER_BYTES + BLOCK_BYTES, payload_bytes
    for record in records:
        kind = type(record)
        if kind is RowEntry or kind is RowStaged:
            size += HEADER_BYTES + padded(len(record.data))
        elif kind is Chunk:
            payload_bytes = len(record.payload)
            size += HEADER_BYTES + padded(len(record.chid)) + payload_bytes
            size += BLOCK_BYTES if payload_bytes >= ALIGN_ABOVE_BYTES else 8
        elif kind is Hold or kind is ChunkDrop:
            size += HEADER_BYTES + padded(len(record.chid))
        else:
            return flush_pure.flush_bytes(records)
    return to_block(size)
