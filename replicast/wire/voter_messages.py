"""Replacing a voter: the command that ends a voter epoch, and how the next one is learned.

any client                            voter
  | <- NOTICE of a later voter epoch -- |
  | -- VOTERS_GET --------------------> |   VOTERS_DATA: who votes now
a target that votes from now on
  | -- START_GET, again and again ----> |   START_DATA: the state that the epoch begins with
"""

from __future__ import annotations

from typing import Annotated

from replicast.wire.control_records import VOTERS_MAX, VoterInfo
from replicast.wire.schema import U32, U64, Bytes32, Kind, Message, message

START_PIECE_BYTES_MAX = 256 << 10
Voters = Annotated[tuple[VoterInfo, ...], Kind("list", VOTERS_MAX, VoterInfo)]
Piece = Annotated[bytes, Kind("bytes", START_PIECE_BYTES_MAX)]


@message(110)
class ReplaceVoters(Message):
    """A command: the last one of `voter_epoch`. `voters` are those of the next, of which one is
    new. What lies behind it in the log is not applied."""

    voter_epoch: U32
    voters: Voters


@message(111)
class VotersGet(Message):
    """Who votes? Answered when that is another epoch than the cluster was formed with."""

    have_epoch: U32


@message(112)
class VotersData(Message):
    """The voters of `voter_epoch`; `start` is the digest of the state that it begins with."""

    voter_epoch: U32
    start: Bytes32
    voters: Voters


@message(113)
class StartGet(Message):
    """A voter of that epoch asks for the state that it begins with, from `offset` on."""

    voter_epoch: U32
    offset: U64


@message(114)
class StartData(Message):
    """A piece of it; `total_bytes` is the whole size."""

    voter_epoch: U32
    offset: U64
    total_bytes: U64
    data: Piece
