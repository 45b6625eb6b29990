"""Join tokens: one line that a person carries from the founder to another host.

    rc1.<base64url>  =  role, port, secret, founder's public key, founder's host, check bytes

It pins the founder's key, so the joiner knows whom it talks to, and carries a random secret
that works once, for one role. The founder keeps the secret's hash only. The check bytes catch
a line that was cut when pasted; they are no protection.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import secrets
import struct
from dataclasses import dataclass, field

from zmq.utils import z85

from replicast.errors import InvalidRequest
from replicast.formation import HOST
from replicast.keys import Role
from replicast.machine import Address

PREFIX = "rc1."
HEAD = struct.Struct("<BH16s32s")
CHECK_BYTES = 4
SECRET_BYTES = 16


class TokenError(InvalidRequest):
    """A text that is not a token."""


@dataclass(frozen=True, slots=True)
class Token:
    """What a joiner needs to know."""

    role: Role
    founder: Address
    founder_key: str
    secret: bytes = field(repr=False)


def make_token(role: Role, founder: Address, founder_key: str) -> Token:
    """A token with a new secret."""
    return Token(role, founder, founder_key, secrets.token_bytes(SECRET_BYTES))


def secret_hash(secret: bytes) -> str:
    """What the founder stores. The secret is random and long: no salt, no stretching."""
    return hashlib.sha3_256(b"replicast join token" + secret).hexdigest()


def format_token(token: Token) -> str:
    """The line for people."""
    host, port = token.founder
    key = z85.decode(token.founder_key.encode("ascii"))
    raw = HEAD.pack(token.role, port, token.secret, key) + host.encode("utf-8")
    text = base64.urlsafe_b64encode(raw + _check(raw)).decode("ascii").rstrip("=")
    return PREFIX + text


def parse_token(text: str) -> Token:
    """The token in a line; raises TokenError."""
    text = text.strip()
    if not text.startswith(PREFIX):
        raise TokenError(f"a join token starts with {PREFIX}")
    body = text.removeprefix(PREFIX)
    try:
        raw = base64.b64decode(body + "=" * (-len(body) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raise TokenError("the join token has a character that does not belong there") from None
    raw, check = raw[:-CHECK_BYTES], raw[-CHECK_BYTES:]
    if len(raw) <= HEAD.size or check != _check(raw):
        raise TokenError("the join token is incomplete: copy the whole line")
    role, port, secret, key = HEAD.unpack_from(raw)
    try:
        host = raw[HEAD.size :].decode("ascii")
        if not HOST.fullmatch(host) or not port:
            raise ValueError(host)
        return Token(Role(role), (host, port), z85.encode(key).decode("ascii"), secret)
    except ValueError:
        raise TokenError("the join token is of another version") from None


def _check(raw: bytes) -> bytes:
    return hashlib.blake2b(raw, digest_size=CHECK_BYTES).digest()
