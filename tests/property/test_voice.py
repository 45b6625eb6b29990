"""What a voice makes of messages, both twins alike: datagrams, counters, errors, what is remembered."""

from __future__ import annotations

import importlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replicast.auth import voice_pure
from replicast.auth.keyring import KeyRing, group_tag, node_tag
from replicast.auth.recent import RecentMessages, Ring, Sent
from replicast.machine import Address, Group, Outgoing
from replicast.metrics import Counters
from replicast.native import PURE
from replicast.wire.chunk_messages import ChunkQuery
from replicast.wire.codec_pure import WireError, encode
from replicast.wire.header_pure import HEADER_BYTES, PAIR, parse_header
from replicast.wire.row_messages import AppendItem, PairKey, RowAppend, RowEntry, RowPosition

FAST: Any = voice_pure if PURE else importlib.import_module("replicast.native._voice")
KEYS = KeyRing(b"c" * 16, 1, {1: b"k" * 32})
ROTATED = KEYS.rotated(2, b"l" * 32)
QUERY = ChunkQuery(row=7, chid=b"h" * 32)
BAD = ChunkQuery(row=1 << 32, chid=b"h" * 32)
PAIRED = RowAppend(items=())
CHANNEL = PairKey(session=1, key=b"k" * 32)
BODY_BYTES_MAX = 200_000
HERE, SESSION, IN_TABLE, LEARNED, NOWHERE = 7, 1 << 33, 2, 3, 4
GROUP = Group("rendezvous", 9)
OPERATION = b"o" * 16


class Side:
    """A voice of one twin, and all that it changes."""

    def __init__(self, twin: Any) -> None:
        self.recent, self.counters = RecentMessages(Ring(5, 10_000), Ring(5, 10_000)), Counters()
        self.voice = twin.Voice(
            HERE, SESSION, KEYS, self.learned, self.recent, self.counters, BODY_BYTES_MAX
        )
        self.last: Sent | None = None
        self.voice.addresses = {IN_TABLE: ("table", 1)}
        self.voice.spoken_keys[IN_TABLE] = SESSION, b"p" * 32

    def learned(self, node_id: int) -> Address | None:
        return ("learned", node_id) if node_id == LEARNED else None

    def say(
        self, message: Any, to: int, given: bool, room_bytes: int, generation: Any, identity: Any
    ) -> object:
        outgoing = Outgoing(message, to, identity, generation)
        body = b"given" * 9 if given else None
        return self.outcome(self.voice.say, outgoing, to, body, room_bytes, 5)

    def send(self, flags: int, to: int | Group, body: bytes, room_bytes: int) -> object:
        sent = Sent(to, flags, 10, OPERATION, 5, 1)
        found = self.outcome(self.voice.send, ("sent", 1), tag_of(to), sent, body, room_bytes)
        assert sent.body in (body, b"")
        self.last = sent
        return found

    def emit(self, index: int, flags: int) -> object:
        """Of the last sent message, or one that is none."""
        sent = self.last or Sent(IN_TABLE, flags, 10, OPERATION, 5, 1, 1, 1, (bytes(90),) * 3)
        tag = tag_of(sent.to)
        return self.outcome(self.voice.emit, ("emitted", 1), tag, sent, index)

    def outcome(self, call: Any, *arguments: object) -> object:
        try:
            return call(*arguments)
        except (WireError, OverflowError, IndexError) as error:
            return type(error), str(error) if isinstance(error, WireError) else ""

    def seen(self) -> object:
        voice = self.voice
        recent = [list(ring._ring) for ring in (self.recent._whole, self.recent._cut)]
        return voice.datagrams, voice.counter, recent, self.counters.values


def tag_of(to: int | Group) -> bytes:
    return group_tag(to) if isinstance(to, Group) else node_tag(to)


