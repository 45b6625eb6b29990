"""Headers that are stored with an object and given back: content headers and user metadata.

Text of other than ASCII: a header's bytes are UTF-8 or else latin-1, and go back as RFC 2047
encoded words, as the S3 user guide has it ("User-defined object metadata"). ASCII goes in and out
as it is, encoded words too.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping

from replicast.gateway.s3.arguments import invalid_argument
from replicast.gateway.s3.errors import S3Error
from replicast.gateway.s3.head import Head
from replicast.units import KIB

METADATA_PREFIX = "x-amz-meta-"
METADATA_BYTES_MAX = 2 * KIB
CONTENT_BYTES_MAX = 8 * KIB  # of all content headers of an object
CONTENT_TYPE_DEFAULT = "binary/octet-stream"
# In the order in which they are stored and answered.
CONTENT_HEADERS = (
    "content-type",
    "content-encoding",
    "content-disposition",
    "content-language",
    "cache-control",
    "expires",
)
AWS_CHUNKED = "aws-chunked"
ATTRIBUTES = ("ETag", "Checksum", "ObjectParts", "StorageClass", "ObjectSize")
# An encoded word may have 75 characters (RFC 2047, 2); 12 of them are its frame.
_WORD_BYTES_MAX = 45


def user_metadata(head: Head) -> dict[str, str]:
    """Name, in lower case without the prefix, to value; raises MetadataTooLarge.

    The limit is on the bytes of names and values in UTF-8.
    """
    found = {
        name.removeprefix(METADATA_PREFIX): stored_text(value)
        for name, value in head.headers.items()
        if name.startswith(METADATA_PREFIX) and name != METADATA_PREFIX
    }
    size = sum(len(text.encode()) for pair in found.items() for text in pair)
    if size > METADATA_BYTES_MAX:
        raise S3Error("MetadataTooLarge", Size=str(size), MaxSizeAllowed=str(METADATA_BYTES_MAX))
    return found


def user_metadata_headers(metadata: Mapping[str, str]) -> dict[str, str]:
    """The headers by which stored metadata goes back."""
    return {METADATA_PREFIX + name: header_text(value) for name, value in metadata.items()}


def content_headers(head: Head) -> dict[str, str]:
    """The content headers to store, with the default type; raises MetadataTooLarge."""
    found = {name: head.header(name) or "" for name in CONTENT_HEADERS}
    found["content-type"] = found["content-type"] or CONTENT_TYPE_DEFAULT
    found["content-encoding"] = stored_encoding(found["content-encoding"])
    kept = {name: stored_text(value) for name, value in found.items() if value}
    size = sum(len(value.encode()) for value in kept.values())
    if size > CONTENT_BYTES_MAX:
        raise S3Error("MetadataTooLarge", Size=str(size), MaxSizeAllowed=str(CONTENT_BYTES_MAX))
    return kept


def stored_encoding(text: str) -> str:
    """Content-Encoding without aws-chunked, which is about the transfer and not the object."""
    codings = [coding.strip() for coding in text.split(",")]
    if AWS_CHUNKED not in map(str.lower, codings):
        return text.strip()
    return ", ".join(each for each in codings if each and each.lower() != AWS_CHUNKED)


def answered_content_headers(
    stored: Mapping[str, str], parameters: Mapping[str, str]
) -> dict[str, str]:
    """The content headers of an answer: those stored, or what the query puts in their place
    (response-content-type, ...). Line breaks, which would make further headers, cannot get in."""
    answered = {}
    for name in CONTENT_HEADERS:
        value = parameters.get(f"response-{name}") or stored.get(name)
        if value:
            answered[name] = header_text(value)
    return answered


def has_overrides(parameters: Mapping[str, str]) -> bool:
    """Whether the query would change headers of the answer; nobody anonymous may."""
    return any(f"response-{name}" in parameters for name in CONTENT_HEADERS)


def wanted_attributes(head: Head) -> frozenset[str]:
    """What GetObjectAttributes is asked for, of ATTRIBUTES; raises InvalidRequest,
    InvalidArgument."""
    text = head.header("x-amz-object-attributes") or ""
    names = [name.strip() for name in text.split(",") if name.strip()]
    if not names:
        raise S3Error(
            "InvalidRequest",
            "The x-amz-object-attributes header specifying the attributes to be retrieved is "
            "either missing or empty",
        )
    for name in names:
        if name not in ATTRIBUTES:
            raise invalid_argument(
                "x-amz-object-attributes", name, "Invalid attribute name specified."
            )
    return frozenset(names)


def stored_text(value: str) -> str:
    """A header's value as text; its characters stand for the bytes of the wire (latin-1)."""
    value = value.strip(" \t")
    if value.isascii():
        return value
    try:
        return value.encode("latin-1").decode()
    except UnicodeError:
        return value


def header_text(text: str) -> str:
    """Text as a header's value: printable ASCII as it is, other text as encoded words."""
    if text.isascii() and text.isprintable():
        return text
    words, word = [], b""
    for character in text:
        piece = character.encode("utf-8", "replace")
        if len(word) + len(piece) > _WORD_BYTES_MAX:
            words.append(word)
            word = b""
        word += piece
    words.append(word)
    return " ".join(f"=?UTF-8?B?{b64encode(each).decode()}?=" for each in words)
