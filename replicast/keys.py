"""Keys of nodes and of the cluster, and the files that keep them.

A node has one CURVE key pair (its identity on every channel); the cluster has one MAC key per
key epoch (its datagrams). Files with secrets are 0600, written whole, synced and renamed, and
refused when anybody else may read them. Secrets are never logged and never in a repr.
"""

from __future__ import annotations

import os
import re
import secrets
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path
from typing import Any

import zmq

from replicast.auth.keyring import EPOCHS_MAX
from replicast.errors import InvalidRequest

CLUSTER_KEY_BYTES = 32
KEY_EPOCH_MAX = 255
Z85_KEY = re.compile(r"[0-9a-zA-Z.\-:+=^!/*?&<>()\[\]{}@%$#]{40}")


class KeyFileError(InvalidRequest):
    """A key file that cannot be used; the text names the file and what to do."""


class Role(IntEnum):
    """What a public key may ask for; it follows from the key, never from a message."""

    STRANGER = 0  # has proved a key and nothing else: founders hear such, nobody else does
    TARGET = 1
    GATEWAY = 2
    ADMIN = 3
    VOTER = 4  # Raft channel only: a voter's key is also a TARGET's key elsewhere


@dataclass(frozen=True, slots=True)
class Identity:
    """Who stands behind a public key."""

    node_id: int
    role: Role


@dataclass(frozen=True, slots=True)
class KeyPair:
    """A CURVE key pair, both halves in Z85 (40 characters)."""

    public: str
    secret: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class ClusterKeys:
    """The MAC keys of the cluster by key epoch; `current` is the one to send with."""

    current: int
    keys: Mapping[int, bytes] = field(repr=False)


class AllowList:
    """Public key -> identity; the `allow` argument of a CURVE server."""

    def __init__(self, identities: Mapping[str, Identity] | None = None) -> None:
        self._identities = dict(identities or {})

    def __call__(self, public_key: str) -> Identity | None:
        return self._identities.get(public_key)

    def __len__(self) -> int:
        return len(self._identities)

    def add(self, public_key: str, identity: Identity) -> None:
        """Allow a key from now on."""
        self._identities[public_key] = identity

    def revoke(self, public_key: str) -> None:
        """Forget a key; messages of its open connections are dropped from now on."""
        self._identities.pop(public_key, None)

    def replace(self, identities: Mapping[str, Identity]) -> None:
        """Take over a whole new list."""
        self._identities = dict(identities)


def is_public_key(text: str) -> bool:
    """Whether `text` has the form of a Z85 CURVE key."""
    return Z85_KEY.fullmatch(text) is not None


def make_key_pair() -> KeyPair:
    """A new key pair from the operating system's randomness."""
    public, secret = zmq.curve_keypair()
    return KeyPair(public.decode("ascii"), secret.decode("ascii"))


def make_cluster_keys() -> ClusterKeys:
    """The first cluster key, epoch 1."""
    return ClusterKeys(1, {1: secrets.token_bytes(CLUSTER_KEY_BYTES)})


def save_key_pair(path: Path, pair: KeyPair) -> None:
    """Write `path` (0600)."""
    write_private(path, f'public = "{pair.public}"\nsecret = "{pair.secret}"\n')


def load_key_pair(path: Path) -> KeyPair:
    """Read a key pair; raises KeyFileError."""
    values = read_private_toml(path)
    public, secret = values.get("public"), values.get("secret")
    if not (isinstance(public, str) and isinstance(secret, str)):
        raise KeyFileError(f"{path}: needs public and secret")
    if not (is_public_key(public) and is_public_key(secret)):
        raise KeyFileError(f"{path}: public and secret must be Z85 keys of 40 characters")
    try:
        belongs = zmq.curve_public(secret.encode("ascii")) == public.encode("ascii")
    except zmq.ZMQError:  # 40 characters of the alphabet that stand for no number
        belongs = False
    if not belongs:
        raise KeyFileError(f"{path}: public and secret do not belong together")
    return KeyPair(public, secret)


def format_cluster_keys(keys: ClusterKeys) -> str:
    """The keys as TOML."""
    lines = [f'{epoch} = "{key.hex()}"' for epoch, key in sorted(keys.keys.items())]
    return f"current = {keys.current}\n\n[keys]\n" + "\n".join(lines) + "\n"


def save_cluster_keys(path: Path, keys: ClusterKeys) -> None:
    """Write `path` (0600)."""
    write_private(path, format_cluster_keys(keys))


def load_cluster_keys(path: Path) -> ClusterKeys:
    """Read the cluster's MAC keys; raises KeyFileError."""
    return _cluster_keys(path, read_private_toml(path))


def parse_cluster_keys(text: str, where: Path) -> ClusterKeys:
    """The keys in a text that came from elsewhere; raises KeyFileError."""
    try:
        return _cluster_keys(where, tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise KeyFileError(f"{where}: not valid TOML: {error}") from None


def _cluster_keys(path: Path, values: Mapping[str, Any]) -> ClusterKeys:
    current, table = values.get("current"), values.get("keys")
    if not isinstance(current, int) or not isinstance(table, dict):
        raise KeyFileError(f"{path}: needs current and [keys]")
    keys = {}
    for epoch, text in table.items():
        keys[_epoch(path, epoch)] = _cluster_key(path, text)
    if current not in keys:
        raise KeyFileError(f"{path}: no key of the current epoch {current}")
    if len(keys) > EPOCHS_MAX:
        raise KeyFileError(f"{path}: {len(keys)} key epochs: at most {EPOCHS_MAX} are valid")
    return ClusterKeys(current, keys)


def _epoch(path: Path, text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 0 < int(text) <= KEY_EPOCH_MAX:
        raise KeyFileError(f"{path}: key epoch {text}: must be 1 to {KEY_EPOCH_MAX}")
    return int(text)


def _cluster_key(path: Path, text: Any) -> bytes:
    try:
        key = bytes.fromhex(text)
    except (TypeError, ValueError):
        key = b""
    if len(key) != CLUSTER_KEY_BYTES:
        raise KeyFileError(f"{path}: a cluster key is {2 * CLUSTER_KEY_BYTES} hex digits")
    return key


def write_private(path: Path, text: str, *, mode: int = 0o600) -> None:
    """Write a small file whole: temporary name, sync, rename, sync of the directory."""
    temporary = path.with_name(path.name + ".new")
    temporary.unlink(missing_ok=True)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.rename(temporary, path)
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def check_private(path: Path, descriptor: int) -> None:
    """Raise KeyFileError when others may read that open file."""
    if os.fstat(descriptor).st_mode & 0o077:
        raise KeyFileError(f"{path}: others may read this secret; run: chmod 600 {path}")


def read_private_toml(path: Path) -> dict[str, Any]:
    """A TOML file with secrets; raises KeyFileError, also when others may read it."""
    try:
        with path.open("rb") as file:
            check_private(path, file.fileno())
            return tomllib.load(file)
    except OSError as error:
        raise KeyFileError(f"{path}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise KeyFileError(f"{path}: not valid TOML: {error}") from None
