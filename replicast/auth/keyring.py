"""The cluster keys of datagrams, and the MAC made with them.

A key belongs to an epoch (0-255, wrapping); during a rotation two epochs are
valid and the newer one is used for sending. The key that MACs is derived from
the cluster key and the cluster id, so that clusters which share a key by
mistake still do not hear each other.

    mac key = BLAKE2b-256(cluster id, key = cluster key, person = "replicast-mac-1")
    MAC     = BLAKE3(header bytes 0-63 + receiver tag (8) + body, key = mac key), its first 16 bytes
    receiver tag = node id (u64), or for a group its kind (1 negotiating, 2 rendezvous; u32)
                   and number (u32); all little-endian

BLAKE3 in place of BLAKE2b because every byte of a control message is MACed twice, by the event loops
of both ends: it takes a fifth of the time for 4 KiB and an eighth for 60 KiB (docs/performance.md).

A KeyRing never changes; rotation makes a new one.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from hashlib import blake2b

from blake3 import blake3

from replicast.machine import Group, NodeId
from replicast.wire.codec_pure import Buffer
from replicast.wire.header import MAC_BYTES

KEY_BYTES = 32
TAG_BYTES = 8
EPOCHS_MAX = 2
GROUP_KINDS = {"negotiating": 1, "rendezvous": 2}
GROUP_NAMES = {number: name for name, number in GROUP_KINDS.items()}


def node_tag(node_id: NodeId) -> bytes:
    """The receiver tag of a unicast datagram."""
    return node_id.to_bytes(8, "little")


def group_tag(group: Group) -> bytes:
    """The receiver tag of a datagram to a group."""
    return struct.pack("<II", GROUP_KINDS[group.kind], group.number)


def mac_of(mac_key: bytes, head: bytes, tag: bytes, body: Buffer) -> bytes:
    """The MAC, MAC_BYTES long."""
    return blake3(b"".join((head, tag, body)), key=mac_key).digest(MAC_BYTES)


class KeyRing:
    """At most two key epochs; `current` is the one that sends. `mac_keys`: that of each epoch."""

    __slots__ = ("_cluster_id", "_keys", "current", "mac_keys")

    def __init__(self, cluster_id: bytes, current: int, keys: Mapping[int, bytes]) -> None:
        if current not in keys or len(keys) > EPOCHS_MAX:
            raise ValueError("a key ring has the current epoch and at most one other")
        if any(not 0 <= e <= 255 or len(k) != KEY_BYTES for e, k in keys.items()):
            raise ValueError(f"key epochs are 0-255 and keys {KEY_BYTES} bytes")
        self._cluster_id = cluster_id
        self.current = current
        self._keys = dict(keys)
        self.mac_keys = {epoch: _mac_key(cluster_id, key) for epoch, key in keys.items()}

    def has(self, epoch: int) -> bool:
        """Is this epoch valid?"""
        return epoch in self.mac_keys

    def mac(self, epoch: int, head: bytes, tag: bytes, body: Buffer) -> bytes:
        """The 16-byte MAC under `epoch`, which must be valid."""
        return mac_of(self.mac_keys[epoch], head, tag, body)

    def rotated(self, epoch: int, key: bytes) -> KeyRing:
        """Both this ring's current key and the new one are valid; the new one sends."""
        keys = {self.current: self._keys[self.current], epoch: key}
        return KeyRing(self._cluster_id, epoch, keys)

    def without_old(self) -> KeyRing:
        """Only the current epoch stays valid: the end of a rotation."""
        return KeyRing(self._cluster_id, self.current, {self.current: self._keys[self.current]})


def _mac_key(cluster_id: bytes, key: bytes) -> bytes:
    return blake2b(cluster_id, key=key, digest_size=KEY_BYTES, person=b"replicast-mac-1").digest()
