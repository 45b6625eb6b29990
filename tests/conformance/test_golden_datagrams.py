"""docs/protocol.md pinned: every UDP message as one datagram, byte for byte.

Each golden/NNN_<name>.hex is what node 0x1122334455667788 sends to node 2 (or,
for the proposal and the acceptance, to negotiating group 3) under cluster id
16 x 'c', key epoch 1 = 32 x 'k', session 0x100000007, counter 1, generation
0x1000000000002 and operation id 00..0f, with fields filled by `specimen`.
`REPLICAST_GOLDEN=write pytest tests/conformance` writes them anew: a change of
the protocol, to be reviewed as a diff.
"""

from __future__ import annotations

import os
import random
import textwrap
from pathlib import Path
from typing import Any

import pytest

from replicast.auth.endpoint import UDP_TYPE_MAX, Endpoint
from replicast.auth.keyring import KeyRing, group_tag, node_tag
from replicast.machine import Destination, Group, Outgoing
from replicast.metrics import Counters
from replicast.wire import codec_pure, header_pure
from replicast.wire.codec import decode
from replicast.wire.header import HEADER_BYTES, MACED_BYTES, parse_header
from replicast.wire.messages import MESSAGES
from replicast.wire.schema import Kind, Message
from replicast.wire.session_messages import SESSION_TYPES

GOLDEN = Path(__file__).parent / "golden"
KEYS = KeyRing(b"c" * 16, 1, {1: b"k" * 32})
SENDER, RECEIVER, SESSION, GENERATION = 0x1122334455667788, 2, 0x100000007, 1 << 48 | 2
OPERATION = bytes(range(16))
GROUP = Group("negotiating", 3)
TO_GROUP = ("PUT_PROPOSE", "PUT_ACCEPT")
UDP = [cls for number, cls in sorted(MESSAGES.items()) if number <= UDP_TYPE_MAX]
each_message = pytest.mark.parametrize("cls", UDP, ids=lambda cls: cls.NAME)
# The others are made inside the endpoint: tests/unit/test_endpoint.py.
each_sent_message = pytest.mark.parametrize(
    "cls", [cls for cls in UDP if cls.TYPE not in SESSION_TYPES], ids=lambda cls: cls.NAME
)


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


def path_of(cls: type[Message]) -> Path:
    return GOLDEN / f"{cls.TYPE:03d}_{cls.NAME.lower()}.hex"


def golden(cls: type[Message]) -> bytes:
    return bytes.fromhex(path_of(cls).read_text())


def destination(cls: type[Message]) -> Destination:
    return GROUP if cls.NAME in TO_GROUP else RECEIVER


def by_the_definition(cls: type[Message]) -> bytes:
    """Header, MAC and body from the documented parts, without the endpoint."""
    body = codec_pure.encode(specimen(cls, cls.TYPE))
    to = destination(cls)
    flags, tag = (1, group_tag(to)) if isinstance(to, Group) else (0, node_tag(to))
    head = header_pure.pack_header(
        cls.TYPE, flags, 1, GENERATION, OPERATION, SENDER, SESSION, 1, 0, 1, len(body)
    )
    return head + KEYS.mac(1, head, tag, body) + body


@each_message
def test_definition__makes_the_golden_datagram(cls: type[Message]) -> None:
    datagram = by_the_definition(cls)
    if os.environ.get("REPLICAST_GOLDEN") == "write":
        path_of(cls).write_text("\n".join(textwrap.wrap(datagram.hex(), 64)) + "\n")
    assert datagram == golden(cls)


@each_sent_message
def test_endpoint__makes_the_golden_datagram(cls: type[Message]) -> None:
    endpoint = Endpoint(SENDER, SESSION, KEYS, random.Random(1), Counters(), 60_000)
    endpoint.set_address(RECEIVER, ("10.0.0.1", 1))
    outgoing = Outgoing(specimen(cls, cls.TYPE), destination(cls), OPERATION, GENERATION)
    endpoint.send(outgoing, 0)
    (datagram,) = endpoint.take_datagrams()
    assert datagram.payload == golden(cls)


@each_message
def test_golden_datagram__decodes(cls: type[Message]) -> None:
    datagram = golden(cls)
    header = parse_header(datagram)
    assert (header.type, header.sender, header.session) == (cls.TYPE, SENDER, SESSION)
    tag = group_tag(GROUP) if header.flags else node_tag(RECEIVER)
    mac = datagram[MACED_BYTES:HEADER_BYTES]
    assert KEYS.mac(1, datagram[:MACED_BYTES], tag, datagram[HEADER_BYTES:]) == mac
    assert decode(cls.TYPE, datagram[HEADER_BYTES:]) == specimen(cls, cls.TYPE)


def test_golden_directory__has_no_strays() -> None:
    assert sorted(GOLDEN.glob("*.hex")) == sorted(path_of(cls) for cls in UDP)
