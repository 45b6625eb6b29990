"""Local files as sources and destinations: regular files, trees, pipes, devices, standard streams.

A source that may wait for its writer (standard input, a pipe) is read by a daemon thread:
an interrupted command must end although that read never returns. A regular destination is
written under another name and renamed; a device or pipe is written to, never replaced.
"""

from __future__ import annotations

import asyncio
import errno
import os
import queue
import stat
import sys
import tempfile
import threading
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from replicast.cli.file_attributes import restore
from replicast.errors import InvalidRequest
from replicast.units import MIB

BLOCK_BYTES = MIB
STANDARD = "-"


# -- sources --------------------------------------------------------------------------


def source_size(source: str) -> int | None:
    """Bytes of a regular file; None for a stream. Raises what opening it would raise."""
    if source == STANDARD:
        return None
    state = os.stat(source)
    if stat.S_ISDIR(state.st_mode):
        raise IsADirectoryError(errno.EISDIR, "is a folder: -r stores what is in it", source)
    return state.st_size if stat.S_ISREG(state.st_mode) else None


async def blocks_of(source: str) -> AsyncIterator[bytes]:
    """What is in the source, in blocks of at most BLOCK_BYTES."""
    if source_size(source) is not None:
        loop = asyncio.get_running_loop()
        with open(source, "rb", buffering=0) as file:
            while block := await loop.run_in_executor(None, file.read, BLOCK_BYTES):
                yield block
        return
    if source == STANDARD and sys.stdin is None:
        raise InvalidRequest("standard input is closed")
    reader = StreamReader(source, asyncio.get_running_loop())
    reader.start()
    while block := await reader.read():
        yield block


class StreamReader(threading.Thread):
    """Opens and reads one stream, a block whenever one is asked for."""

    def __init__(self, source: str, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(name="source", daemon=True)
        self._source, self._loop = source, loop
        self._asked: queue.SimpleQueue[asyncio.Future[bytes]] = queue.SimpleQueue()

    async def read(self) -> bytes:
        """The next block, short only before the end; empty at the end."""
        answer: asyncio.Future[bytes] = self._loop.create_future()
        self._asked.put(answer)
        return await answer

    def run(self) -> None:
        """Until the end of the stream or an error; what opening it meets comes as the first."""
        descriptor = None
        block = b"-"
        while block:
            answer = self._asked.get()
            try:
                if descriptor is None:
                    descriptor = self._open()
                block = _read_block(descriptor)
            except OSError as error:
                self._tell(answer, error)
                return
            self._tell(answer, block)

    def _open(self) -> int:
        return 0 if self._source == STANDARD else os.open(self._source, os.O_RDONLY)

    def _tell(self, answer: asyncio.Future[bytes], outcome: bytes | OSError) -> None:
        def settle() -> None:
            if answer.done():
                return  # nobody waits any more
            if isinstance(outcome, OSError):
                answer.set_exception(outcome)
            else:
                answer.set_result(outcome)

        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(settle)


def _read_block(descriptor: int) -> bytes:
    parts, size = [], 0
    while size < BLOCK_BYTES and (part := os.read(descriptor, BLOCK_BYTES - size)):
        parts.append(part)
        size += len(part)
    return b"".join(parts)


def tree(folder: Path) -> tuple[list[Path], list[str]]:
    """The files under a folder in order, and what is left out of it, as text.

    Links to files are followed. Raises InvalidRequest for what is neither file nor folder,
    OSError for a folder that cannot be read.
    """
    if not folder.is_dir():
        raise InvalidRequest(f"{folder} is not a folder")
    files: list[Path] = []
    left_out: list[str] = []
    for where, folders, names in os.walk(folder, onerror=_raise):
        folders.sort()
        left_out += [f"{path}: a link to a folder" for path in _links(Path(where), folders)]
        if not folders and not names and Path(where) != folder:
            left_out.append(f"{where}: an empty folder")
        files += [_file(Path(where) / name) for name in sorted(names)]
    return files, left_out


def _raise(error: OSError) -> None:
    raise error


def _links(where: Path, folders: list[str]) -> list[Path]:
    return [path for path in (where / name for name in folders) if path.is_symlink()]


def _file(path: Path) -> Path:
    if not path.is_file():
        raise InvalidRequest(f"{path} is not a regular file")
    return path


# -- destinations ---------------------------------------------------------------------


def standard_output() -> BinaryIO:
    """For bytes; raises InvalidRequest when it is closed."""
    if sys.stdout is None:
        raise InvalidRequest("standard output is closed")
    return sys.stdout.buffer


def destination(target: str, name: str) -> Path:
    """Where the object `name` goes when the user says `target`: into a folder, or there."""
    path = Path(target)
    if target.endswith("/") or path.is_dir():
        path = path / name.rsplit("/", 1)[-1]
    return path


@contextmanager
def writing(path: Path, metadata: Mapping[str, str] | None = None) -> Iterator[BinaryIO]:
    """A file that becomes `path` when all went well: never a half file under that name.

    What `metadata` says at the end of its mode and time of change, a regular file gets.
    """
    path = Path(os.path.realpath(path))  # through a link, as with every other way of writing
    if not path.parent.is_dir():
        raise FileNotFoundError(errno.ENOENT, "there is no such folder", str(path.parent))
    if path.exists() and not path.is_file():
        with open(path, "wb") as file:
            yield file
        return
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=".replicast-")
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
            restore(file, metadata or {}, default_mode=0o666 & ~_umask())
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def under(folder: Path, relative: str) -> Path:
    """Where a name goes under `folder`; one that would leave it is refused."""
    parts = relative.split("/")
    if any(part in ("", ".", "..") for part in parts):
        raise InvalidRequest(f"the name {relative!r} cannot be a path under {folder}")
    return folder.joinpath(*parts)
