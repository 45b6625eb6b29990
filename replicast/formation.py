"""What a cluster was formed as: one document that every member keeps, and its client's half.

    formation.toml   all members with keys and addresses, voters, policy; on every member
    cluster.toml     what a client needs to find the cluster; on every member and client

Both are written once, whole, at formation; neither holds a secret. Later changes of membership
are Raft state, not edits of these files. Formats: docs/formats-control.md.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from replicast.addresses import address_text, canonical_host, parse_address
from replicast.errors import InvalidRequest
from replicast.keys import Identity, Role, is_public_key, write_private
from replicast.machine import Address, NodeId

FORMAT = 1
VOTER_EPOCH = 1  # of every cluster as it is formed
FORMATION_FILE, CLUSTER_FILE = "formation.toml", "cluster.toml"
CLUSTER_KEY_FILE, NODE_KEY_FILE = "cluster.key", "node.key"
PUBLIC_MODE = 0o644
LABEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
HOST = re.compile(r"[A-Za-z0-9.:_-]{1,255}")
NOWHERE: Address = ("", 0)
ENDPOINTS = ("udp", "peer", "control", "raft", "metrics")
TRANSPORTS = ("unicast", "multicast")


class FormationError(InvalidRequest):
    """A formation document that cannot be used; the text names file and key."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameters:
    """What the operator fixes at creation, for the life of the cluster."""

    transport: str = "unicast"
    content_hash: str = "blake3-256"
    chunk_size_bytes: int = 1 << 20
    row_count: int = 4096
    group_size: int = 8
    copies: int = 3
    min_copies: int = 2
    algorithm: int = 1
    multicast_port: int = 0  # 0: derived from the cluster id
    retry_window_seconds: int = 900  # how long rows remember what operations answered


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One node. A gateway or administrator listens nowhere that members need to know."""

    node_id: NodeId
    role: Role
    name: str
    host: str
    zone: str
    public_key: str
    vdev_count: int = 0
    udp: Address = NOWHERE
    peer: Address = NOWHERE
    control: Address = NOWHERE
    raft: Address = NOWHERE
    metrics: Address = NOWHERE


@dataclass(frozen=True, slots=True, kw_only=True)
class Formation:
    """The whole document. `voters` are node ids of targets."""

    cluster_id: bytes
    segment_id: int
    voter_epoch: int
    parameters: Parameters
    voters: tuple[NodeId, ...]
    members: tuple[Member, ...]

    def member(self, node_id: NodeId) -> Member:
        """The member with this id; raises KeyError."""
        for member in self.members:
            if member.node_id == node_id:
                return member
        raise KeyError(node_id)

    def of_role(self, role: Role) -> tuple[Member, ...]:
        """All members of one role, in order of node id."""
        return tuple(member for member in self.members if member.role == role)

    def voter_members(self) -> tuple[Member, ...]:
        """The voters, in order of node id."""
        return tuple(self.member(node_id) for node_id in sorted(self.voters))


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterFile:
    """cluster.toml: who I am and whom to ask. Paths are relative to the file's directory."""

    cluster_id: bytes
    segment_id: int
    node_id: NodeId
    role: Role
    transport: str
    content_hash: str
    chunk_size_bytes: int
    multicast_port: int
    node_key: Path
    cluster_key: Path
    directory: Path  # of the file itself; voters.toml lies beside it, once voters were replaced
    voters: tuple[Member, ...]  # id, name, host, zone, key and control address only


def identities(formation: Formation) -> dict[str, Identity]:
    """Public key -> who holds it, for a channel's allow-list until the Raft state has its own."""
    return {m.public_key: Identity(m.node_id, m.role) for m in formation.members}


def voter_name(node_id: NodeId) -> str:
    """The name of a voter in Raft."""
    return f"{node_id:016x}"


def choose_voters(targets: Sequence[Member]) -> tuple[NodeId, ...]:
    """1, 3 or 5 targets, in as many zones, then hosts, as there are; ties by node id."""
    count = max(n for n in (1, 3, 5) if n <= max(1, len(targets)))
    chosen: list[Member] = []
    left = sorted(targets, key=lambda member: member.node_id)
    while left and len(chosen) < count:

        def crowding(member: Member) -> tuple[int, int]:
            zones = sum(1 for other in chosen if other.zone == member.zone)
            return zones, sum(1 for other in chosen if other.host == member.host)

        best = min(left, key=crowding)
        left.remove(best)
        chosen.append(best)
    return tuple(sorted(member.node_id for member in chosen))


