"""Percent-encoding, read strictly: what is no escape or no UTF-8 is refused, never guessed."""

from __future__ import annotations

import re
from urllib.parse import quote, unquote_to_bytes

from replicast.gateway.s3.errors import S3Error

_BROKEN = re.compile(r"%(?![0-9A-Fa-f]{2})")
QUOTED_CHARS_MAX = 200  # of what was refused, in the answer


def decode(text: str, *, plus_is_space: bool = False) -> str:
    """The text behind the escapes; characters of `text` stand for the bytes of the wire (latin-1).

    `plus_is_space`: as in queries. Raises InvalidURI.
    """
    if _BROKEN.search(text):
        raise _refused(text)
    if plus_is_space:
        text = text.replace("+", " ")
    if text.isascii() and "%" not in text:
        return text  # as nearly all are
    try:
        return unquote_to_bytes(text.encode("latin-1")).decode()
    except UnicodeError:
        raise _refused(text) from None


def encode(text: str) -> str:
    """As encoding-type=url wants it in listings: everything but unreserved characters and "/".

    A space becomes %20, as ceph/s3-tests has it: SDKs do not read "+" as a space there.
    """
    return quote(text, safe="/-_.~")


def decode_query(query: str) -> dict[str, str]:
    """Names and values; of repeated names the first, "" for those without a value.

    Raises InvalidURI.
    """
    found: dict[str, str] = {}
    for pair in filter(None, query.split("&")):
        name, _, value = pair.partition("=")
        name = decode(name, plus_is_space=True)
        found.setdefault(name, decode(value, plus_is_space=True))
    return found


def _refused(text: str) -> S3Error:
    return S3Error("InvalidURI", URI=text[:QUOTED_CHARS_MAX])
