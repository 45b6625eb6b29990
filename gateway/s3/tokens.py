"""Continuation tokens: where a listing goes on, in a form that clients hand back unread.

Any gateway reads what any other wrote. A token says nothing that the client could not ask for
otherwise, so it is no secret; the digest in it refuses garbage and the token of another listing.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Sequence

from replicast.gateway.s3.arguments import invalid_argument
from replicast.wire.name_messages import AFTER_BYTES_MAX

_VERSION = b"\x01"
_DIGEST_BYTES = 9
_CHARS_MAX = (len(_VERSION) + _DIGEST_BYTES + AFTER_BYTES_MAX) * 4 // 3 + 4


def make_token(position: str, listing: Sequence[str]) -> str:
    """`listing`: what makes it this listing and no other, such as bucket, prefix and delimiter.
    The position is bounded by AFTER_BYTES_MAX."""
    raw = position.encode()
    assert len(raw) <= AFTER_BYTES_MAX
    token = _VERSION + _digest(raw, listing) + raw
    return base64.urlsafe_b64encode(token).decode().rstrip("=")


def read_token(token: str, listing: Sequence[str]) -> str:
    """The position; raises InvalidArgument for what make_token did not make for this listing."""
    try:
        if len(token) > _CHARS_MAX:
            raise ValueError
        raw = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
        head, position = raw[: 1 + _DIGEST_BYTES], raw[1 + _DIGEST_BYTES :]
        if head != _VERSION + _digest(position, listing):
            raise ValueError
        text = position.decode()
        if make_token(text, listing) != token:
            raise ValueError  # the same bytes, written otherwise
        return text
    except (ValueError, AssertionError, binascii.Error):
        raise invalid_argument(
            "continuation-token", token, "The continuation token provided is incorrect"
        ) from None


def _digest(position: bytes, listing: Sequence[str]) -> bytes:
    digest = hashlib.blake2b(digest_size=_DIGEST_BYTES)
    for part in (*(text.encode() for text in listing), position):
        digest.update(len(part).to_bytes(4, "little") + part)
    return digest.digest()