# -- formation.toml ---------------------------------------------------------------------


def format_formation(formation: Formation) -> str:
    """The document as TOML."""
    lines = [
        f"format = {FORMAT}",
        f'cluster_id = "{formation.cluster_id.hex()}"',
        f'segment_id = "{formation.segment_id:016x}"',
        f"voter_epoch = {formation.voter_epoch}",
        "voters = [" + ", ".join(f'"{v:016x}"' for v in formation.voters) + "]",
        "",
        "[parameters]",
        *toml_pairs(asdict(formation.parameters)),
    ]
    for member in formation.members:
        lines += ["", "[[members]]", *_member_lines(member)]
    return "\n".join(lines) + "\n"


def parse_formation(text: str, where: str = FORMATION_FILE, *, complete: bool = True) -> Formation:
    """The document in `text`; raises FormationError that names `where` and the key.

    One without voters is only half of a founder's state, not a cluster: complete=False.
    """
    values = _toml(text, where)
    try:
        formation = Formation(
            cluster_id=_hex(values["cluster_id"], 16),
            segment_id=int.from_bytes(_hex(values["segment_id"], 8)),
            voter_epoch=int(values["voter_epoch"]),
            parameters=_parameters(values["parameters"]),
            voters=tuple(int.from_bytes(_hex(v, 8)) for v in values["voters"]),
            members=tuple(_member(m) for m in values.get("members", ())),
        )
        formation.voter_members()
        if complete and not formation.voters:
            raise ValueError("no voters")
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise FormationError(f"{where}: {_reason(error)}") from None
    return formation


def check_member(member: Member) -> None:
    """Raise ValueError unless the member can be a member: labels, key, addresses."""
    for what in ("name", "host", "zone"):
        if not LABEL.fullmatch(getattr(member, what)):
            raise ValueError(f"{what}: letters, digits, '.', '_' and '-', at most 63")
    if not is_public_key(member.public_key):
        raise ValueError("public_key: not a Z85 key")
    for what in ENDPOINTS:
        host, port = getattr(member, what)
        needed = member.role == Role.TARGET
        if needed and not (HOST.fullmatch(host) and 0 < port < 1 << 16):
            raise ValueError(f"{what}: not a host and port")
        if needed and canonical_host(host) != host:
            raise ValueError(f"{what}: {host} is written {canonical_host(host)}")
        if not needed and (host, port) != NOWHERE:
            raise ValueError(f"{what}: only targets have one")
    if member.role == Role.TARGET and not 1 <= member.vdev_count <= 512:
        raise ValueError("vdev_count: 1 to 512")


# -- files ------------------------------------------------------------------------------


def save_formation(directory: Path, formation: Formation, node_id: NodeId) -> None:
    """Write cluster.toml, then formation.toml: with the latter the node has joined."""
    write_private(
        directory / CLUSTER_FILE, format_cluster_file(formation, node_id), mode=PUBLIC_MODE
    )
    write_private(directory / FORMATION_FILE, format_formation(formation), mode=PUBLIC_MODE)


def load_formation(directory: Path) -> Formation:
    """Read formation.toml; raises FormationError."""
    path = directory / FORMATION_FILE
    return parse_formation(_read(path), str(path))


def formation_beside(cluster: ClusterFile) -> Formation | None:
    """The document that lies beside a member's key; None: there is none, or it cannot be used.

    For those who can do without: it says where targets were when the cluster was formed."""
    try:
        return load_formation(cluster.node_key.parent)
    except FormationError:
        return None


def format_cluster_file(formation: Formation, node_id: NodeId, *, keys_in: Path = Path("")) -> str:
    """cluster.toml for one node. `keys_in`: where its key files lie, seen from the file."""
    me, parameters = formation.member(node_id), formation.parameters
    lines = [
        f"format = {FORMAT}",
        f'cluster_id = "{formation.cluster_id.hex()}"',
        f'segment_id = "{formation.segment_id:016x}"',
        f'node_id = "{node_id:016x}"',
        f'role = "{me.role.name.lower()}"',
        *toml_pairs({k: getattr(parameters, k) for k in _CLUSTER_PARAMETERS}),
        *toml_pairs({"node_key": str(keys_in / NODE_KEY_FILE)}),
        *toml_pairs({"cluster_key": str(keys_in / CLUSTER_KEY_FILE)}),
    ]
    for voter in formation.voter_members():
        bare = replace(voter, udp=NOWHERE, peer=NOWHERE, raft=NOWHERE, metrics=NOWHERE)
        lines += ["", "[[voters]]", *_member_lines(bare)]
    return "\n".join(lines) + "\n"


