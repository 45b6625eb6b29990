"""A trace, read for one object: who did what when, across all processes.

    for line in explain(open("out.jsonl"), "sim/n3"): print(line)

An object's story is: the calls of clients on its name, the messages that name it, all messages with
the operation ids of those, and every message between targets in which such an id occurs (a log entry
carries it). Faults and starts, kills and failures of processes are told in between.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

from replicast.errors import InvalidRequest
from replicast.wire import messages as _registered  # noqa: F401  (declares every message)
from replicast.wire.codec import WireError, decode
from replicast.wire.frame import NO_OPERATION, unpack_frame
from replicast.wire.header import HEADER_BYTES, parse_header
from replicast.wire.name_messages import NameKey
from replicast.wire.schema import Message

TOLD = ("start", "end", "kill", "terminate", "pause", "resume", "cut", "failure", "shape")
WIDTH = 110


def explain(lines: Iterable[str], wanted: str) -> Iterator[str]:
    """The story of `wanted` ("bucket/name"); raises InvalidRequest for what is no trace."""
    bucket, _, name = wanted.partition("/")
    story = _Story(wanted, bucket, name)
    for number, line in enumerate(lines, 1):
        try:
            event = json.loads(line)
            text = story.tell(event)
            shown = f"{event['t'] / 1e9:12.6f}  {event['process']:<9} {text}"
        except (ValueError, KeyError, TypeError) as error:
            raise InvalidRequest(f"line {number} is no line of a trace: {error}") from None
        if text is not None:
            yield shown


class _Story:
    def __init__(self, wanted: str, bucket: str, name: str) -> None:
        self._wanted, self._bucket, self._name = wanted, bucket, name
        self._calls: dict[int, str] = {}
        self._operations: dict[bytes, None] = {}

    def tell(self, event: dict[str, Any]) -> str | None:
        what = event["what"]
        if what == "call" and event["key"] in (self._wanted, f"{self._bucket}/"):
            self._calls[event["token"]] = event["process"]
            return f"calls {event['kind']} {_short(event['argument'])}"
        if what in ("answer", "failed", "unknown") and event["token"] in self._calls:
            told = event.get("result", event.get("why"))
            return f"{self._calls[event['token']]}: {what}: {_short(told)}"
        if what in TOLD:
            return f"-- {what} {_short(event.get('text', event.get('first', '')))}"
        if "data" in event:
            return self._message(what, bytes.fromhex(event["data"]))
        return None

    def _message(self, way: str, data: bytes) -> str | None:
        message, operation_id = _decoded(data, channel="channel" in way)
        if message is None:
            return None
        key = getattr(message, "key", None)
        if isinstance(key, NameKey) and (key.bucket, key.name) == (self._bucket, self._name):
            self._operations[operation_id] = None
        known = operation_id in self._operations and operation_id != NO_OPERATION
        if not known and not any(each in data for each in self._operations):
            return None
        return f"{way}: {type(message).NAME} {operation_id.hex()[:8]} {_short(message)}"


def _decoded(data: bytes, *, channel: bool) -> tuple[Message | None, bytes]:
    try:
        if channel:
            message, operation_id, _ = unpack_frame(data)
            return message, operation_id
        header = parse_header(data)
        if header.fragment_count > 1:
            return None, header.operation_id
        return decode(header.type, data[HEADER_BYTES:]), header.operation_id
    except WireError:
        return None, NO_OPERATION  # payload, or a Raft frame


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= WIDTH else text[: WIDTH - 3] + "..."
