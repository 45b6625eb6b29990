"""docs/protocol.md and docs/formats.md are enough to read what replicast sends and stores."""

from __future__ import annotations

import ast
import json
import random
import re
from pathlib import Path
from typing import Any

import pytest
from blake3 import blake3

from replicast.auth.gate_pure import PAIR_TYPES, UDP_TYPE_MAX
from replicast.auth.keyring import group_tag, mac_of, node_tag
from replicast.wire import codec_pure, header_pure
from replicast.wire.header import HEADER_BYTES, PAIR
from replicast.wire.messages import MESSAGES
from tests.conformance.goldens import (
    CLUSTER_ID,
    CLUSTER_KEY,
    GENERATION,
    GOLDEN,
    GROUP,
    KEYS,
    OPERATION,
    PAIR_KEY,
    RECEIVER,
    SENDER,
    SESSION,
    bytes_of,
    readable,
)
from tests.conformance.second_decoder import Decoder, Refused

HERE = Path(__file__).parent
DOCUMENTS = "\n".join(
    (HERE.parents[1] / "docs" / name).read_text() for name in ("protocol.md", "formats.md")
)
DECODER = Decoder(DOCUMENTS, CLUSTER_ID, {1: CLUSTER_KEY}, PAIR_KEY)
TO_NODE, TO_GROUP = node_tag(RECEIVER), group_tag(GROUP)
MUTATIONS = 200
NAMES = sorted(path.stem for path in GOLDEN.glob("*.hex"))
CONTROL = [name for name in NAMES if int(name[:3]) < 200 and int(name[:3]) != 14]
WHOLE = [name for name in CONTROL if "_fragment_" not in name]
each_whole = pytest.mark.parametrize("name", WHOLE)


def values(name: str) -> Any:
    return json.loads((GOLDEN / f"{name}.json").read_text())


def tag_of(datagram: bytes) -> bytes:
    return TO_GROUP if datagram[6] == 1 else TO_NODE


def test_decoder__is_small_and_stands_alone() -> None:
    source = (HERE / "second_decoder.py").read_text()
    assert len(source.splitlines()) <= 160
    imported = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            imported |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported.add(node.module)
    assert imported == {"re", "struct", "hashlib", "typing", "blake3", "xxhash"}


@each_whole
def test_message__has_the_golden_values(name: str) -> None:
    datagram = bytes_of(name)
    found, fields = DECODER.message([datagram], tag_of(datagram))
    assert (found.lower(), fields) == (name[4:], values(name))


def test_message__in_fragments() -> None:
    pieces = [bytes_of(f"040_name_put_fragment_{index}") for index in range(3)]
    for order in ((0, 1, 2), (2, 0, 1), (1, 2, 0, 1)):
        _, fields = DECODER.message([pieces[i] for i in order], TO_NODE)
        assert fields == values("040_name_put_fragments")
    with pytest.raises(Refused, match="fragment"):
        DECODER.message(pieces[:2], TO_NODE)


@pytest.mark.parametrize("name", CONTROL)
def test_datagram__is_for_one_receiver_and_no_byte_may_change(name: str) -> None:
    datagram = bytes_of(name)
    with pytest.raises(Refused, match="mac"):
        DECODER.datagram(datagram, node_tag(RECEIVER + 1))
    for at in range(len(datagram)):
        changed = datagram[:at] + bytes((datagram[at] ^ 0x10,)) + datagram[at + 1 :]
        with pytest.raises(Refused):
            DECODER.datagram(changed, tag_of(datagram))
    with pytest.raises(Refused, match="truncated"):
        DECODER.datagram(datagram[:-1] if len(datagram) > 80 else _longer(datagram), TO_NODE)


def _longer(datagram: bytes) -> bytes:
    """A header alone that promises a byte."""
    return datagram[:60] + (1).to_bytes(4, "little") + datagram[64:]


