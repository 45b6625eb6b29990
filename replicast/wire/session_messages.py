"""What endpoints say to each other: sessions (DESIGN 7) and lost fragments.

A receiver makes sure that a session it does not know is alive:

    sender                              receiver (does not know the sender's session)
      | -- any datagram -------------------> |   dropped, nothing allocated
      | <------------------- CHALLENGE ----- |   nonce; names the session and the counter
      | -- CHALLENGE_ANSWER ---------------> |   nonce back; may ask the receiver in turn
      | -- the datagram again -------------> |   under a new counter
      | <------------- CHALLENGE_ANSWER ---- |   only when it was asked in turn

Both are bare headers, so that no challenge is larger than what caused it:

    CHALLENGE         operation_id = nonce (8) + challenged session (8), generation = its counter
    CHALLENGE_ANSWER  operation_id = nonce answered (8) + nonce asked in turn (8, zero = none)

FRAGMENT_GAPS is an ordinary message of a known session. The sender of the large
message repeats the datagrams that it names as they were, counter included; the
receiver's replay window lets each through once.
"""

from __future__ import annotations

import struct as packing
from typing import Annotated

from replicast.wire.schema import U16, U64, Kind, Message, Struct, message, struct

GAP_RUNS_MAX = 64
_PAIR = packing.Struct("<QQ")


@message(1)
class Challenge(Message):
    """Receiver -> sender, unicast: prove that this session is alive."""


@message(2)
class ChallengeAnswer(Message):
    """Sender -> receiver, unicast: the proof. Its counter is the floor of what counts from now."""


@struct
class IndexRun(Struct):
    """Fragment indexes [start, end)."""

    start: U16
    end: U16


@message(3)
class FragmentGaps(Message):
    """Receiver -> sender of a message in fragments, unicast: these did not come."""

    session: U64  # of the message's sender
    counter: U64  # of the message's fragment 0
    runs: Annotated[tuple[IndexRun, ...], Kind("list", GAP_RUNS_MAX, IndexRun)]


SESSION_TYPES = (Challenge.TYPE, ChallengeAnswer.TYPE)


def pack_pair(first: int, second: int) -> bytes:
    """Two u64 as the 16 bytes of an operation id."""
    return _PAIR.pack(first, second)


def unpack_pair(operation_id: bytes) -> tuple[int, int]:
    """The two u64 of pack_pair()."""
    first, second = _PAIR.unpack(operation_id)
    return first, second
