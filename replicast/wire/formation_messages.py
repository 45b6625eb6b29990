"""Joining a cluster that is being formed: between a joining host and its founder, over CURVE.

The founder's key is pinned by the token; who joins is known by the key of the channel, so a
token stolen later is worth nothing. The joiner repeats JoinRequest until the answer is
JoinFormed; repeating changes nothing.
"""

from __future__ import annotations

from typing import Annotated

from replicast.wire.schema import U8, U16, U64, Bytes16, Kind, Message, Struct, message, struct

DOCUMENT_BYTES_MAX = 4 << 20
Label = Annotated[str, Kind("text", 255)]
Document = Annotated[str, Kind("text", DOCUMENT_BYTES_MAX)]


@struct
class Where(Struct):
    """Where something listens."""

    host: Label
    port: U16


@message(140)
class JoinRequest(Message):
    """Joiner -> founder. The addresses of what a gateway does not have are empty."""

    secret: Bytes16
    role: U8
    name: Label
    host: Label
    zone: Label
    vdev_count: U16
    udp: Where
    peer: Where
    control: Where
    raft: Where
    metrics: Where


@message(141)
class JoinPending(Message):
    """Founder -> joiner: you are in; the cluster is not complete yet. Ask again."""

    node_id: U64
    joined: U16
    expected: U16


@message(142)
class JoinFormed(Message):
    """Founder -> joiner: the cluster exists. Both documents are TOML."""

    node_id: U64
    formation: Document
    cluster_keys: Document


@message(143)
class JoinPersisted(Message):
    """Joiner -> founder: the documents are on my disk. Answered by JoinPending."""

    node_id: U64


@message(144)
class JoinRefused(Message):
    """Founder -> joiner: no, for this reason; asking again will not help."""

    reason: Label
    detail: Label
