"""gateway/s3/sse_cipher.py and sse_envelope.py: the bytes that are on disks must open for ever."""

from __future__ import annotations

from hashlib import blake2b

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from replicast.gateway.s3.sse_cipher import PartCipher
from replicast.gateway.s3.sse_envelope import Envelope, Method, ObjectSeal, Place, read_envelope
from replicast.gateway.sealed import SEALED, SealBroken
from replicast.keys import ClusterKeys

from .sealing import CLUSTER_ID, KEYS

# McGrew and Viega, "The Galois/Counter Mode of Operation", appendix B, test case 16 (AES-256).
GCM_16 = {
    "key": "feffe9928665731c6d6a8f9467308308" * 2,
    "plain": "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72"
    "1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39",
    "bound": "feedfacedeadbeeffeedfacedeadbeefabaddad2",
    "nonce": "cafebabefacedbaddecaf888",
    "sealed": "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa"
    "8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662"
    "76fc6ece0f4e1768cddf8853bb2d551b",
}


def test_aes_gcm__is_what_was_published() -> None:
    raw = {name: bytes.fromhex(text) for name, text in GCM_16.items()}
    cipher = AESGCM(raw["key"])
    assert cipher.encrypt(raw["nonce"], raw["plain"], raw["bound"]) == raw["sealed"]


def test_chunk__is_as_documented() -> None:
    data_key, key_id, noise = bytes(range(32)), 0x0102030405060708, b"noise!"
    key = blake2b(
        bytes(range(1, 9)), key=data_key, digest_size=32, person=b"replicast-sse-p1"
    ).digest()
    nonce = bytes([0, 0, 0, 16, 0, 1]) + noise
    bound = b"replicast-sse-chunk" + bytes(range(1, 9)) + bytes([0, 0, 0, 5])
    sealed = PartCipher(data_key, key_id).seal(b"hello", 0x100001, noise)
    assert sealed == nonce + AESGCM(key).encrypt(nonce, b"hello", bound)
    assert sealed.hex() == "0000001000016e6f6973652192db7d1f90918491c7e18b9abfba249f85184ed542"


def test_envelope_and_root__are_as_ever() -> None:
    seal, place = ObjectSeal(CLUSTER_ID, KEYS), Place(7, "a/ü", "u", 3)
    found = [
        seal.wrap(bytes(range(32)), place, customer, bytes(range(28))).text
        for customer in (None, b"c" * 32)
    ]
    assert found == [
        "SSE-S3 2 AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGwOmqSQ041+b6Kv"
        "LoweU+GiMFh46tusVTaUXyQm1AI/GNl3gtk2qxejfUX9Njzsw8w==",
        "SSE-C 2 AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaG9kwEPlSO+S4tOnX"
        "5TUqTzoq0QUE6ULOfHL695xqxuSIg/P5b7q2ecLKhECZxiyrxg==",
    ]
    assert seal.root(b"body", place, 1) == "WqzDMGCxt5a8YJg810O5Daz38LccSmPmT7gXhZcMaZI="


def test_place__no_two_are_the_same() -> None:
    places = [Place(1, "ab"), Place(1, "a", "b"), Place(1, "a", "b", 1), Place(257, "ab")]
    assert len({place.encoded() for place in places}) == 4


def test_unwrap__under_an_epoch_that_is_over() -> None:
    seal = ObjectSeal(CLUSTER_ID, ClusterKeys(3, {3: b"3" * 32}))
    old = ObjectSeal(CLUSTER_ID, KEYS).wrap(bytes(32), Place(1, "o"), None, bytes(28))
    with pytest.raises(SealBroken, match="epoch 2"):
        seal.unwrap(old, Place(1, "o"), None)
    with pytest.raises(SealBroken, match="epoch 2"):
        seal.check_root("", b"", Place(1, "o"), 2)


def test_read_envelope__none() -> None:
    assert read_envelope({}) is None
    assert "wrapped" not in repr(Envelope(Method.SERVER, 1, b"x"))
    for text in ("", "SSE-S3 1", "SSE-X 1 AA==", "SSE-S3 x AA==", "SSE-S3 1 AA==", "SSE-S3 1 ="):
        with pytest.raises(SealBroken):
            read_envelope({SEALED: text})
