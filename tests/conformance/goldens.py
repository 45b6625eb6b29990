"""Who sends the golden bytes, what their fields are filled with, and how they are kept.

`REPLICAST_GOLDEN=write pytest tests/conformance` writes them anew: a change of the protocol or of
a format, to be reviewed as a diff. golden/README.md tells the same to other implementations.
"""

from __future__ import annotations

import json
import os
import textwrap
from pathlib import Path
from typing import Any

from replicast.auth.keyring import KeyRing
from replicast.machine import Group
from replicast.wire.schema import Kind, Struct

GOLDEN = Path(__file__).parent / "golden"
CLUSTER_ID, CLUSTER_KEY = b"c" * 16, b"k" * 32
KEYS = KeyRing(CLUSTER_ID, 1, {1: CLUSTER_KEY})
PAIR_KEY = b"p" * 32  # what RECEIVER told SENDER
SENDER, RECEIVER, SESSION, GENERATION = 0x1122334455667788, 2, 0x100000007, 1 << 48 | 2
OPERATION = bytes(range(16))
GROUP = Group("negotiating", 3)


def specimen(kind: Any, place: int) -> Any:
    """A value that shows width and order: bytes count up from the field's place."""
    if not isinstance(kind, Kind):
        return kind(**{n: specimen(k, place + i) for i, (n, k) in enumerate(kind.PLAN)})
    match kind.code:
        case "uint" | "int":
            return int.from_bytes(bytes(place + i & 0x7F for i in range(kind.size)), "little")
        case "flag":
            return True
        case "fixed":
            return bytes(place + i & 0xFF for i in range(kind.size))
        case "hash":
            return bytes(place + i & 0xFF for i in range(32))
        case "bytes":
            return b"data"
        case "text":
            return "é" + "x" * (place % 5)
        case "struct":
            return specimen(kind.item, place)
        case _:
            return tuple(specimen(kind.item, place + i) for i in range(min(2, kind.size)))


def readable(value: Any) -> Any:
    """As it stands in a golden JSON: bytes in hex, records as objects."""
    if isinstance(value, Struct):
        return {name: readable(getattr(value, name)) for name, _ in value.PLAN}
    if isinstance(value, bytes):
        return value.hex()
    return [readable(item) for item in value] if isinstance(value, tuple) else value


def bytes_of(name: str) -> bytes:
    """What golden/<name>.hex holds."""
    return bytes.fromhex((GOLDEN / f"{name}.hex").read_text())


def check(name: str, data: bytes) -> None:
    """Are these the bytes of golden/<name>.hex?"""
    _keep(GOLDEN / f"{name}.hex", "\n".join(textwrap.wrap(data.hex(), 64)))
    assert data == bytes_of(name)


def check_values(name: str, values: Any) -> None:
    """Are these the values of golden/<name>.json?"""
    _keep(GOLDEN / f"{name}.json", json.dumps(readable(values), indent=1, ensure_ascii=False))
    assert readable(values) == json.loads((GOLDEN / f"{name}.json").read_text())


def _keep(path: Path, text: str) -> None:
    if os.environ.get("REPLICAST_GOLDEN") == "write":
        path.write_text(text + "\n")
