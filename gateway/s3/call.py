"""One request on its way through the gateway, and the answer to it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field

from replicast.gateway.initiation import Block
from replicast.gateway.s3.body import Body
from replicast.gateway.s3.head import Head
from replicast.gateway.s3.operation import Request
from replicast.gateway.users import User


@dataclass(frozen=True, slots=True)
class Call:
    """A request whose signature is right. `stream`: its body as it comes from the wire, which `body`
    takes apart."""

    head: Head
    request: Request
    user: User
    body: Body
    stream: AsyncIterator[Block]
    url: str  # of the object or bucket, as the client wrote it
    peer: str  # address of the other end of the connection

    @property
    def bucket(self) -> str:
        """Of the request."""
        return self.request.bucket

    @property
    def key(self) -> str:
        """Of the request."""
        return self.request.key

    def parameter(self, name: str) -> str | None:
        """Of the query, decoded."""
        return self.request.parameters.get(name)


@dataclass(frozen=True, slots=True)
class Answer:
    """`body`: bytes, or blocks of which `length_bytes` come; of a HEAD only its length counts."""

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | AsyncIterator[Block] = b""
    length_bytes: int | None = None


def xml(body: bytes, headers: Mapping[str, str] | None = None, status: int = 200) -> Answer:
    """An answer in XML."""
    return Answer(status, {"content-type": "application/xml", **(headers or {})}, body)
