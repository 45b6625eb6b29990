"""docs/protocol.md lists every message and refusal as declared, docs/formats.md the manifests.

`REPLICAST_GOLDEN=write pytest tests/conformance` writes the lists anew.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from replicast.wire.documents import ChunkManifest, ManifestBody
from replicast.wire.messages import MESSAGES
from replicast.wire.reasons import Reason
from replicast.wire.schema import Kind, Message, Struct

DOCS = Path(__file__).parents[2] / "docs"
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


def listed(classes: list[type[Message]]) -> list[str]:
    """Entries of messages, then of the records inside them."""
    structs: dict[str, type[Struct]] = {}
    lines = []
    for cls in classes:
        lines += entry(f"**{cls.TYPE} {cls.NAME}**", cls)
        structs_of(cls, structs)
    if structs:
        lines += ["", "Records inside them:", ""]
    for name, nested in structs.items():
        lines += entry(f"`{name}`", nested)
    return lines


def messages_text() -> str:
    lines = []
    for section, numbers in SECTIONS.items():
        classes: list[type[Message]] = [MESSAGES[n] for n in numbers if n in MESSAGES]
        if classes:
            lines += ["", f"### {section}", "", *listed(classes)]
    return "\n".join([*lines, ""])


def check_list(document: str, what: str, text: str) -> None:
    """Between its marks the document has this text."""
    path = DOCS / document
    start, end = f"<!-- {what}: generated -->", f"<!-- end of {what} -->"
    before, rest = path.read_text().split(start)
    held, after = rest.split(end)
    if os.environ.get("REPLICAST_GOLDEN") == "write":
        held = text
        path.write_text(before + start + "\n" + text + "\n" + end + after)
    assert held.strip() == text.strip()


def test_document__lists_the_messages_as_declared() -> None:
    check_list("protocol.md", "messages", messages_text())


def test_document__lists_the_manifests_as_declared() -> None:
    text = "\n".join(["", *listed([ManifestBody, ChunkManifest]), ""])
    check_list("formats.md", "manifests", text)


def test_document__lists_the_refusals_as_declared() -> None:
    text = (DOCS / "protocol.md").read_text()
    for reason in Reason:
        assert f"| {reason.value} | {reason.name} |" in text
