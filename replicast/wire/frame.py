"""One message in one ZeroMQ frame: the small header of the CURVE channels.

    1 byte message type | 16 bytes operation id | u64 generation | body (replicast.wire.codec)

CURVE proves the sender and the bytes, so there is no MAC, session or counter here; datagrams
have their own header. A frame that is not a message raises WireError and nothing else.
"""

from __future__ import annotations

import struct

from replicast.wire import messages as _registered  # noqa: F401  (declares every message)
from replicast.wire.codec import WireError, decode, encode
from replicast.wire.schema import Message

HEADER = struct.Struct("<B16sQ")
NO_OPERATION = bytes(16)


def pack_frame(message: Message, operation_id: bytes = NO_OPERATION, generation: int = 0) -> bytes:
    """The frame of `message`; raises WireError("range") for what does not fit."""
    if len(operation_id) != 16 or not 0 <= generation < 1 << 64:
        raise WireError("range")
    return HEADER.pack(type(message).TYPE, operation_id, generation) + encode(message)


def unpack_frame(frame: bytes | memoryview) -> tuple[Message, bytes, int]:
    """(message, operation id, generation) of a frame; raises WireError."""
    if len(frame) < HEADER.size:
        raise WireError("truncated")
    number, operation_id, generation = HEADER.unpack_from(frame)
    return decode(number, frame, HEADER.size), operation_id, generation
