"""What is kept of the parts of an object that was uploaded in parts: their sizes and checksums.

Metadata has a bound for each value, so long texts take several items. What has no room is left out:
without sizes parts cannot be read one by one, without checksums they are not told.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Mapping, Sequence
from itertools import groupby

from replicast.wire.documents import METADATA_VALUE_BYTES_MAX

SIZES, CHECKSUMS = ":parts", ":part-checksums"
SIZES_CHARS_MAX, CHECKSUMS_CHARS_MAX = 3 * METADATA_VALUE_BYTES_MAX, 2 * METADATA_VALUE_BYTES_MAX


def part_items(sizes: Sequence[int], checksums: Sequence[bytes]) -> dict[str, str]:
    """Items of metadata; sizes in bytes. `checksums`: of the object's algorithm, () for none."""
    # Runs of equal sizes, as size*count: all but the last part of an upload mostly are.
    lengths = ((size, len(list(run))) for size, run in groupby(sizes))
    runs = ",".join(f"{size}*{count}" if count > 1 else str(size) for size, count in lengths)
    return _items(SIZES, runs, SIZES_CHARS_MAX) | _items(
        CHECKSUMS, b64encode(b"".join(checksums)).decode(), CHECKSUMS_CHARS_MAX
    )


def read_part_sizes(items: Mapping[str, str]) -> tuple[int, ...]:
    """In bytes; () where they are not kept."""
    found: list[int] = []
    text = _text(SIZES, items)
    for run in text.split(",") if text else ():
        size, _, count = run.partition("*")
        found += [int(size)] * int(count or 1)
    return tuple(found)


def read_part_checksums(items: Mapping[str, str], size_bytes: int) -> tuple[bytes, ...]:
    """Each of `size_bytes`; () where they are not kept."""
    whole = b64decode(_text(CHECKSUMS, items))
    return tuple(whole[at : at + size_bytes] for at in range(0, len(whole), size_bytes))


def _items(name: str, text: str, chars_max: int) -> dict[str, str]:
    if len(text) > chars_max:
        return {}
    step = METADATA_VALUE_BYTES_MAX
    pieces = [text[at : at + step] for at in range(0, len(text), step)]
    return {_name(name, number): piece for number, piece in enumerate(pieces)}


def _text(name: str, items: Mapping[str, str]) -> str:
    pieces: list[str] = []
    while (piece := items.get(_name(name, len(pieces)))) is not None:
        pieces.append(piece)
    return "".join(pieces)


def _name(name: str, number: int) -> str:
    return f"{name}-{number}" if number else name
