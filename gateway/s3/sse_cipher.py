"""The bytes of encrypted objects: AES-256-GCM of chunks, each with a nonce and a tag of its own.

    data key    32 random bytes, of one object or of one upload
    key id      64 random bits, of one put or of one part; stands in every reference of it
    part key    BLAKE2b-256(key id (8), key = data key, person = "replicast-sse-p1")
    chunk       nonce (12), ciphertext, tag (16)
    nonce       offset of the chunk in its put or part (6), random (6)
    associated  "replicast-sse-chunk", key id (8), plain size (4)

Integers are big-endian. Under one part key every offset comes once, so no nonce comes twice; if two
parts of one upload should draw the same key id (2^-38 for ten thousand), the random half is left.
A chunk opens for its key, size and offset: not in another object, nor elsewhere in its own.
Inline bytes are a chunk at offset 0, whose nonce and tag lie apart.

Pure: keys and randomness come in.
"""

from __future__ import annotations

import struct
from hashlib import blake2b

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import GCM

from replicast.gateway.initiation import Block
from replicast.gateway.sealed import SealBroken

KEY_BYTES = 32
NONCE_BYTES, TAG_BYTES, NOISE_BYTES = 12, 16, 6
OFFSET_BYTES = NONCE_BYTES - NOISE_BYTES
PERSON = b"replicast-sse-p1"
BOUND = b"replicast-sse-chunk"
_BOUND = struct.Struct(">QI")


class PartCipher:
    """Of one put or part. Usable from any thread."""

    def __init__(self, data_key: bytes, key_id: int) -> None:
        assert len(data_key) == KEY_BYTES
        raw = key_id.to_bytes(8, "big")
        key = blake2b(raw, key=data_key, digest_size=KEY_BYTES, person=PERSON).digest()
        self._opening, self._algorithm, self._key_id = AESGCM(key), AES(key), key_id

    def seal(self, block: Block, offset: int, noise: bytes) -> bytearray:
        """The chunk at `offset`; `noise`: NOISE_BYTES random bytes."""
        assert len(noise) == NOISE_BYTES
        nonce = offset.to_bytes(OFFSET_BYTES, "big") + noise
        # Into its place: a nonce put in front of what encrypt() returns took 1.3 ms of CPU for 1 MiB,
        # most of it pages that are taken from the kernel and given back; this takes 0.13 ms.
        sealed = bytearray(NONCE_BYTES + len(block) + TAG_BYTES)
        view = memoryview(sealed)
        view[:NONCE_BYTES] = nonce
        sealing = Cipher(self._algorithm, GCM(nonce)).encryptor()
        sealing.authenticate_additional_data(self._bound(len(block)))
        sealing.update_into(block, view[NONCE_BYTES:])
        sealing.finalize()
        view[-TAG_BYTES:] = sealing.tag
        return sealed

    def open(self, stored: Block, size_bytes: int) -> tuple[int, bytes]:
        """The offset at which it was sealed, and the plain bytes; raises SealBroken."""
        view = memoryview(stored)
        nonce = bytes(view[:NONCE_BYTES])
        if len(view) != NONCE_BYTES + size_bytes + TAG_BYTES:
            raise SealBroken(f"a sealed chunk of {len(view)} bytes for {size_bytes}")
        try:
            plain = self._opening.decrypt(nonce, view[NONCE_BYTES:], self._bound(size_bytes))
        except InvalidTag:
            raise SealBroken("a sealed chunk does not open") from None
        return int.from_bytes(nonce[:OFFSET_BYTES], "big"), plain

    def seal_inline(self, block: Block, noise: bytes) -> tuple[bytes, bytes]:
        """Ciphertext of the same size, and what belongs to it: nonce and tag."""
        sealed = self.seal(block, 0, noise)
        end = len(sealed) - TAG_BYTES
        return bytes(sealed[NONCE_BYTES:end]), bytes(sealed[:NONCE_BYTES] + sealed[end:])

    def open_inline(self, inline: bytes, apart: bytes) -> bytes:
        """The plain bytes; raises SealBroken."""
        sealed = apart[:NONCE_BYTES] + inline + apart[NONCE_BYTES:]
        offset, plain = self.open(sealed, len(inline))
        if offset:
            raise SealBroken("inline bytes that were sealed as a chunk")
        return plain

    def _bound(self, size_bytes: int) -> bytes:
        return BOUND + _BOUND.pack(self._key_id, size_bytes)
