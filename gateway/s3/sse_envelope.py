"""How the data key of an object is kept with it, and the root that holds the object together.

    SEALED       method, epoch of the cluster key, base64(salt (16), nonce (12), wrapped key (48))
    wrapped key  AES-256-GCM(wrapping key, nonce, data key, associated data)
    wrapping key BLAKE2b-256(salt, key = K, person = "replicast-sse-w1"), where K is the customer's key
                 (SSE-C) or BLAKE2b-256(cluster id, key = cluster key, person = "replicast-sse-k1")
    root         BLAKE2b-256(place, body, key = BLAKE2b-256(cluster id, key = cluster key, person =
                 "replicast-sse-r1"), person = "replicast-sse-m1"), in base64
    associated data = method, epoch, place; place = bucket's incarnation (8), name, upload id, part number

Every wrapping has a key of its own by its salt, so their number is not bounded by what one key of GCM
may do. A wrong customer's key does not unwrap; of the key itself nothing is kept, nor a hash of it.
The root is under the cluster key for both methods, for who completes an upload or copies need not know
the customer's. The body that it covers names its chunks by their hashes, which every read checks: so
no chunk can be left out, repeated, moved or exchanged, and no other body can take this one's place.
The place of a data key is the object's, for all parts of an upload too; that of a part's root says
which part of which upload it is.

Pure: keys and randomness come in.
"""

from __future__ import annotations

import hmac
import struct
from base64 import b64decode, b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from hashlib import blake2b

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from replicast.gateway.s3.sse_cipher import KEY_BYTES, NONCE_BYTES, TAG_BYTES
from replicast.gateway.sealed import SEALED, SealBroken
from replicast.keys import ClusterKeys

SALT_BYTES = 16
RANDOM_BYTES = SALT_BYTES + NONCE_BYTES  # what one wrapping needs
WRAP, CLUSTER, ROOT_KEY, ROOT = (
    b"replicast-sse-w1",
    b"replicast-sse-k1",
    b"replicast-sse-r1",
    b"replicast-sse-m1",
)


class Method(Enum):
    """Who has the key; the values are what is stored."""

    SERVER = "SSE-S3"
    CUSTOMER = "SSE-C"


class WrongKey(SealBroken):
    """A data key that does not unwrap: with a customer's key, mostly another one than it was wrapped with."""

    reason = "WRONG_KEY"


@dataclass(frozen=True, slots=True)
class Place:
    """Where sealed bytes belong."""

    incarnation: int
    name: str
    upload_id: str = ""
    part_number: int = 0

    def encoded(self) -> bytes:
        """No two places have the same bytes."""
        name, upload = self.name.encode(), self.upload_id.encode()
        head = struct.pack(">QHHH", self.incarnation, self.part_number, len(name), len(upload))
        return head + name + upload

    def part(self, upload_id: str, number: int) -> Place:
        """Of a part of an upload to here."""
        return Place(self.incarnation, self.name, upload_id, number)


@dataclass(frozen=True, slots=True)
class Envelope:
    """A data key as it is kept."""

    method: Method
    epoch: int
    wrapped: bytes = field(repr=False)  # salt, nonce, wrapped key

    @property
    def text(self) -> str:
        """The value of SEALED."""
        return f"{self.method.value} {self.epoch} {b64encode(self.wrapped).decode()}"


def read_envelope(metadata: Mapping[str, str]) -> Envelope | None:
    """None: what has this metadata is not sealed. Raises SealBroken."""
    text = metadata.get(SEALED)
    if text is None:
        return None
    try:
        method, epoch, wrapped = text.split(" ")
        found = Envelope(Method(method), int(epoch), b64decode(wrapped, validate=True))
    except ValueError:
        raise SealBroken("the envelope of a data key cannot be read") from None
    if len(found.wrapped) != RANDOM_BYTES + KEY_BYTES + TAG_BYTES:
        raise SealBroken("the envelope of a data key has the wrong size")
    return found


class ObjectSeal:
    """Wraps and binds with the keys of one cluster. Never changes."""

    def __init__(self, cluster_id: bytes, keys: ClusterKeys) -> None:
        self.epoch = keys.current
        self._wrapping = {e: _derived(cluster_id, key, CLUSTER) for e, key in keys.keys.items()}
        self._roots = {e: _derived(cluster_id, key, ROOT_KEY) for e, key in keys.keys.items()}

    def wrap(self, data_key: bytes, place: Place, customer: bytes | None, noise: bytes) -> Envelope:
        """`customer`: the customer's key, None for the cluster's; `noise`: RANDOM_BYTES random bytes."""
        assert len(noise) == RANDOM_BYTES and len(data_key) == KEY_BYTES
        method = Method.SERVER if customer is None else Method.CUSTOMER
        salt, nonce = noise[:SALT_BYTES], noise[SALT_BYTES:]
        cipher = self._cipher(self.epoch, salt, customer)
        wrapped = cipher.encrypt(nonce, data_key, _bound(method, self.epoch, place))
        return Envelope(method, self.epoch, noise + wrapped)

    def unwrap(self, envelope: Envelope, place: Place, customer: bytes | None) -> bytes:
        """The data key; raises WrongKey, SealBroken. `customer`: for Method.CUSTOMER, and only then."""
        assert (envelope.method is Method.CUSTOMER) == (customer is not None)
        salt = envelope.wrapped[:SALT_BYTES]
        nonce, wrapped = envelope.wrapped[SALT_BYTES:RANDOM_BYTES], envelope.wrapped[RANDOM_BYTES:]
        bound = _bound(envelope.method, envelope.epoch, place)
        try:
            return self._cipher(envelope.epoch, salt, customer).decrypt(nonce, wrapped, bound)
        except InvalidTag:
            raise WrongKey("the data key does not unwrap") from None

    def root(self, body: bytes, place: Place, epoch: int) -> str:
        """The value of SEALED_ROOT; `epoch`: of the body's envelope."""
        digest = blake2b(key=self._known(self._roots, epoch), digest_size=32, person=ROOT)
        encoded = place.encoded()
        digest.update(len(encoded).to_bytes(4, "big") + encoded)
        digest.update(body)
        return b64encode(digest.digest()).decode()

    def check_root(self, root: str, body: bytes, place: Place, epoch: int) -> None:
        """Raises SealBroken."""
        if not hmac.compare_digest(root.encode(), self.root(body, place, epoch).encode()):
            raise SealBroken("the root of a sealed object is not that of its body")

    def _cipher(self, epoch: int, salt: bytes, customer: bytes | None) -> AESGCM:
        key = self._known(self._wrapping, epoch) if customer is None else customer
        return AESGCM(blake2b(salt, key=key, digest_size=KEY_BYTES, person=WRAP).digest())

    def _known(self, keys: Mapping[int, bytes], epoch: int) -> bytes:
        if epoch not in keys:
            raise SealBroken(f"sealed under cluster key epoch {epoch}, which is not known here")
        return keys[epoch]


def _bound(method: Method, epoch: int, place: Place) -> bytes:
    return f"{method.value} {epoch} ".encode() + place.encoded()


def _derived(cluster_id: bytes, cluster_key: bytes, person: bytes) -> bytes:
    return blake2b(cluster_id, key=cluster_key, digest_size=KEY_BYTES, person=person).digest()
