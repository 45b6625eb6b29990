"""The index of a VDEV as keys of its overlay, and how a record changes it.

    c chid              where the chunk lies
    h chid              end of its newest hold, in cluster time
    r row index         where the row's log entry lies (row and index big-endian: scans are in order)
    i row index         the same for an entry that is staged: of a log that is being made anew
    s row               the row's base: where its log begins
    v ...               views, owned by the name rows
    m name              facts of the store itself: position, vdev

apply_all() is the only writer, for a flush that was synced and for one found by recovery.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from replicast.frozen import frozen
from replicast.target.store.overlay import Change, Overlay
from replicast.target.store.record import Header, Kind, unpack_cut
from replicast.target.store.segment import Placed

POSITION = b"mposition"
VDEV = b"mvdev"
DAMAGE = b"mdamage"
TORN = b"mtorn"
VIEW = b"v"
SCAN_PAGE = 1024
INDEX_MAX = (1 << 64) - 1
DAMAGE_CHARS_MAX = 10_000  # beyond them no more words are added

_CHUNK = struct.Struct("<QQQQIB")
_HOLD = struct.Struct("<Q")
_ROW = struct.Struct(">I")
_ROW_INDEX = struct.Struct(">IQ")
_ENTRY = struct.Struct("<QQQQI")


@frozen
class ChunkInfo:
    """A stored chunk and its place."""

    chid: bytes
    algorithm: int
    size: int
    incarnation: int
    header_offset: int
    payload_offset: int
    sequence: int


@frozen
class EntryLocation:
    """A row log entry and its place; hand it to read_entry()."""

    row: int
    index: int
    epoch: int
    incarnation: int
    offset: int
    size: int
    sequence: int


def row_key(row: int, index: int = 0) -> bytes:
    """Key of a row's log entry."""
    return b"r" + _ROW_INDEX.pack(row, index)


def row_end(row: int) -> bytes:
    """The first key behind all entries of `row`."""
    return b"s" if row == 0xFFFFFFFF else row_key(row + 1)


def apply_all(kv: Overlay, placed: list[Placed]) -> None:
    """What durable records do to the index, in order. The caller holds kv.lock."""
    entries: list[Change] = []  # that follow each other: they are written together
    for each in placed:
        (kind, _, size, sequence, row, epoch, index, _, _), incarnation, offset = each
        if kind == Kind.ROW_ENTRY:  # most are
            where = _ENTRY.pack(epoch, incarnation, offset, sequence, size)
            entries.append((_ROW_INDEX.pack(row, index), where))
            continue
        if entries:
            kv.write(b"r", entries)
            entries = []
        _apply(kv, each)
    if entries:
        kv.write(b"r", entries)


def _apply(kv: Overlay, placed: Placed) -> None:
    header = placed.header
    match header.kind:
        case Kind.CHUNK:
            kv.put(b"c" + header.inline, _pack_chunk(placed))
            _extend_hold(kv, header.inline, header.a)
        case Kind.HOLD:
            _extend_hold(kv, header.inline, header.a)
        case Kind.CHUNK_DROP:
            kv.delete(b"c" + header.inline)
            kv.delete(TORN + header.inline)
        case Kind.ROW_TRUNCATE:
            _delete_between(kv, row_key(header.a, header.c), row_end(header.a))
        case Kind.ROW_CUT:
            _cut(kv, header.a, header.inline, bool(header.b))
        case Kind.ROW_STAGED:
            kv.put(b"i" + _ROW_INDEX.pack(header.a, header.c), _pack_entry(placed))
        case Kind.ROW_UNSTAGE:
            for key, _ in _staged(kv, header.a):
                kv.delete(key)


def _cut(kv: Overlay, row: int, body: bytes, installs: bool) -> None:
    dropped, base = unpack_cut(body)
    for first, last in dropped:
        if last - first < SCAN_PAGE:
            for index in range(first, last + 1):
                kv.delete(row_key(row, index))
        else:
            end = row_end(row) if last >= INDEX_MAX else row_key(row, last + 1)
            _delete_between(kv, row_key(row, first), end)
    for key, value in _staged(kv, row) if installs else ():
        kv.put(b"r" + key[1:], value)
        kv.delete(key)
    kv.put(b"s" + _ROW.pack(row), base)


def _staged(kv: Overlay, row: int) -> Iterator[tuple[bytes, bytes]]:
    return _scan_all(kv, b"i" + _ROW_INDEX.pack(row, 0), b"i" + _ROW_INDEX.pack(row, INDEX_MAX))


def _pack_chunk(placed: Placed) -> bytes:
    h = placed.header
    return _CHUNK.pack(placed.incarnation, placed.offset, h.b, h.sequence, h.size, h.algorithm)


