"""Payload datagrams back into chunks: the definition; native/_reassembly.pyx is its fast twin.

A transfer is opened by an authenticated message, gets its buffer
at once and is fed datagrams in any order. The first copy of an index wins. When
all are there its id appears once in take_completed(), and take() hands out the
buffer without copying. The bytes are proved by nobody here: the chunk's hash does that, and
digest() tells the BLAKE3 that was made of them while they came (in the twin: while they were in the cache).
A transfer that is opened on a section of a result (result_pure.py) has its bytes there when it is taken.

Invariants: nothing is allocated by feed(); an unknown transfer is dropped before
anything else about the datagram is looked at; every drop has a code that is counted.
Limits: `transfers_max` open transfers, `budget_bytes` of buffers, those that were
taken and not yet dropped included, each counted in whole pages; then open() raises Full.
"""

from __future__ import annotations

from enum import IntEnum
from select import POLLIN, poll
from threading import Lock
from typing import Any

from blake3 import blake3

from replicast.transfer_header import (
    DATAGRAM_BYTES_MAX,
    DATAGRAM_BYTES_MIN,
    FLAG_MAC,
    HEADER_BYTES,
    PAYLOAD_MAGIC,
    PAYLOAD_TYPE,
    PAYLOAD_VERSION,
    PayloadHeader,
    datagram_count,
    datagram_length,
    parse_header,
)
from replicast.transport.result_pure import Section

PAGE_BYTES = 4096
SIZE_BYTES_MAX = 1 << 30
TRANSFERS_MAX = 1 << 16


class Full(Exception):
    """No room for another transfer now: the peer is told BUSY, or gets less credit."""


class FeedCode(IntEnum):
    """What became of a datagram; from SHORT to DUPLICATE it was dropped for that reason."""

    PLACED = 0
    COMPLETED = 1  # placed, and it was the last one missing
    DELIVER = 2  # carries a MAC that somebody with the key has to check, then place()
    SHORT = 3
    MAGIC = 4  # not a payload datagram
    VERSION = 5
    UNKNOWN_TRANSFER = 6
    CHECKSUM = 7
    UNSEALED = 8  # no MAC where the transfer wants one, or a MAC where it does not
    MISMATCH = 9  # index, count, size or length do not fit the transfer
    DUPLICATE = 10


