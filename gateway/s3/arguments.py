"""InvalidArgument as S3 says it, and the whole numbers in queries and headers that may raise it."""

from __future__ import annotations

import re

from replicast.gateway.s3.errors import S3Error

INTEGER_MAX = 2**31 - 1
QUOTED_CHARS_MAX = 1024
_INTEGER = re.compile(r"[+-]?[0-9]{1,32}")


def invalid_argument(name: str, value: str, message: str) -> S3Error:
    """The error, with the elements by which clients find the argument."""
    return S3Error(
        "InvalidArgument", message, ArgumentName=name, ArgumentValue=value[:QUOTED_CHARS_MAX]
    )


def integer(text: str, name: str, *, said: str = "") -> int:
    """A number of 0 to INTEGER_MAX; raises InvalidArgument.

    `said`: what the service calls it where it is below 0 (maxKeys for max-keys). Its two sentences
    differ: one is for what is no 32-bit number at all.
    """
    number = int(text) if _INTEGER.fullmatch(text) else INTEGER_MAX + 1
    if not -INTEGER_MAX - 1 <= number <= INTEGER_MAX:
        raise invalid_argument(
            name, text, f"Provided {name} not an integer or within integer range"
        )
    if number < 0:
        called = said or name
        raise invalid_argument(
            called, text, f"Argument {called} must be an integer between 0 and {INTEGER_MAX}"
        )
    return number
