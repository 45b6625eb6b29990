"""The founder's side of forming a cluster: a pure state machine, and its file.

    tokens are made -> members join, each with one -> all expected are there (or the operator
    says so) -> voters are chosen, the formation exists -> every member has it on disk: done

join() and the other calls take and give messages and values; joining.py moves them and saves
`state` after every change, before the answer leaves: so a token that let somebody in is used
up whatever happens next. Repeating any call changes nothing. Nothing is forgotten when the
founder is stopped and started again.
Limits: TOKENS_MAX tokens; after the formation nobody new is let in.
"""

from __future__ import annotations

import hmac
import random
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from replicast.formation import (
    ENDPOINTS,
    VOTER_EPOCH,
    Formation,
    FormationError,
    Member,
    Parameters,
    check_member,
    choose_voters,
    format_formation,
    parse_formation,
)
from replicast.keys import ClusterKeys, Role, format_cluster_keys, write_private
from replicast.machine import Address, NodeId
from replicast.metrics import Counters
from replicast.tokens import secret_hash
from replicast.wire.formation_messages import (
    JoinFormed,
    JoinPending,
    JoinPersisted,
    JoinRefused,
    JoinRequest,
)
from replicast.wire.schema import Message

STATE_FILE = "founder.toml"
TOKENS_MAX = 10_000


@dataclass(slots=True)
class TokenState:
    """A token by its hash; `used_by` is the public key that it let in, or empty."""

    role: Role
    used_by: str = ""


@dataclass(slots=True)
class FoundingState:
    """All that the founder must not forget. The cluster's keys are a file of their own."""

    cluster_id: bytes
    segment_id: int
    parameters: Parameters
    expected: dict[Role, int]
    address: Address  # where joiners find the founder
    tokens: dict[str, TokenState] = field(default_factory=dict)
    members: dict[str, Member] = field(default_factory=dict)  # by public key
    persisted: dict[str, bool] = field(default_factory=dict)
    voters: tuple[NodeId, ...] = ()  # not empty: formed


class FormationCore:
    """Decides who is in. `rng` gives node ids (random.SystemRandom in production)."""

    def __init__(
        self,
        state: FoundingState,
        keys: ClusterKeys,
        rng: random.Random,
        counters: Counters | None = None,
    ) -> None:
        self.state = state
        self.counters = counters or Counters()
        self._keys = keys
        self._rng = rng
        self._changed = False

    def take_changed(self) -> bool:
        """Whether `state` changed since the last call: it must be saved before answers leave."""
        changed, self._changed = self._changed, False
        return changed

    @property
    def formed(self) -> bool:
        """Whether the cluster exists: membership is closed."""
        return bool(self.state.voters)

    @property
    def done(self) -> bool:
        """Whether every member has the formation on its disk."""
        return self.formed and all(key in self.state.persisted for key in self.state.members)

    def counts(self) -> tuple[int, int]:
        """(joined, expected), over all roles."""
        return len(self.state.members), sum(self.state.expected.values())

    def add_token(self, role: Role, secret: bytes) -> None:
        """Let one node of this role join with `secret`; raises ValueError when it is too late."""
        if self.formed:
            raise ValueError("the cluster is formed already")
        if len(self.state.tokens) >= TOKENS_MAX or role == Role.VOTER:
            raise ValueError("no such token")
        self.state.tokens[secret_hash(secret)] = TokenState(role)
        self._changed = True

    def receive(self, message: Message, public_key: str) -> Message:
        """The answer to one message from the holder of `public_key`."""
        if isinstance(message, JoinRequest):
            return self._join(message, public_key)
        member = self.state.members.get(public_key)
        if isinstance(message, JoinPersisted) and member is not None and self.formed:
            self.note_persisted(public_key, True)
            return self._pending(member)
        return self._refuse("bad_request", "not expected from this node")

    def note_persisted(self, public_key: str, persisted: bool) -> None:
        """A member has the formation on disk, or has lost it and will ask again."""
        if public_key not in self.state.members or not self.formed:
            return
        if persisted != (public_key in self.state.persisted):
            self._changed = True
            if persisted:
                self.state.persisted[public_key] = True
            else:
                del self.state.persisted[public_key]

    def form(self) -> Formation:
        """Close membership and choose the voters; raises ValueError without any target."""
        targets = [m for m in self.state.members.values() if m.role == Role.TARGET]
        if not targets:
            raise ValueError("no target has joined")
        if not self.formed:
            self.state.voters = choose_voters(targets)
            self._changed = True
        return self.formation()

    def formation(self) -> Formation:
        """The document; only once formed."""
        state = self.state
        return Formation(
            cluster_id=state.cluster_id,
            segment_id=state.segment_id,
            voter_epoch=VOTER_EPOCH,
            parameters=state.parameters,
            voters=state.voters,
            members=tuple(sorted(state.members.values(), key=lambda m: m.node_id)),
        )

    def _join(self, request: JoinRequest, public_key: str) -> Message:
        member = self.state.members.get(public_key)
        if member is None:
            return self._join_new(request, public_key)
        if request.role != member.role:
            return self._refuse("wrong_role", f"has joined as a {member.role.name.lower()}")
        if not self.formed:
            return self._admit(request, member.role, public_key, member.node_id)
        return JoinFormed(
            node_id=member.node_id,
            formation=format_formation(self.formation()),
            cluster_keys=format_cluster_keys(self._keys),
        )

    def _join_new(self, request: JoinRequest, public_key: str) -> Message:
        token = self._token(request.secret)
        if token is None:
            return self._refuse("unknown_token", "no such token: ask the founder for a new one")
        if token.used_by:
            return self._refuse("used_token", "this token was used by another node")
        if token.role != request.role:
            return self._refuse("wrong_role", f"this token is for a {token.role.name.lower()}")
        if self.formed:
            return self._refuse("formed", "the cluster was formed without this node")
        answer = self._admit(request, token.role, public_key, self._new_node_id())
        if isinstance(answer, JoinPending):
            token.used_by = public_key
        return answer

    def _admit(
        self, request: JoinRequest, role: Role, public_key: str, node_id: NodeId
    ) -> JoinPending | JoinRefused:
        wanted = _member(request, role, node_id, public_key)
        try:
            check_member(wanted)
            self._check_unique(wanted)
        except ValueError as error:
            return self._refuse("bad_request", str(error))
        if self.state.members.get(public_key) != wanted:
            self.state.members[public_key] = wanted
            self._changed = True
        if self._complete():
            self.form()
        return self._pending(wanted)

    def _check_unique(self, wanted: Member) -> None:
        for other in self.state.members.values():
            if other.public_key == wanted.public_key:
                continue
            if (other.role, other.name) == (wanted.role, wanted.name):
                raise ValueError(f"the name {wanted.name} is taken")
            for what in ENDPOINTS:
                if getattr(wanted, what)[1] and getattr(wanted, what) == getattr(other, what):
                    raise ValueError(f"{what}: {other.name} has the same address")

    def _complete(self) -> bool:
        present = dict.fromkeys(self.state.expected, 0)
        for member in self.state.members.values():
            present[member.role] = present.get(member.role, 0) + 1
        return all(present[role] >= count for role, count in self.state.expected.items())

    def _token(self, secret: bytes) -> TokenState | None:
        wanted, found = secret_hash(secret), None
        for known, token in self.state.tokens.items():
            if hmac.compare_digest(known, wanted):
                found = token
        return found

    def _new_node_id(self) -> NodeId:
        taken = {member.node_id for member in self.state.members.values()}
        while (node_id := self._rng.getrandbits(64)) in taken or node_id == 0:
            continue
        return node_id

    def _pending(self, member: Member) -> JoinPending:
        joined, expected = self.counts()
        return JoinPending(node_id=member.node_id, joined=joined, expected=expected)

    def _refuse(self, reason: str, detail: str) -> JoinRefused:
        self.counters.count("join_refused", reason)
        return JoinRefused(reason=reason, detail=detail[:200])


