"""What users of the S3 gateways may be called, and what their keys may look like.

Checked where a command is made, with a sentence for people, and again in the replicated state:
so nothing here may depend on anything but the text (no tables of the interpreter's version).
"""

from __future__ import annotations

import re

from replicast.errors import InvalidRequest

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@+=,-]{0,62}", re.ASCII)
KEY_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{2,127}", re.ASCII)
CANONICAL_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9$._:@+=/-]{0,127}", re.ASCII)
SECRET = re.compile(r"[!-~]{8,128}", re.ASCII)
DISPLAY_NAME_BYTES_MAX = 255
NOT_IN_XML = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")


def check_user(name: str, key_id: str, canonical_id: str, display_name: str) -> None:
    """Raise InvalidRequest that says the rule which one of them breaks."""
    if not NAME.fullmatch(name):
        raise InvalidRequest(
            f"user name {name!r}: use 1 to 63 letters, digits and . _ @ + = , - and begin with a "
            "letter or digit",
            reason="INVALID_USER_NAME",
        )
    if not KEY_ID.fullmatch(key_id):
        raise InvalidRequest(
            f"key id {key_id!r}: use 3 to 128 letters, digits and . _ - and begin with a letter "
            "or digit",
            reason="INVALID_KEY_ID",
        )
    if not CANONICAL_ID.fullmatch(canonical_id):
        raise InvalidRequest(
            f"canonical id {canonical_id!r}: use 1 to 128 letters, digits and $ . _ : @ + = / - "
            "and begin with a letter or digit",
            reason="INVALID_CANONICAL_ID",
        )
    if NOT_IN_XML.search(display_name) or not _fits(display_name):
        raise InvalidRequest(
            f"display name {display_name!r}: use 1 to {DISPLAY_NAME_BYTES_MAX} bytes of UTF-8 "
            "without control characters",
            reason="INVALID_DISPLAY_NAME",
        )


def _fits(display_name: str) -> bool:
    return 1 <= len(display_name.encode()) <= DISPLAY_NAME_BYTES_MAX


def check_secret(secret: str) -> None:
    """Raise InvalidRequest; the sentence does not repeat the secret."""
    if not SECRET.fullmatch(secret):
        raise InvalidRequest(
            "a secret has 8 to 128 printable ASCII characters, none of them a space",
            reason="INVALID_SECRET",
        )
