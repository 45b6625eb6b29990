"""docs/protocol.md pinned: every UDP message as one datagram, byte for byte.

Each golden/NNN_<name>.hex is what node 0x1122334455667788 sends to node 2 (or, for the proposal
and the acceptance, to negotiating group 3); its fields are filled by goldens.specimen and stand in
the .json beside it. One message also travels in fragments.
"""

from __future__ import annotations

import random

import pytest

from replicast.auth.endpoint import DATAGRAM_BYTES_MIN, Endpoint
from replicast.auth.gate_pure import PAIR_TYPES, UDP_TYPE_MAX
from replicast.auth.keyring import group_tag, mac_of, node_tag
from replicast.machine import Destination, Group, Outgoing
from replicast.metrics import Counters
from replicast.wire import codec_pure, header_pure
from replicast.wire.codec import decode
from replicast.wire.header import HEADER_BYTES, MACED_BYTES, PAIR, parse_header
from replicast.wire.messages import MESSAGES
from replicast.wire.name_messages import NamePut
from replicast.wire.schema import Message
from replicast.wire.session_messages import SESSION_TYPES
from tests.conformance.goldens import (
    GENERATION,
    GROUP,
    KEYS,
    OPERATION,
    PAIR_KEY,
    RECEIVER,
    SENDER,
    SESSION,
    bytes_of,
    check,
    check_values,
    specimen,
)

TO_GROUP = ("PUT_PROPOSE", "PUT_ACCEPT")
UDP = [cls for n, cls in sorted(MESSAGES.items()) if n <= UDP_TYPE_MAX or n in PAIR_TYPES]
each_message = pytest.mark.parametrize("cls", UDP, ids=lambda cls: cls.NAME)
# The others are made inside the endpoint: tests/unit/test_endpoint.py.
each_sent_message = pytest.mark.parametrize(
    "cls", [cls for cls in UDP if cls.TYPE not in SESSION_TYPES], ids=lambda cls: cls.NAME
)


def name_of(cls: type[Message]) -> str:
    return f"{cls.TYPE:03d}_{cls.NAME.lower()}"


def destination(cls: type[Message]) -> Destination:
    return GROUP if cls.NAME in TO_GROUP else RECEIVER


def datagrams(message: Message, to: Destination, datagram_bytes_max: int) -> list[bytes]:
    """As an endpoint sends it."""
    endpoint = Endpoint(SENDER, SESSION, KEYS, random.Random(1), Counters(), datagram_bytes_max)
    endpoint.set_address(RECEIVER, ("10.0.0.1", 1))
    endpoint.set_spoken_key(RECEIVER, SESSION, PAIR_KEY)
    endpoint.send(Outgoing(message, to, OPERATION, GENERATION), 0)
    return [datagram.payload for datagram in endpoint.take_datagrams()]


def by_the_definition(cls: type[Message]) -> bytes:
    """Header, MAC and body from the documented parts, without the endpoint."""
    body = codec_pure.encode(specimen(cls, cls.TYPE))
    to = destination(cls)
    flags, tag = (1, group_tag(to)) if isinstance(to, Group) else (0, node_tag(to))
    flags, epoch = (PAIR, 0) if cls.TYPE in PAIR_TYPES else (flags, 1)
    head = header_pure.pack_header(
        cls.TYPE, flags, epoch, GENERATION, OPERATION, SENDER, SESSION, 1, 0, 1, len(body)
    )
    return head + mac_of(key_of(cls), head, tag, body) + body


def key_of(cls: type[Message]) -> bytes:
    return PAIR_KEY if cls.TYPE in PAIR_TYPES else KEYS.mac_keys[1]


@each_message
def test_definition__makes_the_golden_datagram(cls: type[Message]) -> None:
    check(name_of(cls), by_the_definition(cls))
    check_values(name_of(cls), specimen(cls, cls.TYPE))


@each_sent_message
def test_endpoint__makes_the_golden_datagram(cls: type[Message]) -> None:
    (made,) = datagrams(specimen(cls, cls.TYPE), destination(cls), 60_000)
    assert made == bytes_of(name_of(cls))


@each_message
def test_golden_datagram__decodes(cls: type[Message]) -> None:
    datagram = bytes_of(name_of(cls))
    header = parse_header(datagram)
    assert (header.type, header.sender, header.session) == (cls.TYPE, SENDER, SESSION)
    tag = group_tag(GROUP) if header.flags == 1 else node_tag(RECEIVER)
    mac = datagram[MACED_BYTES:HEADER_BYTES]
    assert mac_of(key_of(cls), datagram[:MACED_BYTES], tag, datagram[HEADER_BYTES:]) == mac
    assert decode(cls.TYPE, datagram[HEADER_BYTES:]) == specimen(cls, cls.TYPE)


def test_golden_fragments__are_of_one_message() -> None:
    message = specimen(NamePut, NamePut.TYPE)
    message = NamePut(**{n: getattr(message, n) for n, _ in NamePut.PLAN} | {"body": LONG})
    made = datagrams(message, RECEIVER, DATAGRAM_BYTES_MIN)
    assert len(made) == 3
    for index, datagram in enumerate(made):
        check(f"{name_of(NamePut)}_fragment_{index}", datagram)
    check_values(f"{name_of(NamePut)}_fragments", message)


LONG = random.Random(5).randbytes(1000)
