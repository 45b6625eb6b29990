"""Seals the secrets of users, so that voters keep, send and snapshot them without knowing them.

    sealing key = BLAKE2b-256(cluster id, key = cluster key, person = "replicast-user-1")
    sealed      = AES-256-GCM(sealing key, nonce, secret, associated data)
    associated data = cluster id (16), then key id and user name, each u16 size and UTF-8

The cluster key's epoch stands beside it: while two epochs are valid both open, the current one
seals. A nonce is 96 random bits and comes from the caller; with at most 2^32 sealings under one
key the chance of a repeated one stays below 2^-32 (NIST SP 800-38D, 8.3). What was sealed
for one user, key id or cluster opens for no other.
"""

from __future__ import annotations

import struct
from hashlib import blake2b

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from replicast.errors import ReplicastError
from replicast.keys import ClusterKeys
from replicast.wire.user_messages import SealedSecret

KEY_BYTES = 32
PERSON = b"replicast-user-1"


class SealError(ReplicastError):
    """A sealed secret that does not open: sealed under another key, for another user, or damaged."""

    reason = "NOT_SEALED_HERE"


class SecretSeal:
    """The sealing keys of one cluster. Never changes; holds no other secret."""

    def __init__(self, cluster_id: bytes, keys: ClusterKeys) -> None:
        self._cluster_id = cluster_id
        self._current = keys.current
        self._ciphers = {
            epoch: AESGCM(_sealing_key(cluster_id, key)) for epoch, key in keys.keys.items()
        }

    def seal(self, secret: str, *, name: str, key_id: str, nonce: bytes) -> SealedSecret:
        """Seal under the current cluster key; `nonce` must be 12 random bytes, never used before."""
        data = self._ciphers[self._current].encrypt(
            nonce, secret.encode(), self._bound_to(name, key_id)
        )
        return SealedSecret(key_epoch=self._current, nonce=nonce, data=data)

    def open(self, sealed: SealedSecret, *, name: str, key_id: str) -> str:
        """The secret; raises SealError."""
        cipher = self._ciphers.get(sealed.key_epoch)
        if cipher is None:
            raise SealError(
                f"user {name}: sealed under key epoch {sealed.key_epoch}, not known here"
            )
        try:
            secret = cipher.decrypt(sealed.nonce, sealed.data, self._bound_to(name, key_id))
            return secret.decode()
        except (InvalidTag, UnicodeDecodeError):
            raise SealError(f"user {name}: the sealed secret does not open") from None

    def _bound_to(self, name: str, key_id: str) -> bytes:
        parts = [self._cluster_id]
        for text in (key_id, name):
            raw = text.encode()
            parts += [struct.pack("<H", len(raw)), raw]
        return b"".join(parts)


def _sealing_key(cluster_id: bytes, cluster_key: bytes) -> bytes:
    return blake2b(cluster_id, key=cluster_key, digest_size=KEY_BYTES, person=PERSON).digest()
