"""Numbers, times and tables as people read them."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from datetime import datetime

CONTROL = ("Cc", "Zl", "Zp")  # what moves a terminal's cursor


def size_text(size_bytes: int) -> str:
    """Bytes with a binary unit: 0 B, 1.5 KiB, 20 GiB."""
    value = float(size_bytes)
    for unit in ("B", "KiB", "MiB", "GiB", "TiB", "PiB"):
        if value < 1024 or unit == "PiB":
            return f"{value:.0f} {unit}" if unit == "B" or value >= 10 else f"{value:.1f} {unit}"
        value /= 1024
    raise AssertionError


def name_text(name: str) -> str:
    """A name on one line: control characters, which a terminal would obey, are escaped."""
    return "".join(
        c.encode("unicode_escape").decode() if unicodedata.category(c) in CONTROL else c
        for c in name
    )


def time_text(time_ns: int) -> str:
    """Local time to the second."""
    return datetime.fromtimestamp(time_ns / 1e9).strftime("%Y-%m-%d %H:%M:%S")


def table_text(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns as wide as they need to be, two spaces apart."""
    widths = [max(len(row[i]) for row in [header, *rows]) for i in range(len(header))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in [header, *rows]
    )