def _pack_entry(placed: Placed) -> bytes:
    h = placed.header
    return _ENTRY.pack(h.b, placed.incarnation, placed.offset, h.sequence, h.size)


def _extend_hold(kv: Overlay, chid: bytes, until_ns: int) -> None:
    if until_ns > hold_until(kv, chid):
        kv.put(b"h" + chid, _HOLD.pack(until_ns))


def _delete_between(kv: Overlay, start: bytes, end: bytes) -> None:
    for key, _ in _scan_all(kv, start, end):
        kv.delete(key)


def has_chunk(kv: Overlay, chid: bytes) -> bool:
    """Whether chunk_info() finds it; asked several times for each message about a chunk."""
    return kv.get(b"c" + chid) is not None


def chunk_info(kv: Overlay, chid: bytes) -> ChunkInfo | None:
    """Where a chunk lies, or None."""
    value = kv.get(b"c" + chid)
    return None if value is None else _chunk_info(chid, value)


def _chunk_info(chid: bytes, value: bytes) -> ChunkInfo:
    incarnation, header_at, payload_at, sequence, size, algorithm = _CHUNK.unpack(value)
    return ChunkInfo(chid, algorithm, size, incarnation, header_at, payload_at, sequence)


def hold_until(kv: Overlay, chid: bytes) -> int:
    """End of the newest hold, in cluster time; 0 when there never was one."""
    value = kv.get(b"h" + chid)
    return 0 if value is None else int(_HOLD.unpack(value)[0])


def chunks_after(kv: Overlay, after: bytes, limit: int) -> list[ChunkInfo]:
    """Chunks with a chid above `after`, by full hash."""
    page = kv.scan(b"c" + after + b"\0" if after else b"c", b"d", limit)
    return [_chunk_info(key[1:], value) for key, value in page]


def row_log(kv: Overlay, row: int, from_index: int, limit: int) -> list[EntryLocation]:
    """The row's entries from an index on, in order; there may be gaps after damage."""
    page = kv.scan(row_key(row, from_index), row_end(row), limit)
    return [_entry(key, value) for key, value in page]


def row_entry(kv: Overlay, row: int, index: int) -> EntryLocation | None:
    """One entry of the row's log."""
    value = kv.get(row_key(row, index))
    return None if value is None else _entry(row_key(row, index), value)


def _entry(key: bytes, value: bytes) -> EntryLocation:
    row, index = _ROW_INDEX.unpack(key[1:])
    epoch, incarnation, offset, sequence, size = _ENTRY.unpack(value)
    return EntryLocation(row, index, epoch, incarnation, offset, size, sequence)


def staged_entries(kv: Overlay, row: int) -> list[EntryLocation]:
    """What is staged for a row, in order of index."""
    return [_entry(key, value) for key, value in _staged(kv, row)]


def row_base(kv: Overlay, row: int) -> bytes | None:
    """The row's base, or None: its log was never cut."""
    return kv.get(b"s" + _ROW.pack(row))


def rows(kv: Overlay) -> Iterator[int]:
    """Rows with entries or a base, ascending."""
    found = {_ROW.unpack(key[1:])[0] for key, _ in _scan_all(kv, b"s", b"t")}
    start = b"r"
    while page := kv.scan(start, b"s", 1):
        row = _ROW_INDEX.unpack(page[0][0][1:])[0]
        found.add(row)
        start = row_end(row)
    return iter(sorted(found))


def _scan_all(kv: Overlay, start: bytes, end: bytes) -> Iterator[tuple[bytes, bytes]]:
    while page := kv.scan(start, end, SCAN_PAGE):
        yield from page
        start = page[-1][0] + b"\0"


def note_damage(kv: Overlay, what: str) -> None:
    """Acknowledged data is lost: remembered until the cluster has taken note."""
    known = (kv.get(DAMAGE) or b"").decode()
    if what not in known and len(known) < DAMAGE_CHARS_MAX:
        kv.put(DAMAGE, (f"{known}; {what}" if known else what).encode())


def set_torn(kv: Overlay, chid: bytes) -> None:
    """Recovery found the chunk torn: not stored, and a CHUNK_DROP has to say so in the log."""
    kv.delete(b"c" + chid)
    kv.put(TORN + chid, b"")


def torn_chids(kv: Overlay) -> list[bytes]:
    """Torn chunks whose CHUNK_DROP is not durable yet."""
    return [key[len(TORN) :] for key, _ in _scan_all(kv, TORN, TORN + b"\xff" * 65)]


def header_matches(info: ChunkInfo, header: Header) -> bool:
    """Is this header, read back, the one that the index means?"""
    return (
        header.kind == Kind.CHUNK
        and header.inline == info.chid
        and header.sequence == info.sequence
        and (header.size, header.b) == (info.size, info.payload_offset)
    )
