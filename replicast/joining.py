"""Forming a cluster, the I/O half: the founder's server, the joiner's client, their files.

    init_cluster(directory, ...)            keys and founder.toml; nothing listens yet
    founder = Founder(directory); founder.make_tokens(Role.TARGET, 4); await founder.run()
    await join_cluster(token, directory, ...)     on the other host; returns when formed
    await form_here(directory, ...)         all of it in one process, for a cluster on one host

The founder is a short-lived process; stopped and started again it goes on where it was. The
founder's host joins like every other. A joiner that is stopped simply joins again: same key,
same token, same node.
"""

from __future__ import annotations

import asyncio
import random
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from replicast.curve import CurveClient, CurveHub, Received
from replicast.disks import RealDisk
from replicast.errors import ReplicastError
from replicast.flexhash.voter_file import VoterFile
from replicast.flexhash.voters import formed_voters
from replicast.formation import (
    CLUSTER_KEY_FILE,
    ENDPOINTS,
    FORMATION_FILE,
    NODE_KEY_FILE,
    NOWHERE,
    Formation,
    FormationError,
    Parameters,
    load_formation,
    parse_formation,
    save_formation,
)
from replicast.founding import STATE_FILE, FormationCore, FoundingState, load_state, save_state
from replicast.keys import (
    Identity,
    KeyPair,
    Role,
    load_cluster_keys,
    load_key_pair,
    make_cluster_keys,
    make_key_pair,
    parse_cluster_keys,
    save_cluster_keys,
    save_key_pair,
)
from replicast.machine import Address
from replicast.metrics import Counters
from replicast.tokens import SECRET_BYTES, Token, format_token, make_token, parse_token
from replicast.wire.codec import WireError
from replicast.wire.formation_messages import (
    JoinFormed,
    JoinPending,
    JoinPersisted,
    JoinRefused,
    JoinRequest,
    Where,
)
from replicast.wire.frame import pack_frame, unpack_frame
from replicast.wire.schema import Message

FOUNDER_KEY_FILE = "founder.key"
POLL_SECONDS = 0.25
REQUEST_SECONDS = 2.0
PERSISTED_ATTEMPTS = 5
REQUEST_BYTES_MAX = 16 << 10
QUEUE_FRAMES_MAX = 100
STRANGER = Identity(0, Role.STRANGER)


