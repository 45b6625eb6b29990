"""docs/protocol.md lists every message and every refusal as declared.

`REPLICAST_GOLDEN=write pytest tests/conformance` writes the lists anew.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from replicast.wire.messages import MESSAGES
from replicast.wire.reasons import Reason
from replicast.wire.schema import Kind, Message, Struct

DOCUMENT = Path(__file__).parents[2] / "docs" / "protocol.md"
START, END = "<!-- messages: generated -->", "<!-- end of messages -->"
SECTIONS = {
    "Between endpoints (UDP, 1-9)": range(1, 10),
    "Chunks (UDP, 10-39)": range(10, 40),
    "Names (UDP, 40-59)": range(40, 60),
    "Name rows between targets (CURVE, 60-89)": range(60, 90),
    "Control plane (CURVE, 90-149)": range(90, 150),
    "Raft (CURVE, 150-159)": range(150, 160),
}


def kind_text(kind: Any) -> str:
    """A field kind as the document writes it."""
    if not isinstance(kind, Kind):
        return f"`{kind.__name__}`"
    match kind.code:
        case "uint":
            return f"u{8 * kind.size}"
        case "int":
            return f"i{8 * kind.size}"
        case "flag" | "hash":
            return kind.code
        case "fixed":
            return f"{kind.size} bytes"
        case "struct":
            return f"`{kind.item.__name__}`"
        case "list":
            return f"list ≤{kind.size} of {kind_text(kind.item)}"
        case _:
            return f"{kind.code} ≤{kind.size}"


def structs_of(cls: type[Struct], found: dict[str, type[Struct]]) -> None:
    """The nested structs of a class, in the order in which they are met."""
    for _, kind in cls.PLAN:
        item = kind
        while isinstance(item, Kind) and item.item is not None:
            item = item.item
        if not isinstance(item, Kind) and item.__name__ not in found:
            found[item.__name__] = item
            structs_of(item, found)


def entry(title: str, cls: type[Struct]) -> list[str]:
    text = " ".join((cls.__doc__ or "").split())
    fields = ", ".join(f"{name} {kind_text(kind)}" for name, kind in cls.PLAN)
    return [f"- {title}: {text}  ", f"  {fields or 'no fields'}"]


def messages_text() -> str:
    lines = []
    for section, numbers in SECTIONS.items():
        classes: list[type[Message]] = [MESSAGES[n] for n in numbers if n in MESSAGES]
        if not classes:
            continue
        structs: dict[str, type[Struct]] = {}
        lines += ["", f"### {section}", ""]
        for cls in classes:
            lines += entry(f"**{cls.TYPE} {cls.NAME}**", cls)
            structs_of(cls, structs)
        if structs:
            lines += ["", "Records inside them:", ""]
        for name, nested in structs.items():
            lines += entry(f"`{name}`", nested)
    return "\n".join([*lines, ""])


def test_document__lists_the_messages_as_declared() -> None:
    text = DOCUMENT.read_text()
    before, rest = text.split(START)
    listed, after = rest.split(END)
    if os.environ.get("REPLICAST_GOLDEN") == "write":
        listed = messages_text()
        DOCUMENT.write_text(before + START + "\n" + listed + "\n" + END + after)
    assert listed.strip() == messages_text().strip()


def test_document__lists_the_refusals_as_declared() -> None:
    text = DOCUMENT.read_text()
    for reason in Reason:
        assert f"| {reason.value} | {reason.name} |" in text