def load_cluster_file(path: Path) -> ClusterFile:
    """Read cluster.toml, or the one in a directory; raises FormationError."""
    path = path / CLUSTER_FILE if path.is_dir() else path
    values = _toml(_read(path), str(path))
    try:
        return ClusterFile(
            cluster_id=_hex(values["cluster_id"], 16),
            segment_id=int.from_bytes(_hex(values["segment_id"], 8)),
            node_id=int.from_bytes(_hex(values["node_id"], 8)),
            role=Role[str(values["role"]).upper()],
            transport=_choice(values["transport"], TRANSPORTS),
            content_hash=str(values["content_hash"]),
            chunk_size_bytes=int(values["chunk_size_bytes"]),
            multicast_port=int(values["multicast_port"]),
            node_key=path.parent / str(values["node_key"]),
            cluster_key=path.parent / str(values["cluster_key"]),
            directory=path.parent.absolute(),
            voters=tuple(_member(voter) for voter in values["voters"]),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise FormationError(f"{path}: {_reason(error)}") from None


_CLUSTER_PARAMETERS = ("transport", "content_hash", "chunk_size_bytes", "multicast_port")


def _member_lines(member: Member) -> list[str]:
    values: dict[str, Any] = {
        "node_id": f"{member.node_id:016x}",
        "role": member.role.name.lower(),
        **{k: getattr(member, k) for k in ("name", "host", "zone", "public_key")},
    }
    if member.vdev_count:
        values["vdev_count"] = member.vdev_count
    for what in ENDPOINTS:
        host, port = getattr(member, what)
        if port:
            values[what] = address_text((host, port))
    return toml_pairs(values)


def _member(values: Mapping[str, Any]) -> Member:
    return Member(
        node_id=int.from_bytes(_hex(values["node_id"], 8)),
        role=Role[str(values["role"]).upper()],
        name=_label(values["name"]),
        host=_label(values["host"]),
        zone=_label(values["zone"]),
        public_key=_key(values["public_key"]),
        vdev_count=int(values.get("vdev_count", 0)),
        **{what: _address(values[what]) for what in ENDPOINTS if what in values},
    )


def _parameters(values: Mapping[str, Any]) -> Parameters:
    known = {f.name: str(f.type) for f in fields(Parameters)}
    for key, value in values.items():
        if key not in known or type(value).__name__ != known[key]:
            raise ValueError(f"parameters.{key} = {value!r}")
    _choice(values["transport"], TRANSPORTS)
    if values.get("retry_window_seconds", 1) < 1:
        raise ValueError("parameters.retry_window_seconds: at least 1")
    return Parameters(**values)


def toml_pairs(values: Mapping[str, Any]) -> list[str]:
    """`key = value` lines: strings, numbers, truth values and lists of them."""
    # A JSON string is a TOML string, and so are JSON's numbers, booleans and lists of these.
    return [f"{key} = {json.dumps(value, ensure_ascii=False)}" for key, value in values.items()]


def _address(text: str) -> Address:
    host, port = parse_address(text)
    if not HOST.fullmatch(host):
        raise ValueError(f"{text!r} is not host:port")
    return host, port


def _label(text: str) -> str:
    if not LABEL.fullmatch(text):
        raise ValueError(f"{text!r} is not a label")
    return text


def _key(text: str) -> str:
    if not is_public_key(text):
        raise ValueError(f"{text!r} is not a public key")
    return text


def _choice(text: str, choices: Sequence[str]) -> str:
    if text not in choices:
        raise ValueError(f"{text!r} is not one of {', '.join(choices)}")
    return text


def _hex(text: str, size: int) -> bytes:
    raw = bytes.fromhex(text)
    if len(raw) != size:
        raise ValueError(f"{text!r} has not {2 * size} hex digits")
    return raw


def _reason(error: Exception) -> str:
    return f"{error.args[0]!r} is missing" if isinstance(error, KeyError) else str(error)


def _toml(text: str, where: str) -> dict[str, Any]:
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise FormationError(f"{where}: not valid TOML: {error}") from None
    if values.get("format") != FORMAT:
        raise FormationError(f"{where}: format {values.get('format')}; this version knows {FORMAT}")
    return values


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise FormationError(f"{path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise FormationError(f"{path}: not UTF-8") from None