def _member(request: JoinRequest, role: Role, node_id: NodeId, public_key: str) -> Member:
    return Member(
        node_id=node_id,
        role=role,
        name=request.name,
        host=request.host,
        zone=request.zone,
        public_key=public_key,
        vdev_count=request.vdev_count,
        **{w: (getattr(request, w).host, getattr(request, w).port) for w in ENDPOINTS},
    )


# -- the founder's file -------------------------------------------------------------------


def save_state(directory: Path, state: FoundingState) -> None:
    """Write founder.toml (0600: nobody else needs to know who joined with what)."""
    formation = FormationCore(state, ClusterKeys(0, {}), random.Random(0)).formation()
    lines = [
        f'address = ["{state.address[0]}", {state.address[1]}]',
        "expected = {" + ", ".join(f"{r.name} = {n}" for r, n in state.expected.items()) + "}",
        "persisted = [" + ", ".join(f'"{key}"' for key in state.persisted) + "]",
        "",
        "[tokens]",
    ]
    for hashed, token in state.tokens.items():
        lines.append(f'{hashed} = ["{token.role.name}", "{token.used_by}"]')
    lines += ["", "[formation]", "document = '''", format_formation(formation) + "'''"]
    write_private(directory / STATE_FILE, "\n".join(lines) + "\n")


def load_state(directory: Path) -> FoundingState:
    """Read founder.toml; raises FormationError."""
    path = directory / STATE_FILE
    try:
        return _parse_state(path, tomllib.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise FormationError(f"{path}: {error.strerror}") from None
    except (KeyError, TypeError, ValueError) as error:
        raise FormationError(f"{path}: damaged: {error}") from None


def _parse_state(path: Path, values: Mapping[str, Any]) -> FoundingState:
    formation = parse_formation(values["formation"]["document"], str(path), complete=False)
    return FoundingState(
        cluster_id=formation.cluster_id,
        segment_id=formation.segment_id,
        parameters=formation.parameters,
        address=(str(values["address"][0]), int(values["address"][1])),
        expected={Role[name]: count for name, count in values["expected"].items()},
        tokens={h: TokenState(Role[role], by) for h, (role, by) in values["tokens"].items()},
        members={member.public_key: member for member in formation.members},
        persisted=dict.fromkeys(values["persisted"], True),
        voters=formation.voters,
    )
