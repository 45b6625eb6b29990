"""replicast/cli/files.py: what a command reads from and writes to."""

from __future__ import annotations

import asyncio
import os
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from replicast.cli.files import (
    BLOCK_BYTES,
    blocks_of,
    destination,
    source_size,
    tree,
    under,
    writing,
)
from replicast.cli.text import name_text
from replicast.cli.trees import base
from replicast.errors import InvalidRequest


def read(source: str) -> list[bytes]:
    async def work() -> list[bytes]:
        return [block async for block in blocks_of(source)]

    return asyncio.run(work())


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# -- sources --------------------------------------------------------------------------


def test_blocks_of__a_file_and_a_pipe_are_cut_alike(tmp_path):
    body = os.urandom(2 * BLOCK_BYTES + 3)
    file, pipe = tmp_path / "file", tmp_path / "pipe"
    file.write_bytes(body)
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_bytes, args=(body,))
    writer.start()
    assert [len(block) for block in read(str(pipe))] == [BLOCK_BYTES, BLOCK_BYTES, 3]
    writer.join()
    assert b"".join(read(str(file))) == body
    assert source_size(str(file)) == len(body) and source_size(str(pipe)) is None


def test_source_size__what_cannot_be_read_is_named(tmp_path):
    with pytest.raises(IsADirectoryError, match="-r stores") as error:
        source_size(str(tmp_path))
    assert error.value.filename == str(tmp_path)
    with pytest.raises(FileNotFoundError):
        read(str(tmp_path / "none"))


@pytest.mark.parametrize("source", ["-", "pipe"])
def test_a_waiting_source_does_not_outlive_its_command(tmp_path, source):
    """The read never returns: the writer holds the pipe open and says nothing."""
    os.mkfifo(tmp_path / "pipe")
    program = (
        "import asyncio, sys\n"
        "from replicast.cli.files import blocks_of\n"
        "async def work():\n"
        "    reading = asyncio.ensure_future(anext(blocks_of(sys.argv[1])))\n"
        "    await asyncio.sleep(0)\n"
        "    reading.cancel()\n"
        "    await asyncio.wait([reading])\n"
        "    print('cancelled', reading.cancelled())\n"
        "asyncio.run(work())\n"
    )
    end, mine = os.pipe()
    try:
        done = subprocess.run(
            [sys.executable, "-c", program, source],
            stdin=end,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    finally:
        os.close(mine)
        os.close(end)
    assert (done.returncode, done.stdout, done.stderr) == (0, "cancelled True\n", "")


def test_tree__names_what_it_leaves_out(tmp_path):
    for folder in ("a/b", "empty"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "a" / "b" / "file").write_text("x")
    (tmp_path / "to file").symlink_to(tmp_path / "a" / "b" / "file")
    (tmp_path / "to folder").symlink_to(tmp_path / "a")
    files, left_out = tree(tmp_path)
    assert [path.relative_to(tmp_path).as_posix() for path in files] == ["to file", "a/b/file"]
    assert left_out == [
        f"{tmp_path}/to folder: a link to a folder",
        f"{tmp_path}/empty: an empty folder",
    ]


def test_tree__neither_file_nor_folder_is_refused(tmp_path):
    (tmp_path / "dangling").symlink_to("nowhere")
    with pytest.raises(InvalidRequest, match="dangling is not a regular file"):
        tree(tmp_path)
    with pytest.raises(InvalidRequest, match="is not a folder"):
        tree(tmp_path / "none")


def test_tree__a_folder_that_cannot_be_read_is_an_error(tmp_path, monkeypatch):
    (tmp_path / "locked").mkdir()
    scandir = os.scandir

    def refuse(path):
        if str(path).endswith("locked"):
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(PermissionError):
        tree(tmp_path)


# -- destinations ---------------------------------------------------------------------


def test_writing__replaces_when_done_and_leaves_nothing_after_an_error(tmp_path):
    path = tmp_path / ("n" * 255)  # as long as a name may be
    path.write_text("old")
    with pytest.raises(KeyboardInterrupt), writing(path) as file:
        file.write(b"half")
        raise KeyboardInterrupt
    assert path.read_text() == "old" and names(tmp_path) == [path.name]
    with writing(path) as file:
        file.write(b"new")
        file.flush()
        assert path.read_text() == "old"
    assert path.read_text() == "new" and names(tmp_path) == [path.name]
    assert path.stat().st_mode & 0o777 == 0o666 & ~_umask()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_writing__a_pipe_or_device_is_written_to_not_replaced(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    got: list[bytes] = []
    reader = threading.Thread(target=lambda: got.append(pipe.read_bytes()))
    reader.start()
    with writing(pipe) as file:
        file.write(b"body")
    reader.join()
    assert got == [b"body"] and stat.S_ISFIFO(pipe.stat().st_mode)


def test_writing__through_a_link(tmp_path):
    (tmp_path / "file").write_text("old")
    (tmp_path / "link").symlink_to("file")
    with writing(tmp_path / "link") as file:
        file.write(b"new")
    assert (tmp_path / "link").is_symlink() and (tmp_path / "file").read_text() == "new"


def test_writing__a_folder_that_is_missing_is_named(tmp_path):
    with pytest.raises(FileNotFoundError) as error, writing(tmp_path / "no" / "file"):
        pass
    assert error.value.filename == str(tmp_path / "no")


def test_destination(tmp_path):
    assert destination(f"{tmp_path}", "a/b") == tmp_path / "b"
    assert destination(f"{tmp_path}/none/", "a/b") == tmp_path / "none" / "b"
    assert destination(f"{tmp_path}/none", "a/b") == tmp_path / "none"


@pytest.mark.parametrize("name", ["/a", "a//b", "a/../b", "a/", ".", ""])
def test_under__names_that_are_no_path_there(tmp_path, name):
    with pytest.raises(InvalidRequest, match="cannot be a path"):
        under(tmp_path, name)


# -- text -----------------------------------------------------------------------------


def test_base__is_a_folder_not_a_beginning():
    assert [base(each) for each in ("", "/", "tree", "tree/", "a/b")] == [
        "", "", "tree/", "tree/", "a/b/",
    ]  # fmt: skip


def test_name_text__what_a_terminal_would_obey_is_escaped():
    assert name_text("a\nb\x1b[2J\u2028") == "a\\nb\\x1b[2J\\u2028"
    assert name_text("häßlich 日本語 👩‍🔧\u3000") == "häßlich 日本語 👩‍🔧\u3000"
