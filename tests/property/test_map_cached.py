"""map_cached() and the twin that defines it: the bytes of the file or nothing, errors included.

Whether the page cache has bytes is the system's to decide from one call to the next, so each twin is held
against the file and not against what the other one found.
"""

from __future__ import annotations

import errno
import os
import random
import tempfile
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replicast import file_io
from replicast.fast_file_io import map_cached
from replicast.file_io import MAP_FROM_BYTES

SIZE_BYTES = 3 * MAP_FROM_BYTES + 777
DATA = random.Random(11).randbytes(SIZE_BYTES)
# Around pages, the size from which on something is mapped, and the end of the file.
NEAR = st.sampled_from([0, 4096, MAP_FROM_BYTES, 2 * MAP_FROM_BYTES, SIZE_BYTES])
PLACES = st.builds(lambda near, by: near + by, NEAR, st.integers(-5, 5)) | st.integers(
    0, SIZE_BYTES + 9000
)


@pytest.fixture(scope="module")
def fd() -> Iterator[int]:
    with tempfile.TemporaryFile() as file:
        file.write(DATA)
        file.flush()
        yield file.fileno()


def outcome(twin: Any, fd: int, offset: int, size: int) -> bytes | str | None:
    try:
        found = twin(fd, offset, size)
    except OSError as error:
        return f"errno {error.errno}"
    if found is None:
        return None
    view = memoryview(found)
    assert view.readonly and view.contiguous and view.format == "B" and view.nbytes == size
    return bytes(view)


@given(offset=PLACES, size=PLACES.filter(lambda size: size >= 0), cached=st.booleans())
def test_map_cached__as_its_twin(fd: int, offset: int, size: int, cached: bool) -> None:
    if not cached:
        os.fdatasync(fd)
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    found = [outcome(twin, fd, offset, size) for twin in (file_io.map_cached, map_cached)]
    errors = [each for each in found if isinstance(each, str)]
    if errors:
        assert offset < 0 and found[0] == found[1]
    elif offset + size > SIZE_BYTES and size:
        assert found == [None, None]
    else:
        assert all(each in (None, DATA[offset : offset + size]) for each in found)


@given(size=st.sampled_from([0, 1, MAP_FROM_BYTES]))
def test_map_cached__of_what_is_not_open(size: int) -> None:
    found = {outcome(twin, -1, 0, size) for twin in (file_io.map_cached, map_cached)}
    assert found == {f"errno {errno.EBADF}"}


@pytest.mark.parametrize("offset", [(1 << 63) - 1, (1 << 63) - 4096, (1 << 63) - MAP_FROM_BYTES])
def test_map_cached__where_no_file_reaches(fd: int, offset: int) -> None:
    """Their end is beyond what an offset can say; nothing adds up to something else."""
    found = {outcome(twin, fd, offset, MAP_FROM_BYTES) for twin in (file_io.map_cached, map_cached)}
    assert len(found) == 1 and found <= {None, f"errno {errno.EINVAL}", f"errno {errno.EOVERFLOW}"}
