"""MD5 of several messages at a time: the definition (native/_md5.pyx: the twin)."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer


class Md5:
    """As hashlib.md5: one message. Its pieces are hashed one at a time, in whatever thread."""

    def __init__(self) -> None:
        self._hash = hashlib.md5(usedforsecurity=False)

    def update(self, piece: ReadableBuffer, /) -> None:
        """More of the message."""
        update_together([(self, (piece,))])

    def digest(self) -> bytes:
        """Of what came so far."""
        return self._hash.digest()


def update_together(work: Iterable[tuple[Md5, Iterable[ReadableBuffer]]]) -> None:
    """More of several messages, [(message, pieces)]; where it raises, nothing was hashed."""
    taken: list[tuple[Md5, list[memoryview]]] = []
    for message, pieces in work:
        if not isinstance(message, Md5):
            raise TypeError("a message is an Md5")
        taken.append((message, [memoryview(piece) for piece in pieces]))
    if not all(view.c_contiguous for _, views in taken for view in views):
        raise BufferError("a piece is not contiguous")
    if len({id(message) for message, _ in taken}) < len(taken):
        raise ValueError("a message is hashed at the moment")
    for message, views in taken:
        for view in views:
            message._hash.update(view.cast("B") if view.nbytes else b"")
