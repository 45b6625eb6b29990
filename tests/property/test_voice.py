"""What a voice makes of messages, both twins alike: datagrams, counters, errors, what is remembered."""

from __future__ import annotations

import importlib
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from replicast.auth import voice_pure
from replicast.auth.gate_pure import PAIR_TYPES
from replicast.auth.keyring import KeyRing, group_tag, node_tag
from replicast.auth.recent import RecentMessages, Sent
from replicast.machine import Address, Group, Outgoing
from replicast.metrics import Counters
from replicast.native import PURE
from replicast.wire.chunk_messages import ChunkQuery
from replicast.wire.codec_pure import WireError
from replicast.wire.header_pure import HEADER_BYTES, PAIR, parse_header
from replicast.wire.messages import MESSAGES

FAST: Any = voice_pure if PURE else importlib.import_module("replicast.native._voice")
KEYS = KeyRing(b"c" * 16, 1, {1: b"k" * 32})
ROTATED = KEYS.rotated(2, b"l" * 32)
QUERY = ChunkQuery(row=7, chid=b"h" * 32)
PAIRED = MESSAGES[min(PAIR_TYPES)]
HERE, SESSION, IN_TABLE, LEARNED, NOWHERE = 7, 1 << 33, 2, 3, 4
GROUP = Group("rendezvous", 9)
OPERATION = b"o" * 16


class Side:
    """A voice of one twin, and all that it changes."""

    def __init__(self, twin: Any) -> None:
        self.recent, self.counters = RecentMessages(5, 10_000), Counters()
        self.voice = twin.Voice(HERE, SESSION, KEYS, self.learned, self.recent, self.counters)
        self.voice.addresses = {IN_TABLE: ("table", 1)}
        self.voice.spoken_keys[IN_TABLE] = SESSION, b"p" * 32

    def learned(self, node_id: int) -> Address | None:
        return ("learned", node_id) if node_id == LEARNED else None

    def say(self, message: Any, to: int, body: bytes, generation: Any, identity: Any) -> object:
        outgoing = Outgoing(message, to, identity, generation)
        return self.outcome(self.voice.say, outgoing, to, body, 100, 5)

    def emit(self, flags: int, to: int | Group, index: int, body: bytes, room_bytes: int) -> object:
        tag = group_tag(to) if isinstance(to, Group) else node_tag(to)
        sent = Sent(to, flags, 10, OPERATION, 5, body, 1, 1, self.voice.counter, 3, room_bytes)
        return self.outcome(self.voice.emit, ("emitted", 1), tag, sent, index)

    def outcome(self, call: Any, *arguments: object) -> object:
        try:
            return call(*arguments)
        except (WireError, OverflowError) as error:
            return type(error), str(error) if isinstance(error, WireError) else ""

    def seen(self) -> object:
        voice = self.voice
        return voice.datagrams, voice.counter, list(self.recent._ring), self.counters.values


says = st.tuples(
    st.just("say"),
    st.sampled_from([QUERY, QUERY, QUERY, PAIRED]),
    st.sampled_from([IN_TABLE, IN_TABLE, LEARNED, NOWHERE]),
    st.binary(max_size=20) | st.sampled_from([bytes(100), bytes(101)]),
    st.sampled_from([0, 5, (1 << 64) - 1, 5, 1 << 64, -1]),
    st.sampled_from([OPERATION, OPERATION, OPERATION, b"short"]),
)
emits = st.tuples(
    st.just("emit"),
    st.sampled_from([0, 2, 5, PAIR]),
    st.sampled_from([IN_TABLE, LEARNED]),
    st.integers(0, 2) | st.sampled_from([65_535, 65_536]),
    st.binary(max_size=20),
    st.integers(0, 25),
)
steps = st.one_of(says, says, emits, st.sampled_from([("rotate",), ("new_keys",), ("take",)]))


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
        assert side.say(QUERY, NOWHERE, b"body", 5, OPERATION) is False
        assert side.say(QUERY, IN_TABLE, bytes(101), 5, OPERATION) is False
        assert side.say(PAIRED, LEARNED, b"body", 5, OPERATION) is False
        assert str(side.seen()) == untouched
        assert side.say(QUERY, IN_TABLE, b"body", 5, OPERATION) is True
        assert side.say(PAIRED, IN_TABLE, b"body", 5, OPERATION) is True
        assert side.say(QUERY, LEARNED, b"body", 5, OPERATION) is True
        datagrams = side.voice.datagrams
        assert [d.to for d in datagrams] == [("table", 1), ("table", 1), ("learned", LEARNED)]
        headers = [parse_header(d.payload) for d in datagrams]
        assert [(h.flags, h.key_epoch, h.counter) for h in headers] == [
            (0, 1, 1),
            (PAIR, 0, 2),
            (0, 1, 3),
        ]
        assert [sent.counter for sent in side.recent._ring] == [1, 2, 3]


def test_emit__groups_fragments_and_a_pair_without_a_key() -> None:
    for side in (Side(voice_pure), Side(FAST)):
        side.voice.counter = 10
        side.emit(2, GROUP, 1, b"all of it", 5)
        side.emit(PAIR, LEARNED, 0, b"", 5)
        (datagram,) = side.voice.datagrams
        header = parse_header(datagram.payload)
        assert (header.counter, header.fragment_index, header.fragment_count) == (11, 1, 3)
        assert datagram.payload[HEADER_BYTES:] == b"f it"
        assert side.counters.get("datagrams_dropped", "no_pair_key") == 1
