"""Shell: encrypts bodies while they are put and decrypts them while they are read, in threads.

Implements what gateway/sealed.py asks for. A chunk reaches its reader once its tag was found right, and
not before.
"""

from __future__ import annotations

import asyncio
import logging
from base64 import b64decode, b64encode
from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass

from replicast.gateway.initiation import Block
from replicast.gateway.manifest import metadata_of
from replicast.gateway.s3.hashing_threads import AT_ONCE_BYTES_MAX
from replicast.gateway.s3.sse_cipher import NOISE_BYTES, PartCipher
from replicast.gateway.s3.sse_envelope import Envelope, ObjectSeal, Place, read_envelope
from replicast.gateway.sealed import SEALED, SEALED_INLINE, SealBroken, unbound
from replicast.metrics import Counters
from replicast.wire.documents import ManifestBody, Reference

log = logging.getLogger("replicast.gateway.s3")

KEY_ID_BYTES = 8
CIPHERS_MAX = 16  # of parts that one read goes through, kept at a time


@dataclass(frozen=True, slots=True)
class Tools:
    """What all of them share. `random_bytes`: so many that nobody can guess."""

    seal: ObjectSeal
    executor: Executor
    random_bytes: Callable[[int], bytes]
    counters: Counters

    def broken(self, place: Place, error: SealBroken) -> SealBroken:
        """Counted and logged; to be raised."""
        self.counters.count("s3_seals_broken")
        log.error("sealed object %r: %s", place.name, error)
        return error

    def check_root(self, body: ManifestBody, place: Place) -> None:
        """That `body` is what was sealed at `place`; raises SealBroken."""
        try:
            envelope = read_envelope(metadata_of(body))
            if envelope is None:
                raise SealBroken("what should be sealed is not")
            bare, root = unbound(body)
            self.seal.check_root(root, bare, place, envelope.epoch)
        except SealBroken as error:
            raise self.broken(place, error) from None


class BodySealer:
    """Of one put or part; see gateway/sealed.py."""

    def __init__(self, tools: Tools, data_key: bytes, envelope: Envelope, place: Place) -> None:
        self._tools, self._envelope, self._place = tools, envelope, place
        # 0 stands for no key in references
        self.key_id = int.from_bytes(tools.random_bytes(KEY_ID_BYTES), "big") or 1
        self._cipher = PartCipher(data_key, self.key_id)

    @property
    def items(self) -> Mapping[str, str]:
        return {SEALED: self._envelope.text}

    def root(self, body: bytes) -> str:
        return self._tools.seal.root(body, self._place, self._envelope.epoch)

    async def seal(self, block: Block, offset: int) -> Block:
        noise = self._tools.random_bytes(NOISE_BYTES)
        if len(block) <= AT_ONCE_BYTES_MAX:
            return self._cipher.seal(block, offset, noise)
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(
            self._tools.executor, self._cipher.seal, block, offset, noise
        )

    def seal_inline(self, block: Block) -> tuple[bytes, str]:
        inline, apart = self._cipher.seal_inline(block, self._tools.random_bytes(NOISE_BYTES))
        key_id = self.key_id.to_bytes(KEY_ID_BYTES, "big")
        return inline, b64encode(key_id + apart).decode()


class BodyOpener:
    """Of one read; see gateway/sealed.py. `data_key`: of the object."""

    def __init__(self, tools: Tools, data_key: bytes, place: Place) -> None:
        self._tools, self.data_key, self._place = tools, data_key, place
        self._ciphers: dict[int, PartCipher] = {}
        self._begins: dict[
            int, int
        ] = {}  # offset in the object at which a key's put or part begins

    async def open(self, reference: Reference, stored: Block) -> Block:
        key_id, size_bytes = reference.encryption_key_id, reference.logical_bytes
        cipher = self._cipher(key_id)
        try:
            if size_bytes <= AT_ONCE_BYTES_MAX:
                offset, plain = cipher.open(stored, size_bytes)
            else:
                loop = asyncio.get_running_loop()
                offset, plain = await loop.run_in_executor(
                    self._tools.executor, cipher.open, stored, size_bytes
                )
            begin = reference.offset - offset
            if begin < 0 or self._begins.setdefault(key_id, begin) != begin:
                raise SealBroken("a sealed chunk is not where it was put")
        except SealBroken as error:
            raise self._tools.broken(self._place, error) from None
        return plain

    def open_inline(self, body: ManifestBody) -> bytes:
        text = metadata_of(body).get(SEALED_INLINE, "")
        if not text and not body.inline:
            return b""  # composed of empty parts
        try:
            raw = b64decode(text)
            key_id = int.from_bytes(raw[:KEY_ID_BYTES], "big")
            return self._cipher(key_id).open_inline(body.inline, raw[KEY_ID_BYTES:])
        except SealBroken as error:
            raise self._tools.broken(self._place, error) from None

    def _cipher(self, key_id: int) -> PartCipher:
        found = self._ciphers.get(key_id)
        if found is None:
            if len(self._ciphers) >= CIPHERS_MAX:
                self._ciphers.clear()
            found = self._ciphers[key_id] = PartCipher(self.data_key, key_id)
        return found


class Rebinder:
    """For a copy of sealed bytes under their own data key, which was wrapped anew for its place."""

    def __init__(
        self, tools: Tools, source: ManifestBody, envelope: Envelope, place: Place
    ) -> None:
        self._tools, self._envelope, self._place = tools, envelope, place
        inline = metadata_of(source).get(SEALED_INLINE)
        self.items = {SEALED: envelope.text} | ({SEALED_INLINE: inline} if inline else {})

    def root(self, body: bytes) -> str:
        return self._tools.seal.root(body, self._place, self._envelope.epoch)


class UploadBinder:
    """For the object that an upload becomes: under the upload's data key, wrapped for this place
    already."""

    def __init__(self, tools: Tools, envelope: Envelope, place: Place, upload_id: str) -> None:
        self._tools, self._envelope, self._place = tools, envelope, place
        self._upload_id = upload_id
        self.items = {SEALED: envelope.text}

    def root(self, body: bytes) -> str:
        return self._tools.seal.root(body, self._place, self._envelope.epoch)

    def check_part(self, body: ManifestBody, number: int) -> None:
        self._tools.check_root(body, self._place.part(self._upload_id, number))
