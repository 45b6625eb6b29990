"""What comes through the gate, step by step, both twins alike: results, errors, counts and sessions."""

from __future__ import annotations

import importlib
import random
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from replicast.auth import gate_pure
from replicast.auth.gate_pure import PAIR_TYPES, UDP_TYPE_MAX, Held
from replicast.auth.keyring import GROUP_KINDS, KeyRing, group_tag, node_tag
from replicast.auth.seal_pure import Sealer
from replicast.auth.session import Sessions
from replicast.machine import Address, Group, Incoming
from replicast.metrics import Counters
from replicast.native import PURE
from replicast.wire.chunk_messages import ChunkQuery
from replicast.wire.codec_pure import WireError, encode
from replicast.wire.header_pure import PAIR
from replicast.wire.messages import MESSAGES
from replicast.wire.session_messages import FragmentGaps

FAST: Any = gate_pure if PURE else importlib.import_module("replicast.native._gate")
KEYS = KeyRing(b"c" * 16, 1, {1: b"k" * 32}).rotated(2, b"l" * 32)
HEARD = {2: {0: b"p" * 32}}
HERE, A, B, SESSION = 7, 2, 3, 1 << 32
QUERY = ChunkQuery(row=7, chid=b"h" * 32)
GAPS = FragmentGaps(session=5, counter=6, runs=())
BODIES = (encode(QUERY), encode(GAPS), b"", b"junk")
CURVE_TYPE = next(n for n in sorted(MESSAGES) if n > UDP_TYPE_MAX and n not in PAIR_TYPES)
GROUPS = (None, None, Group("negotiating", 1), Group("negotiating", 2), Group("rendezvous", 1))

datagrams = st.fixed_dictionaries(
    {
        "type": st.sampled_from(
            [ChunkQuery.TYPE] * 6 + [1, 2, 0, 59, CURVE_TYPE, FragmentGaps.TYPE, *PAIR_TYPES, 255]
        ),
        "flags": st.sampled_from([0, 0, 0, 1, 1, 2, 5, 6, PAIR]),
        "key_epoch": st.sampled_from([1, 2, 2, 2, 3, 0]),
        "sender": st.sampled_from([A, A, A, B, 9]),
        "session": st.sampled_from([SESSION, SESSION, SESSION, SESSION + 1]),
        "counter": st.integers(8, 20) | st.integers(0, 9000),
        "fragments": st.sampled_from([(0, 1), (0, 1), (0, 1), (1, 2)]),
        "body": st.sampled_from(BODIES[:1] * 4 + BODIES),
        "group": st.sampled_from(GROUPS),
        "as_said": st.integers(0, 9).map(lambda n: n > 0),  # flags of where it was sent
        "wrong_at": st.none() | st.none() | st.integers(0, 120),
        "port": st.integers(1, 3),
    }
)


class Side:
    """A gate of one twin, with what it needs."""

    def __init__(self, twin: Any) -> None:
        self.sessions = Sessions(random.Random(1), 10, 10)
        for node_id in (A, B):
            nonce = self.sessions.ask(node_id, SESSION, 0)
            assert self.sessions.confirm(node_id, SESSION, nonce, 10, ("h", 9))
        self.counters = Counters()
        self.gate = twin.Gate(node_tag(HERE), self.sessions.hears, self.counters)
        self.gate.mac_keys, self.gate.heard_keys = KEYS.mac_keys, dict(HEARD)

    def open(self, datagram: bytes, source: Address, group: Group | None) -> object:
        try:
            return self.gate.open(datagram, source, group)
        except WireError as error:
            return str(error)

    def seen(self) -> object:
        return self.counters.values, dict(self.sessions.addresses)


def made(step: dict[str, Any]) -> bytes:
    flags, group = step["flags"], step["group"]
    if step["as_said"] and not flags & PAIR:
        flags = GROUP_KINDS[group.kind] if group else flags if flags in (5, 6) else 0
    epoch = 0 if flags & PAIR and step["as_said"] else step["key_epoch"]
    key = HEARD[A][0] if flags & PAIR else KEYS.mac_keys.get(epoch, b"x" * 32)
    datagram = bytearray(
        Sealer().seal(
            key,
            group_tag(group) if group else node_tag(HERE),
            step["type"],
            flags,
            epoch,
            5,
            b"o" * 16,
            step["sender"],
            step["session"],
            step["counter"],
            *step["fragments"],
            step["body"],
        )
    )
    at = step["wrong_at"]
    if at is not None and at < len(datagram):
        datagram[at] ^= 1 << at % 8
    return bytes(datagram if at is None or at < 100 else datagram[: at - 60])


@given(st.lists(datagrams, max_size=30))
def test_open__twins_agree_step_by_step(steps: list[dict[str, Any]]) -> None:
    pure, fast = Side(gate_pure), Side(FAST)
    for step in steps:
        datagram, source = made(step), ("h", step["port"])
        before = pure.seen()
        found = pure.open(datagram, source, step["group"])
        assert fast.open(datagram, source, step["group"]) == found
        assert fast.seen() == pure.seen()
        if step["wrong_at"] is not None and found in ("mac", "receiver", "key_epoch"):
            assert pure.seen() == before


def test_open__all_ways_out() -> None:
    """That the steps above reach what there is to be reached: each of these once, in both twins."""
    good: dict[str, Any] = {
        **{"type": ChunkQuery.TYPE, "flags": 0, "key_epoch": 2, "sender": A, "session": SESSION},
        **{"counter": 11, "fragments": (0, 1), "body": BODIES[0], "group": None},
        **{"as_said": True, "wrong_at": None, "port": 1},
    }

    def opened(**changes: Any) -> Any:
        step = good | changes
        found = [
            side.open(made(step), ("h", 1), step["group"]) for side in (Side(gate_pure), Side(FAST))
        ]
        assert found[0] == found[1]
        return found[1]

    message = Incoming(QUERY, A, b"o" * 16, 5, ("h", 1))
    assert opened() == message
    assert opened(group=GROUPS[2]).group == GROUPS[2]
    for changes in ({"flags": 5}, {"fragments": (1, 2)}, {"type": FragmentGaps.TYPE}):
        held = opened(**changes)
        assert isinstance(held, Held) and held.known
    for changes in ({"sender": 9}, {"session": SESSION + 1}, {"type": 1}, {"type": 2}):
        held = opened(**changes)
        assert isinstance(held, Held) and not held.known
    assert opened(counter=10) == "replay"
    assert opened(type=CURVE_TYPE) == opened(type=59) == opened(flags=PAIR) == "unknown_type"
    assert opened(flags=PAIR, sender=B) == "key_epoch"
    assert opened(flags=PAIR, type=min(PAIR_TYPES)) == "truncated"
    assert opened(body=b"") == "truncated" and opened(body=BODIES[0] + b"x") == "trailing"
    assert opened(flags=1, as_said=False) == "receiver"
    assert opened(wrong_at=70) == "mac"
