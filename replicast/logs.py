"""Structured logs: one JSON object a line on stderr, which systemd or `replicast up` collects.

Keys: time (UTC, to the microsecond), level, name, message, and `error` for a
traceback. Secrets never go through here: keys are logged by their public half.
"""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime


class JsonFormatter(logging.Formatter):
    """Formats records as JSON; `process` says which daemon wrote the line."""

    def __init__(self, process: str) -> None:
        super().__init__()
        self._process = process

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="microseconds"),
            "level": record.levelname.lower(),
            "process": self._process,
            "name": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        return json.dumps(line)


def start_logging(process: str, level: str) -> None:
    """Send all logs of this process to stderr."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter(process))
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    logging.getLogger("asyncio").setLevel("WARNING")


def readable(line: str) -> str:
    """A log line for people; one that is not ours stays as it is."""
    try:
        entry = json.loads(line)
        text = f"{entry['time'][:23]} {entry['level']:<7} {entry['process']} {entry['message']}"
    except (ValueError, KeyError, TypeError):
        return line.rstrip("\n")
    return text + ("\n" + entry["error"] if "error" in entry else "")
