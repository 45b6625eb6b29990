"""Huge pages are asked for where memory is in use, and nowhere else."""

from __future__ import annotations

import contextlib
import mmap
import random

from replicast.huge_pages import HUGE_BYTES, HugePages, Mapping, mappings, wanted

SMAPS = """\
00400000-00452000 r-xp 00000000 08:02 173521      /usr/bin/python3.11
Rss:                 328 kB
AnonHugePages:         0 kB
01c7b000-02d00000 rw-p 00000000 00:00 0                                  [heap]
Rss:               16000 kB
AnonHugePages:      4096 kB
7f0000000000-7f0000800000 rw-p 00000000 00:00 0@
Rss:                  12 kB
AnonHugePages:         0 kB
7f0001000000-7f0001800000 rw-s 00000000 00:01 77      /dev/zero (deleted)
Rss:                8192 kB
7f0002000000-7f0002001000 ---p 00000000 00:00 0@
Rss:                   0 kB
7f0003000000-7f0003800000 rw-p 00000000 08:02 99      /srv/data.mdb
Rss:                8192 kB
7ffd0c000000-7ffd0c021000 rw-p 00000000 00:00 0                          [stack]
Rss:                 132 kB
""".replace("@", " ")  # as Linux has it where no name follows


def test_mappings__without_files_and_private() -> None:
    heap, thread_stack = mappings(SMAPS)
    assert heap == Mapping(0x01C7B000, 0x02D00000, 16000 << 10, 4 << 20)
    assert thread_stack == Mapping(0x7F0000000000, 0x7F0000800000, 12 << 10, 0)


def test_wanted__whole_ones_of_what_is_in_use() -> None:
    start, size = 10 * HUGE_BYTES - 4096, 4 * HUGE_BYTES
    inside = (10 * HUGE_BYTES, 13 * HUGE_BYTES)
    assert wanted(Mapping(start, start + size, size, 0)) == inside
    assert wanted(Mapping(start, start + size, size * 3 // 4, 2 * HUGE_BYTES)) == inside
    assert wanted(Mapping(start, start + size, size * 3 // 4 - 4096, 0)) is None
    assert wanted(Mapping(start, start + size, size, 3 * HUGE_BYTES)) is None
    assert wanted(Mapping(start, start + HUGE_BYTES, HUGE_BYTES, 0)) is None


def test_look__asks_once_and_changes_nothing_else() -> None:
    memory = mmap.mmap(-1, 4 * HUGE_BYTES, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    with contextlib.suppress(OSError):  # no huge pages here, then it has none anyway
        memory.madvise(mmap.MADV_NOHUGEPAGE)  # where Linux gives them unasked
    data = random.Random(1).randbytes(4 * HUGE_BYTES)
    memory[:] = data
    asked: list[tuple[int, int]] = []

    class Watched(HugePages):
        def _ask(self, start: int, end: int) -> None:
            asked.append((start, end))
            super()._ask(start, end)

    pages = Watched()
    pages.look()
    assert asked and all(start % HUGE_BYTES == end % HUGE_BYTES == 0 for start, end in asked)
    assert sum(end - start for start, end in asked) >= 3 * HUGE_BYTES
    assert memory[:] == data
    before = list(asked)
    pages.look()
    assert not set(asked[len(before) :]) & set(before)
    memory.close()