def page_rounded(size_bytes: int) -> int:
    """What a buffer of this size takes from the budget."""
    return -(-size_bytes // PAGE_BYTES) * PAGE_BYTES


def check_shape(transfer_id: bytes, size_bytes: int, datagram_bytes: int) -> None:
    """Raise ValueError unless a transfer may have this id, size and datagram size."""
    if len(transfer_id) != 16:
        raise ValueError(f"a transfer id has 16 bytes, not {len(transfer_id)}")
    if not 0 < size_bytes <= SIZE_BYTES_MAX:
        raise ValueError(f"transfer of {size_bytes} bytes: must be 1 to {SIZE_BYTES_MAX}")
    low, high = DATAGRAM_BYTES_MIN, DATAGRAM_BYTES_MAX
    if not low <= datagram_bytes <= high or datagram_bytes % 8:
        raise ValueError(
            f"datagram_bytes {datagram_bytes}: must be a multiple of 8 from {low} to {high}"
        )


def check_section(section: Any, size_bytes: int) -> None:
    """Raise ValueError or RuntimeError unless a transfer of this size may be received there."""
    if section is not None and section.size_bytes != size_bytes:
        raise ValueError(f"a transfer of {size_bytes} bytes for {section.size_bytes} of a result")
    if section is not None and not section.free:
        raise RuntimeError("the section is in use")


def readable(fd: int) -> bool:
    """Is there something to read now? -1 never has."""
    if fd < 0:
        return False
    poller = poll()
    poller.register(fd, POLLIN)
    return bool(poller.poll(0))


class _Buffer(bytearray):
    """Gives its room back to the budget when the last view of it is gone."""

    owner: Reassembly
    room: int
    section: Section | None
    taken = False

    def __del__(self) -> None:
        self.owner._in_use_bytes -= self.room
        if self.section is not None and self.taken:
            self.section._views -= 1


class _Transfer:
    __slots__ = (
        "authenticated",
        "buffer",
        "count",
        "datagram_bytes",
        "hashed",
        "received",
        "received_bytes",
    )

    def __init__(
        self, buffer: _Buffer, datagram_bytes: int, authenticated: bool, hashed: bool
    ) -> None:
        self.buffer = buffer
        self.datagram_bytes = datagram_bytes
        self.authenticated, self.hashed = authenticated, hashed
        self.count = datagram_count(len(buffer), datagram_bytes)
        self.received = bytearray(self.count)  # one flag per datagram
        self.received_bytes = 0

    def length(self, index: int) -> int:
        return datagram_length(index, len(self.buffer), self.datagram_bytes)

    def mark(self, index: int) -> None:
        self.received[index] = 1
        self.received_bytes += self.length(index)

    def complete(self) -> bool:
        return self.received_bytes == len(self.buffer)


class Reassembly:
    """All open transfers of one process. feed() may come from another thread."""

    def __init__(self, budget_bytes: int, transfers_max: int) -> None:
        if budget_bytes < PAGE_BYTES or not 0 < transfers_max <= TRANSFERS_MAX:
            raise ValueError(f"no room: budget {budget_bytes} bytes, {transfers_max} transfers")
        self.budget_bytes = budget_bytes
        self.transfers_max = transfers_max
        self.source_fd = -1  # readable while a NetThread has datagrams to feed
        self._in_use_bytes = 0
        self._transfers: dict[bytes, _Transfer] = {}
        self._completed: dict[bytes, None] = {}
        self._counts = [0] * len(FeedCode)
        self._lock = Lock()

    def open(
        self,
        transfer_id: bytes,
        size_bytes: int,
        datagram_bytes: int,
        authenticated: bool = False,
        hashed: bool = False,
        section: Section | None = None,
    ) -> None:
        """Make room for a transfer; `hashed`: digest() will be asked for; `section`: where its bytes
        are wanted, lent to it until it is closed, or what take() gave is gone.

        Raises Full, ValueError (shape), KeyError (id is open), RuntimeError (section in use).
        """
        check_shape(transfer_id, size_bytes, datagram_bytes)
        check_section(section, size_bytes)
        with self._lock:
            if transfer_id in self._transfers:
                raise KeyError(transfer_id)
            room = page_rounded(size_bytes)
            if len(self._transfers) >= self.transfers_max:
                raise Full(f"{self.transfers_max} transfers are open")
            if self._in_use_bytes + room > self.budget_bytes:
                raise Full(f"{self._in_use_bytes} of {self.budget_bytes} bytes are in use")
            self._in_use_bytes += room
            buffer = _Buffer(size_bytes)
            buffer.owner, buffer.room, buffer.section = self, room, section
            if section is not None:
                section._lend()
            self._transfers[transfer_id] = _Transfer(buffer, datagram_bytes, authenticated, hashed)

    def feed(self, datagram: bytes) -> int:
        """Place one datagram; returns its FeedCode. Never raises for what a peer sent."""
        with self._lock:
            code = self._feed(datagram)
            self._counts[code] += 1
            return code

    def _feed(self, datagram: bytes) -> FeedCode:
        if len(datagram) < HEADER_BYTES:
            return FeedCode.SHORT
        if int.from_bytes(datagram[:4], "little") != PAYLOAD_MAGIC or datagram[5] != PAYLOAD_TYPE:
            return FeedCode.MAGIC
        if datagram[4] != PAYLOAD_VERSION:
            return FeedCode.VERSION
        transfer = self._transfers.get(datagram[8:24])
        if transfer is None:
            return FeedCode.UNKNOWN_TRANSFER
        header = parse_header(datagram)
        if header is None:
            return FeedCode.CHECKSUM
        return self._place(transfer, header, datagram)

    def _place(self, transfer: _Transfer, header: PayloadHeader, datagram: bytes) -> FeedCode:
        if bool(header.flags & FLAG_MAC) != transfer.authenticated:
            return FeedCode.UNSEALED
        if not _fits(transfer, header, len(datagram) - HEADER_BYTES):
            return FeedCode.MISMATCH
        if transfer.received[header.index]:
            return FeedCode.DUPLICATE
        if transfer.authenticated:
            return FeedCode.DELIVER
        start = header.index * transfer.datagram_bytes
        transfer.buffer[start : start + header.length] = memoryview(datagram)[HEADER_BYTES:]
        transfer.mark(header.index)
        return self._done(header.transfer_id, transfer)

    def _done(self, transfer_id: bytes, transfer: _Transfer) -> FeedCode:
        if not transfer.complete():
            return FeedCode.PLACED
        self._completed[transfer_id] = None
        return FeedCode.COMPLETED

    def place(self, transfer_id: bytes, offset: int, data: bytes | memoryview) -> int:
        """Put bytes that came by another way (a CHUNK_PUT, a checked MAC) into their place.

        Returns COMPLETED, PLACED, or DUPLICATE when nothing new was covered. Bytes of a
        datagram that is there already are left alone; only datagrams covered from end to
        end count as received. Raises KeyError, or ValueError outside of the chunk.
        """
        with self._lock:
            transfer = self._transfers[transfer_id]
            end = offset + len(data)
            if offset < 0 or end > len(transfer.buffer):
                raise ValueError(f"bytes {offset}-{end} of {len(transfer.buffer)}")
            before = transfer.received_bytes
            first = datagram_count(offset, transfer.datagram_bytes)
            for index in range(first, transfer.count):
                start, length = index * transfer.datagram_bytes, transfer.length(index)
                if start + length > end:
                    break
                if not transfer.received[index]:
                    piece = data[start - offset : start - offset + length]
                    transfer.buffer[start : start + length] = piece
                    transfer.mark(index)
            if transfer.received_bytes == before:
                return FeedCode.DUPLICATE
            return self._done(transfer_id, transfer)

    def expects(self) -> bool:
        """Is any transfer open that is not complete?"""
        with self._lock:
            return any(not transfer.complete() for transfer in self._transfers.values())

    def unread(self) -> bool:
        """Do datagrams wait that have reached this host and were not fed yet?"""
        return readable(self.source_fd)

    def progress(self, transfer_id: bytes) -> tuple[int, int]:
        """(received_bytes, size_bytes). Raises KeyError for a transfer that is not open."""
        with self._lock:
            transfer = self._transfers[transfer_id]
            return transfer.received_bytes, len(transfer.buffer)

    def gaps(self, transfer_id: bytes, limit: int) -> list[tuple[int, int]]:
        """The first `limit` byte ranges [start, end) still missing, in order."""
        with self._lock:
            transfer = self._transfers[transfer_id]
            found: list[tuple[int, int]] = []
            start = transfer.received.find(0)
            while start >= 0 and len(found) < limit:
                end = transfer.received.find(1, start)
                end = transfer.count if end < 0 else end
                last = min(end * transfer.datagram_bytes, len(transfer.buffer))
                found.append((start * transfer.datagram_bytes, last))
                start = transfer.received.find(0, end)
            return found

    def digest(self, transfer_id: bytes) -> bytes | None:
        """BLAKE3-256 of a transfer that is complete; None when it was not opened as hashed.

        Raises KeyError when the transfer is not open, ValueError when bytes are missing.
        """
        with self._lock:
            transfer = self._transfers[transfer_id]
            if not transfer.complete():
                raise ValueError("transfer is not complete")
            return blake3(transfer.buffer).digest() if transfer.hashed else None

    def take(self, transfer_id: bytes) -> memoryview:
        """The finished chunk, read-only (page-aligned in the twin); the transfer is closed.

        Its room is given back when the last view of it is dropped. Raises KeyError when
        the transfer is not open, ValueError when bytes are missing.
        """
        with self._lock:
            transfer = self._transfers[transfer_id]
            if not transfer.complete():
                raise ValueError("transfer is not complete")
            self._forget(transfer_id)
            buffer = transfer.buffer
            if buffer.section is not None:
                buffer.section.fill(buffer)
                buffer.section._views += 1
                buffer.taken = True
            return memoryview(buffer).toreadonly()

    def close(self, transfer_id: bytes) -> None:
        """Forget a transfer; one that is not open is no error."""
        with self._lock:
            self._forget(transfer_id)

    def _forget(self, transfer_id: bytes) -> None:
        transfer = self._transfers.pop(transfer_id, None)
        if transfer is not None and transfer.buffer.section is not None:
            transfer.buffer.section._give_back()
        self._completed.pop(transfer_id, None)

    def take_completed(self) -> list[bytes]:
        """Transfers completed since the last call, in order; take() and close() remove theirs."""
        with self._lock:
            completed = list(self._completed)
            self._completed.clear()
            return completed

    def stats(self) -> dict[str, int]:
        """in_use_bytes, transfers, and how often each FeedCode came up."""
        counts = {code.name.lower(): self._counts[code] for code in FeedCode}
        return {"in_use_bytes": self._in_use_bytes, "transfers": len(self._transfers)} | counts


def _fits(transfer: _Transfer, header: PayloadHeader, data_bytes: int) -> bool:
    return (
        header.size_bytes == len(transfer.buffer)
        and header.datagram_bytes == transfer.datagram_bytes
        and header.count == transfer.count
        and header.index < transfer.count
        and header.length == data_bytes == transfer.length(header.index)
    )


__all__ = [
    "FeedCode",
    "Full",
    "Reassembly",
    "check_section",
    "check_shape",
    "page_rounded",
    "readable",
]
