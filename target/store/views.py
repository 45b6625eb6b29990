"""The ordered key/value space that the name rows keep their views in.

Changes are in memory until a checkpoint makes them durable together with the log
position. A checkpoint never falls between the changes of one view_write(), so a
view that notes with the same how much of its row's log it has applied is
always consistent: after a crash, apply the log from there again.
Keys up to 2000 bytes, values up to 1 MiB.
"""

from __future__ import annotations

from collections.abc import Iterable

from replicast.target.store.index import VIEW
from replicast.target.store.overlay import Overlay


class Views:
    """What keeps keys of views apart from the others of an overlay."""

    def __init__(self, kv: Overlay) -> None:
        self._views = kv

    def view_get(self, key: bytes) -> bytes | None:
        """The value, or None."""
        return self._views.get(VIEW + key)

    def view_put(self, key: bytes, value: bytes) -> None:
        """Set a key."""
        self._views.put(VIEW + key, value)

    def view_delete(self, key: bytes) -> None:
        """Remove a key."""
        self._views.delete(VIEW + key)

    def view_write(self, changes: Iterable[tuple[bytes, bytes | None]]) -> None:
        """Several changes (None deletes) that no checkpoint separates; of one key the last counts."""
        self._views.write(VIEW, changes)

    def view_scan(self, start: bytes, end: bytes, limit: int) -> list[tuple[bytes, bytes]]:
        """Up to `limit` pairs with start <= key < end in byte order; b"" as end: to the last."""
        upper = VIEW + end if end else bytes([VIEW[0] + 1])
        return [(k[1:], v) for k, v in self._views.scan(VIEW + start, upper, limit)]

    def view_first(self, start: bytes, end: bytes) -> bytes | None:
        """The value of the first key with start <= key < end, or None."""
        found = self._views.first(VIEW + start, VIEW + end)
        return None if found is None else found[1]
