"""Writing XML: elements as text, with every character that a name may have.

XML 1.0 cannot carry most control characters. As the service does, they are written as numeric
references all the same: strict parsers refuse these, and clients that may meet such names ask for
encoding-type=url. Left out or replaced, two names would look like one.
"""

from __future__ import annotations

import re

from replicast.gateway.s3.dates import iso_date

NAMESPACE = "http://s3.amazonaws.com/doc/2006-03-01/"
_DECLARATION = '<?xml version="1.0" encoding="UTF-8"?>\n'
_NAMED = {"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;"}
# A carriage return is allowed, but parsers make a line feed of one that is not a reference.
_NOT_XML = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")
_SPECIAL = re.compile('[&<>"\x00-\x08\x0b-\x1f\x7f-\x9f\ufffe\uffff]')
_NOT_XML = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")


def readable(text: str) -> str:
    """The text with a replacement character for each that XML 1.0 cannot carry."""
    return _NOT_XML.sub("\ufffd", text)


def escaped(text: str) -> str:
    """The text as content of an element."""
    return _SPECIAL.sub(_reference, text)


def is_carried(text: str) -> bool:
    """Whether XML 1.0 has a way to write the text."""
    return not _NOT_XML.search(text)


def _reference(found: re.Match[str]) -> str:
    character = found.group()
    return _NAMED.get(character) or f"&#x{ord(character):x};"


def text(name: str, value: str | int | bool | None) -> str:
    """An element with a value; nothing at all for None."""
    if value is None:
        return ""
    if isinstance(value, bool):
        value = "true" if value else "false"
    return f"<{name}>{escaped(str(value))}</{name}>"


def date(name: str, time_ns: int) -> str:
    """An element with a point in time."""
    return f"<{name}>{iso_date(time_ns)}</{name}>"


def etag(value: str | None) -> str:
    """The ETag element, with the quotes that ETags have; nothing at all for None."""
    return "" if value is None else f"<ETag>&quot;{escaped(value)}&quot;</ETag>"


def group(name: str, *parts: str) -> str:
    """An element of elements."""
    return f"<{name}>{''.join(parts)}</{name}>"


def document(name: str, *parts: str, namespace: str = NAMESPACE) -> bytes:
    """A whole body. Half a surrogate pair, which no name has, becomes a question mark."""
    xmlns = f' xmlns="{namespace}"' if namespace else ""
    return f"{_DECLARATION}<{name}{xmlns}>{''.join(parts)}</{name}>".encode("utf-8", "replace")
