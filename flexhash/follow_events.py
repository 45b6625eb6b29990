"""What a follower of the control plane (follow.py) tells its owner, and what it asks whom."""

from __future__ import annotations

from dataclasses import dataclass

from replicast.flexhash.commands import Code
from replicast.flexhash.sources import Source
from replicast.flexhash.table import Table
from replicast.frozen import frozen
from replicast.machine import Event
from replicast.wire import control_messages as cm
from replicast.wire.schema import Message
from replicast.wire.user_messages import UserInfo


@frozen
class Ask:
    """One message for voter number `voter`."""

    voter: int
    message: Message
    operation_id: bytes
    generation: int


@dataclass(frozen=True, slots=True)
class AdoptTable(Event):
    """Give up what is lost, persist, switch, then call adopted(generation)."""

    table: Table


@dataclass(frozen=True, slots=True)
class PreparedTable(Event):
    """This table will be acknowledged once the events are handled: from then on it may become
    active any moment."""

    table: Table


@dataclass(frozen=True, slots=True)
class AskTarget(Event):
    """Ask this target; what it says goes to Follower.target_answered()."""

    source: Source
    message: cm.TableGet
    operation_id: bytes


@dataclass(frozen=True, slots=True)
class AdoptSettings(Event):
    """Switch to these buckets and settings, then call settings_adopted(version)."""

    version: int
    buckets: dict[tuple[str, str], cm.BucketInfo]
    settings: dict[str, str]


@dataclass(frozen=True, slots=True)
class AdoptUsers(Event):
    """These users changed, up to `version`; `whole` once all that a voter had were handed over."""

    version: int
    users: tuple[UserInfo, ...]
    whole: bool


@dataclass(frozen=True, slots=True)
class CommandDone(Event):
    """The outcome of submit(); `code` None: given up, outcome unknown."""

    token: int
    code: Code | None
    value: int


@dataclass(frozen=True, slots=True)
class LaterVoters(Event):
    """Voter number `voter` knows of a later voter epoch: ask it who votes."""

    epoch: int
    voter: int