def append(size_bytes: int) -> RowAppend:
    """A message for a pair with a body about as long."""
    entry = RowEntry(epoch=1, index=2, data=bytes(range(256)) * (size_bytes // 256 + 1))
    position = RowPosition(epoch=1, tenure=1, index=1)
    numbers = dict.fromkeys(
        ("row", "leader", "replica", "epoch", "tenure", "open_count", "committed_index"), 3
    )
    return RowAppend(items=(AppendItem(**numbers, previous=position, entries=(entry,)),))


says = st.tuples(
    st.just("say"),
    st.sampled_from([QUERY, QUERY, BAD, PAIRED, append(700), append(70_000), CHANNEL]),
    st.sampled_from([IN_TABLE, IN_TABLE, LEARNED, NOWHERE]),
    st.sampled_from([False, False, True]),
    st.sampled_from([1, 10, 100, 432, 65_000]),
    st.sampled_from([0, 5, (1 << 64) - 1, 5, 1 << 64, -1]),
    st.sampled_from([OPERATION, OPERATION, OPERATION, b"short"]),
)
sends = st.tuples(
    st.just("send"),
    st.sampled_from([0, 2, 5, PAIR]),
    st.sampled_from([IN_TABLE, LEARNED]),
    st.binary(max_size=40),
    st.integers(1, 25),
)
emits = st.tuples(st.just("emit"), st.integers(0, 3), st.sampled_from([0, PAIR]))
steps = st.one_of(
    says, says, sends, emits, st.sampled_from([("rotate",), ("new_keys",), ("take",)])
)


@given(st.lists(steps, max_size=20))
def test_voices__twins_agree_step_by_step(script: list[tuple[Any, ...]]) -> None:
    sides = Side(voice_pure), Side(FAST)
    for what, *arguments in script:
        found = []
        for side in sides:
            if what == "rotate":
                side.voice.keys = ROTATED
            elif what == "new_keys":
                side.voice.spoken_keys = {LEARNED: (SESSION, b"q" * 32)}
            elif what == "take":
                side.voice.datagrams = []
            else:
                found.append(getattr(side, what)(*arguments))
        assert found[:1] == found[1:]
        assert sides[0].seen() == sides[1].seen()


def test_say__what_it_does_and_what_it_leaves_to_the_endpoint() -> None:
    for side in (Side(voice_pure), Side(FAST)):
        untouched = str(side.seen())
        assert side.say(QUERY, NOWHERE, False, 100, 5, OPERATION) is False
        assert side.say(PAIRED, LEARNED, False, 100, 5, OPERATION) is False
        assert side.say(CHANNEL, IN_TABLE, False, 100, 5, OPERATION) is False
        assert str(side.seen()) == untouched
        assert side.say(QUERY, IN_TABLE, False, 100, 5, OPERATION) is True
        assert side.say(PAIRED, IN_TABLE, False, 100, 5, OPERATION) is True
        assert side.say(QUERY, LEARNED, True, 100, 5, OPERATION) is True
        datagrams = side.voice.datagrams
        assert [d.to for d in datagrams] == [("table", 1), ("table", 1), ("learned", LEARNED)]
        headers = [parse_header(d.payload) for d in datagrams]
        assert [(h.flags, h.key_epoch, h.counter) for h in headers] == [
            (0, 1, 1),
            (PAIR, 0, 2),
            (0, 1, 3),
        ]
        assert [sent.counter for sent in side.recent._whole._ring] == [1, 2, 3]
        assert side.recent._whole._ring[0].body == encode(QUERY)
        assert (
            side.counters.get("messages_sent", "CHUNK_QUERY") == 1
        )  # the other was encoded before


def test_say__a_long_message_in_full_datagrams_but_the_last() -> None:
    for side in (Side(voice_pure), Side(FAST)):
        message = append(70_000)
        body = encode(message)
        assert side.say(message, IN_TABLE, False, 30_000, 5, OPERATION) is True
        payloads = [d.payload for d in side.voice.datagrams]
        pieces = [payload[HEADER_BYTES:] for payload in payloads]
        assert [len(piece) for piece in pieces] == [30_000, 30_000, len(body) - 60_000]
        assert b"".join(pieces) == body
        headers = [parse_header(payload) for payload in payloads]
        assert [(h.counter, h.fragment_index, h.fragment_count) for h in headers] == [
            (1, 0, 3),
            (2, 1, 3),
            (3, 2, 3),
        ]
        assert side.voice.counter == 3
        with pytest.raises(WireError, match="oversize"):
            outgoing = Outgoing(append(BODY_BYTES_MAX), IN_TABLE, OPERATION, 5)
            side.voice.say(outgoing, IN_TABLE, None, 30_000, 5)


def test_emit__groups_fragments_and_a_pair_without_a_key() -> None:
    for side in (Side(voice_pure), Side(FAST)):
        side.voice.counter = 10
        side.send(2, GROUP, b"all of it", 5)
        first = list(side.voice.datagrams)
        side.emit(1, 0)
        assert side.voice.datagrams == [*first, first[1]._replace(to=("emitted", 1))]
        header = parse_header(first[1].payload)
        assert (header.counter, header.fragment_index, header.fragment_count) == (12, 1, 2)
        assert first[1].payload[HEADER_BYTES:] == b"f it"
        side.send(PAIR, LEARNED, b"two pieces", 5)
        assert len(side.voice.datagrams) == 3
        assert side.counters.get("datagrams_dropped", "no_pair_key") == 2


@pytest.mark.parametrize("tag", [b"", b"7 bytes", b"nine bytes"[:9]])
def test_send_and_emit__refuse_a_tag_of_another_length(tag: bytes) -> None:
    for side in (Side(voice_pure), Side(FAST)):
        sent = Sent(GROUP, 2, 10, OPERATION, 5, 1, 1, 1, (bytes(90),))
        with pytest.raises(ValueError, match="receiver tag"):
            side.voice.send(GROUP, tag, sent, b"body", 100)
        with pytest.raises(ValueError, match="receiver tag"):
            side.voice.emit(GROUP, tag, sent, 0)
        assert side.voice.datagrams == []
