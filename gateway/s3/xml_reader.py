"""XML of requests as a small tree, within bounds, and with nothing that XML bombs are made of.

Expat is used as it is, with handlers that refuse: a document type (and with it every entity,
external ones too), more elements, more depth or more bytes than a request of S3 can need. So no
input makes more of itself than it is, and nothing is fetched.

Namespaces are left out of names: clients send the one of S3, another, or none.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NoReturn
from xml.parsers import expat

from replicast.gateway.s3.errors import S3Error
from replicast.units import KIB, MIB

# 1000 keys to delete or 10 000 parts to complete, with all that may stand beside each.
LONG_BYTES_MAX = 4 * MIB
SHORT_BYTES_MAX = 64 * KIB
_ELEMENTS_MAX = 131_072
_DEPTH_MAX = 16
_BETWEEN = "\n"  # can be in no URI and no name


@dataclass(slots=True)
class Element:
    """`text`: that directly within, as it was written."""

    name: str
    text: str = ""
    children: list[Element] = field(default_factory=list)

    def all(self, name: str) -> Iterator[Element]:
        """The children of this name, in order."""
        return (child for child in self.children if child.name == name)

    def text_of(self, name: str) -> str | None:
        """Of the only child of this name, None without one; raises MalformedXML for more."""
        found = list(self.all(name))
        if len(found) > 1:
            raise malformed(f"There may be one {name} in {self.name}.")
        return found[0].text if found else None

    def only(self, *names: str) -> None:
        """Raises MalformedXML when it has a child of another name."""
        for child in self.children:
            if child.name not in names:
                raise malformed(f"There may be no {child.name} in {self.name}.")


def read(body: bytes, root: str, bytes_max: int = SHORT_BYTES_MAX) -> Element:
    """The document, whose outermost element must be `root`; raises MalformedXML,
    MaxMessageLengthExceeded."""
    if len(body) > bytes_max:
        raise S3Error("MaxMessageLengthExceeded", MaxMessageLengthBytes=str(bytes_max))
    reader = _Reader()
    try:
        reader.parse(body)
    except expat.ExpatError as error:
        raise malformed(f"{expat.ErrorString(error.code)} in line {error.lineno}.") from None
    found = reader.root
    if found is None or found.name != root:
        raise malformed(f"The outermost element must be {root}.")
    return found


def malformed(detail: str) -> S3Error:
    """The error; `detail` says in one sentence what is wrong."""
    return S3Error("MalformedXML", Detail=detail)


class _Reader:
    def __init__(self) -> None:
        self.root: Element | None = None
        self._open: list[tuple[Element, list[str]]] = []
        self._count = 0
        # The encoding is given, so that a document cannot name a codec of its own.
        self._expat = parser = expat.ParserCreate("utf-8", _BETWEEN)
        parser.buffer_text = True
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._text
        parser.StartDoctypeDeclHandler = self._refuse
        parser.EntityDeclHandler = self._refuse
        parser.ExternalEntityRefHandler = self._refuse

    def parse(self, body: bytes) -> None:
        self._expat.Parse(body, True)

    def _start(self, name: str, _attributes: dict[str, str]) -> None:
        self._count += 1
        if self._count > _ELEMENTS_MAX or len(self._open) >= _DEPTH_MAX:
            raise malformed("There are too many elements.")
        element = Element(name.rpartition(_BETWEEN)[2])
        if self._open:
            self._open[-1][0].children.append(element)
        else:
            self.root = element
        self._open.append((element, []))

    def _text(self, text: str) -> None:
        self._open[-1][1].append(text)

    def _end(self, _name: str) -> None:
        element, pieces = self._open.pop()
        element.text = "".join(pieces)

    def _refuse(self, *_: object) -> NoReturn:
        raise malformed("There may be no document type and no entities.")