@each_whole
def test_message__both_decoders_agree_on_damage(name: str) -> None:
    """Bodies with a byte changed, cut or added, under a right MAC."""
    rng = random.Random(name)
    datagram = bytes_of(name)
    body, number = datagram[HEADER_BYTES:], datagram[5]
    flags, epoch, key = (PAIR, 0, PAIR_KEY) if number in PAIR_TYPES else (0, 1, KEYS.mac_keys[1])
    accepted = 0
    for damaged in (_damage(body, rng) for _ in range(MUTATIONS)):
        head = header_pure.pack_header(
            number, flags, epoch, GENERATION, OPERATION, SENDER, SESSION, 1, 0, 1, len(damaged)
        )
        sealed = head + mac_of(key, head, TO_NODE, damaged) + damaged
        ours = _ours(number, damaged)
        try:
            found = DECODER.message([sealed], TO_NODE)[1]
        except ValueError:
            assert ours is None
        else:
            assert ours == found
            accepted += 1
    assert accepted < MUTATIONS


def _damage(body: bytes, rng: random.Random) -> bytes:
    at = rng.randrange(len(body)) if body else 0
    match rng.randrange(4):
        case 0:
            return body[:at]
        case 1:
            return body + rng.randbytes(rng.randint(1, 4))
        case _:
            changed = rng.choice((0, 1, 2, 0x7F, 0xFF, rng.randrange(256)))
            return body[:at] + bytes((changed,)) + body[at + 1 :]


def _ours(number: int, body: bytes) -> Any:
    assert number in MESSAGES
    try:
        return readable(codec_pure.decode(number, body))
    except codec_pure.WireError:
        return None


@pytest.mark.parametrize("name", ["014_payload", "014_payload_authenticated"])
def test_payload__is_put_together(name: str) -> None:
    chunk = bytearray(700)
    for index in (1, 0):
        datagram = bytes_of(f"{name}_{index}")
        header, data = DECODER.payload(datagram)
        start = header["index"] * header["datagram_bytes"]
        chunk[start : start + header["length"]] = data
        assert (header["count"], header["size_bytes"]) == (2, len(chunk))
        assert (header["transfer_id"], header["sender"]) == (OPERATION, SENDER)
        end = 64 if name == "014_payload" else len(datagram)
        for at in range(end):
            changed = datagram[:at] + bytes((datagram[at] ^ 1,)) + datagram[at + 1 :]
            with pytest.raises(Refused):
                DECODER.payload(changed)
    assert bytes(chunk).hex() == values("200_manifest_body_inline")["inline"]


@pytest.mark.parametrize("name", [n for n in NAMES if int(n[:3]) >= 200])
def test_manifest__has_the_golden_values(name: str) -> None:
    assert DECODER.document(int(name[:3]), bytes_of(name))[1] == values(name)


def test_manifest__leads_to_the_payload() -> None:
    nodes = [bytes_of(name) for name in NAMES if name.startswith("201")]
    chunks = {blake3(data).hexdigest(): data for data in nodes}
    body = values("200_manifest_body_tall")
    leaves = DECODER.leaves(body["references"], 0, body["logical_bytes"], chunks)
    assert [leaf["offset"] for leaf in leaves] == [number << 20 for number in range(7)]
    assert [leaf["chid"] for leaf in leaves] == [
        blake3(number.to_bytes(4, "little")).hexdigest() for number in range(7)
    ]
    with pytest.raises(Refused):
        DECODER.leaves(body["references"], 0, body["logical_bytes"] - 1, chunks)
    with pytest.raises(Refused):
        DECODER.leaves(body["references"][1:], 0, body["logical_bytes"], chunks)


def test_golden_directory__has_no_strays() -> None:
    numbered = {int(name[:3]) for name in NAMES}
    assert numbered == {n for n in MESSAGES if n <= UDP_TYPE_MAX} | PAIR_TYPES | {14, 200, 201}
    hexes, jsons = set(NAMES), {path.stem for path in GOLDEN.glob("*.json")}
    bare = {re.sub(r"_fragment_\d$", "_fragments", n) for n in hexes if int(n[:3]) != 14}
    assert jsons == bare
    assert {p.suffix for p in GOLDEN.iterdir()} == {".hex", ".json", ".md"}
