"""Signing keys of Signature Version 4, and a bounded memory of those that were derived lately.

A key serves one secret for one day in one region, so a gateway needs few of them again and again,
and each costs four HMACs. Nothing expires by time: the day is part of what a key is found by.
Source: Amazon S3 API reference, "Authenticating Requests (Signature Version 4)".
"""

from __future__ import annotations

import hashlib
import hmac
from collections import OrderedDict

SERVICE = "s3"
TERMINAL = "aws4_request"
KEYS_MAX = 1024


def hmac_sha256(key: bytes, message: bytes) -> bytes:
    """One step of every derivation and signature."""
    return hmac.digest(key, message, hashlib.sha256)


def signing_key(secret: str, day: str, region: str) -> bytes:
    """The key that signs for `secret` on `day` (yyyymmdd) in `region`."""
    key = hmac_sha256(b"AWS4" + secret.encode(), day.encode())
    for part in (region, SERVICE, TERMINAL):
        key = hmac_sha256(key, part.encode())
    return key


class SigningKeys:
    """Remembers the `keys_max` keys that were asked for last.

    What it is asked for includes the secret, so a rotated secret never meets an old key.
    """

    def __init__(self, keys_max: int = KEYS_MAX) -> None:
        self._keys_max = keys_max
        self._keys: OrderedDict[tuple[str, str, str], bytes] = OrderedDict()

    def __len__(self) -> int:
        return len(self._keys)

    def key(self, secret: str, day: str, region: str) -> bytes:
        """As signing_key(), from memory where it can."""
        wanted = (secret, day, region)
        key = self._keys.get(wanted)
        if key is None:
            key = signing_key(secret, day, region)
            if len(self._keys) >= self._keys_max:
                self._keys.popitem(last=False)
            self._keys[wanted] = key
        else:
            self._keys.move_to_end(wanted)
        return key