class JoinError(ReplicastError):
    """The founder said no, or its answer makes no sense; `reason` is a stable word."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail, reason=reason)


@dataclass(frozen=True, slots=True, kw_only=True)
class Joiner:
    """What a node says of itself. `addresses` has udp, peer, control, raft and metrics."""

    name: str
    host: str
    zone: str = "default"
    vdev_count: int = 0
    addresses: Mapping[str, Address] = field(default_factory=dict)


def init_cluster(
    directory: Path, *, address: Address, expected: Mapping[Role, int], parameters: Parameters
) -> FoundingState:
    """Make a cluster's identity and keys in `directory`; refuses one that has them already.

    `address` is where joiners reach this host (port 0: chosen when the founder first runs);
    `expected` is how many of each role complete the cluster.
    """
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    if (directory / STATE_FILE).exists():
        raise FormationError(f"{directory / STATE_FILE}: a cluster is being formed here already")
    save_key_pair(directory / FOUNDER_KEY_FILE, make_key_pair())
    save_cluster_keys(directory / CLUSTER_KEY_FILE, make_cluster_keys())
    state = FoundingState(
        cluster_id=secrets.token_bytes(16),
        segment_id=secrets.randbits(63) + 1,
        parameters=parameters,
        expected=dict(expected),
        address=address,
    )
    save_state(directory, state)
    return state


class Founder:
    """Lets nodes in until the cluster is formed and everybody has it on disk.

    Make it inside the running event loop. close() is for leaving early.
    """

    def __init__(self, directory: Path, counters: Counters | None = None) -> None:
        self._directory = directory
        self._key = load_key_pair(directory / FOUNDER_KEY_FILE)
        keys = load_cluster_keys(directory / CLUSTER_KEY_FILE)
        self.core = FormationCore(
            load_state(directory), keys, random.SystemRandom(), counters or Counters()
        )
        self._hub = CurveHub(self.core.counters)
        try:
            self._server = self._hub.server(
                "join",
                self.core.state.address,
                self._key,
                lambda _key: STRANGER,
                message_bytes_max=REQUEST_BYTES_MAX,
                queue_frames_max=QUEUE_FRAMES_MAX,
            )
        except OSError:
            self._hub.close()
            raise
        self.core.state.address = self._server.address
        save_state(directory, self.core.state)

    @property
    def address(self) -> Address:
        """Where this founder listens."""
        return self._server.address

    def make_tokens(self, role: Role, count: int) -> list[str]:
        """New tokens, each for one node of this role; their secrets are kept nowhere else."""
        lines = []
        for _ in range(count):
            token = make_token(role, self.address, self._key.public)
            self.core.add_token(role, token.secret)
            lines.append(format_token(token))
        self._save()
        return lines

    def known_token(self, role: Role) -> str:
        """A line for a node that has joined before: its key lets it in, the secret is empty."""
        return format_token(Token(role, self.address, self._key.public, bytes(SECRET_BYTES)))

    def note_persisted(self, public_key: str, persisted: bool) -> None:
        """Whether a member on this host has the formation on disk, as the caller can see."""
        self.core.note_persisted(public_key, persisted)
        self._save()

    def form(self) -> Formation:
        """Form with those who have joined; raises ValueError when there is no target."""
        formation = self.core.form()
        self._save()
        return formation

    async def run(self, progress: Callable[[FormationCore], None] | None = None) -> Formation:
        """Answer joiners until every member has the formation; then close and return it."""
        try:
            while not self.core.done:
                self._answer(await self._server.recv())
                if progress is not None:
                    progress(self.core)
            await asyncio.sleep(POLL_SECONDS)  # the last answer is still on its way
        finally:
            self.close()
        return self.core.formation()

    def close(self) -> None:
        """Stop listening."""
        self._hub.close()

    def _answer(self, received: Received) -> None:
        try:
            message, operation_id, _ = unpack_frame(received.frame)
        except WireError as error:
            self.core.counters.count("join_refused", error.reason)
            return
        reply = self.core.receive(message, received.public_key)
        self._save()
        self._server.send(received.peer, pack_frame(reply, operation_id))

    def _save(self) -> None:
        if self.core.take_changed():
            save_state(self._directory, self.core.state)


async def join_cluster(
    token_text: str,
    directory: Path,
    joiner: Joiner,
    progress: Callable[[JoinPending], None] | None = None,
) -> Formation:
    """Join with a token and wait for the formation; its files are in `directory` then.

    Raises TokenError, JoinError (refused), FormationError (this directory has joined already).
    """
    if (directory / FORMATION_FILE).exists():
        raise FormationError(f"{directory}: has joined a cluster already")
    token = parse_token(token_text)
    key = _own_key(directory)
    request = JoinRequest(
        secret=token.secret,
        role=token.role,
        name=joiner.name,
        host=joiner.host,
        zone=joiner.zone,
        vdev_count=joiner.vdev_count,
        **{what: _where(joiner.addresses.get(what, NOWHERE)) for what in ENDPOINTS},
    )
    hub = CurveHub()
    try:
        client = hub.client("join", token.founder, token.founder_key, key)
        formed = await _wait_formed(client, request, progress)
        formation = _persist(directory, formed, key)
        await _tell_persisted(client, formed)
        return formation
    finally:
        hub.close()


async def form_here(
    directory: Path,
    members: Mapping[Path, tuple[Role, Joiner]],
    parameters: Parameters,
    host: str = "127.0.0.1",
) -> Formation:
    """Form a cluster whose members all live on this host; `members`: directory -> who.

    Picks up where an interrupted call stopped.
    """
    if all((path / FORMATION_FILE).exists() for path in members):
        return load_formation(next(iter(members)))
    if not (directory / STATE_FILE).exists():
        roles = [role for role, _ in members.values()]
        expected = {role: roles.count(role) for role in dict.fromkeys(roles)}
        init_cluster(directory, address=(host, 0), expected=expected, parameters=parameters)
    founder = Founder(directory)
    for path in members:
        founder.note_persisted(_own_key(path).public, (path / FORMATION_FILE).exists())
    founding = asyncio.ensure_future(founder.run())
    try:
        await asyncio.gather(
            *(_join_here(founder, path, *who) for path, who in members.items()),
        )
        return await founding
    finally:
        founding.cancel()
        founder.close()


async def _join_here(founder: Founder, directory: Path, role: Role, joiner: Joiner) -> None:
    if (directory / FORMATION_FILE).exists():
        return
    known = _own_key(directory).public in founder.core.state.members
    token = founder.known_token(role) if known else founder.make_tokens(role, 1)[0]
    await join_cluster(token, directory, joiner)


def _own_key(directory: Path) -> KeyPair:
    path = directory / NODE_KEY_FILE
    if not path.exists():
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        save_key_pair(path, make_key_pair())
    return load_key_pair(path)


def _where(address: Address) -> Where:
    return Where(host=address[0], port=address[1])


async def _ask(client: CurveClient, message: Message) -> Message:
    """One question and its answer; raises TimeoutError, or JoinError for a refusal."""
    frame = pack_frame(message, secrets.token_bytes(16))
    try:
        reply, _, _ = unpack_frame(await client.request(frame, timeout_seconds=REQUEST_SECONDS))
    except WireError as error:
        raise JoinError(error.reason, "the founder runs another version") from None
    if isinstance(reply, JoinRefused):
        raise JoinError(reply.reason, reply.detail)
    return reply


async def _wait_formed(
    client: CurveClient, request: JoinRequest, progress: Callable[[JoinPending], None] | None
) -> JoinFormed:
    while True:
        try:
            reply = await _ask(client, request)
        except TimeoutError:
            continue  # the founder may be restarting; a person can stop this
        if isinstance(reply, JoinFormed):
            return reply
        if isinstance(reply, JoinPending) and progress is not None:
            progress(reply)
        await asyncio.sleep(POLL_SECONDS)


def _persist(directory: Path, formed: JoinFormed, key: KeyPair) -> Formation:
    formation = parse_formation(formed.formation, "formation from the founder")
    keys = parse_cluster_keys(formed.cluster_keys, directory / CLUSTER_KEY_FILE)
    try:
        me = formation.member(formed.node_id)
    except KeyError:
        raise JoinError("not_a_member", "the formation does not list this node") from None
    if me.public_key != key.public:
        raise JoinError("not_a_member", "the formation lists another key for this node")
    save_cluster_keys(directory / CLUSTER_KEY_FILE, keys)
    voters = formed_voters(formation.voter_epoch, formation.voter_members())
    VoterFile(RealDisk(), directory.absolute(), formation.cluster_id).save(voters)
    save_formation(directory, formation, formed.node_id)
    return formation


async def _tell_persisted(client: CurveClient, formed: JoinFormed) -> None:
    for _ in range(PERSISTED_ATTEMPTS):
        try:
            await _ask(client, JoinPersisted(node_id=formed.node_id))
        except TimeoutError:
            continue
        return  # a founder that never hears it only waits longer
