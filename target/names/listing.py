"""One page of a bucket's names, merged in byte order from the rows that can answer.

Reads committed state only. A row is scanned in small batches and a name with many
versions is jumped over, so a page costs what it shows, not what the bucket holds.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence

from replicast.buggify import buggified
from replicast.target.names.context import Buckets
from replicast.target.names.leader import Leadership
from replicast.target.names.requests import BUCKET_ACTIVE
from replicast.target.names.state import HEAD
from replicast.target.names.store import View
from replicast.wire.codec import decode
from replicast.wire.name_messages import OBJECT, ListEntry, NameEntries, NameList
from replicast.wire.row_messages import RowVersion

VERSION_BYTES = 20
ENTRY_BYTES = 160  # of a ListEntry without its name
BATCH_MIN, BATCH_MAX = 4, 256


def listable(request: NameList, lead: Leadership, buckets: Buckets, now_ns: int) -> bool:
    """May the row's names be listed now? What an earlier leadership left undecided may have been
    answered, so it is waited for; and in a bucket that is being deleted everything is: a name
    that was ordered before the mark was heard must not appear after the bucket was found empty."""
    if not lead.acting(now_ns) or not lead.readable or lead.undecided.any_inherited():
        return False
    bucket = buckets.get((request.tenant, request.bucket))
    if bucket is None or bucket.state == BUCKET_ACTIVE:
        return True
    return not lead.undecided.any_of_bucket(request.bucket_incarnation)


def list_page(
    request: NameList, rows: Sequence[tuple[int, View]], page_bytes_max: int
) -> NameEntries:
    """The page; `rows` are those that may be answered for."""
    batch = min(BATCH_MAX, max(BATCH_MIN, 2 * request.limit // max(1, len(rows))))
    batch = buggified("names/scan-one", batch, 1)
    page_bytes_max = buggified("names/page-short", page_bytes_max, 0)
    walks = [_newest(row, view, request, batch) for row, view in rows]
    entries: list[ListEntry] = []
    size, more = 0, False
    for name, raw in heapq.merge(*walks, key=lambda pair: pair[0]):
        version = decode(RowVersion.TYPE, raw)
        assert isinstance(version, RowVersion)
        if version.summary.kind != OBJECT and not request.deleted:
            continue
        size += len(name) + ENTRY_BYTES
        if len(entries) >= request.limit or (entries and size > page_bytes_max):
            more = True
            break
        entries.append(ListEntry(name=name.decode(), summary=version.summary))
    return NameEntries(rows=tuple(row for row, _ in rows), entries=tuple(entries), more=more)


def _newest(row: int, view: View, request: NameList, batch: int) -> Iterator[tuple[bytes, bytes]]:
    """(name, newest version's value) of one row, in byte order."""
    head = HEAD.pack(row, request.bucket_incarnation)
    prefix = request.prefix.encode()
    start = head + prefix
    if request.after:
        start = max(start, head + request.after.encode() + b"\x01")
    end = _end(head + prefix)
    last = b""
    while True:
        pairs = view.view_scan(start, end, batch)
        for key, raw in pairs:
            name = key[len(head) : -VERSION_BYTES - 1]
            if name != last:
                last = name
                yield name, raw
        if len(pairs) < batch:
            return
        start = head + last + b"\x01"  # behind all versions of the last name


def _end(prefix: bytes) -> bytes:
    """The first key behind all that start with `prefix`."""
    stripped = prefix.rstrip(b"\xff")
    return stripped[:-1] + bytes((stripped[-1] + 1,))
