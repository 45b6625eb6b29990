"""Bytes that were put together in place, and that nobody changes any more once they are handed on."""

from __future__ import annotations


class KeptBytes(bytearray):
    """Whoever is given one, or a view of one, may keep it as it may keep bytes: it is not copied."""

    __slots__ = ()
