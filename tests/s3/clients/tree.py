"""The tree of files that every client moves: the sizes and the names that break clients and servers.

Sizes around 64 KiB and 1 MiB are around the blocks of the gateway and of clients; 17 MiB is more than
the part of any client here. The long name has its 900 bytes in five components: file systems allow 255
bytes for each, most clients move files, and some add 40 letters while they write one.
"""

from __future__ import annotations

import hashlib
import random
from pathlib import Path

KIB, MIB = 1 << 10, 1 << 20
LONG_NAME = "/".join(letter * 178 for letter in "longs") + "a name"
LARGE = "large/17 MiB"
REPLACED, REMOVED = "100%/sure %41%2Fnot a slash", "plus+and space/1+1 = 2"
SIZES = {
    "empty": 0,
    "one byte": 1,
    "Grüße/64 KiB - 1": 64 * KIB - 1,
    "日本語/😀": 64 * KIB,
    "cafe\u0301 & café": 64 * KIB + 1,  # é composed and decomposed
    REPLACED: MIB - 1,
    REMOVED: MIB,
    LONG_NAME: MIB + 1,
    LARGE: 17 * MIB,
}


def content(name: str, version: str = "") -> bytes:
    """Distinct for each name and version, and incompressible."""
    size = SIZES[name] + len(version)  # clients that compare sizes must see another one
    return random.Random(f"{name} {version}").randbytes(size)


def write(folder: Path, name: str, version: str = "") -> None:
    """The file of that name under `folder`."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content(name, version))


def sums(folder: Path) -> dict[str, str]:
    """SHA-256 by name, of all files under `folder`."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


def sizes(folder: Path) -> dict[str, int]:
    """Bytes by name."""
    return {
        str(path.relative_to(folder)): path.stat().st_size
        for path in folder.rglob("*")
        if path.is_file()
    }
