"""The heads of answers: what they say of body and connection, by method, status and version of HTTP."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest

from replicast.gateway.config import GatewayConfig
from replicast.gateway.s3.call import Answer
from replicast.gateway.s3.server import S3Server
from replicast.gateway.s3.service import S3Service
from replicast.metrics import Counters

CONFIG = GatewayConfig(directory=".", metrics_port=1)


class Says:
    """A service that has one answer for all."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer

    def route(self, head: object) -> Any:
        return SimpleNamespace(operation=SimpleNamespace(name="GetObject"))

    async def serve(self, *_: object) -> Answer:
        return self._answer


async def ask(answer: Answer, line: str, *headers: str) -> tuple[str, dict[str, str], bytes]:
    """Status line, headers and body, read until the connection ends or the head has its blank line."""
    server = S3Server(cast(S3Service, Says(answer)), Counters(), CONFIG)
    host, port = await server.start(("127.0.0.1", 0))
    reader, writer = await asyncio.open_connection(host, port)
    writer.write("\r\n".join([line, "host: s3", *headers, "", ""]).encode())
    first, *rest = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")[:-2]
    pairs = [each.split(": ", 1) for each in rest]
    found = {name.lower(): value for name, value in pairs}
    assert len(found) == len(rest), "each once"
    body = b""
    if not line.startswith("HEAD"):
        body = await reader.readexactly(int(found.get("content-length", 0)))
    writer.close()
    await server.stop(0.0)
    return first, found, body


def asked(answer: Answer, line: str, *headers: str) -> tuple[str, dict[str, str], bytes]:
    return asyncio.run(ask(answer, line, *headers))


@pytest.mark.parametrize(
    ("line", "headers", "connection"),
    [
        ("GET /b/k HTTP/1.1", [], None),
        ("GET /b/k HTTP/1.1", ["connection: close"], "close"),
        ("GET /b/k HTTP/1.0", [], None),
        ("GET /b/k HTTP/1.0", ["connection: keep-alive"], "keep-alive"),
    ],
)
def test_connection(line: str, headers: list[str], connection: str | None) -> None:
    first, found, body = asked(Answer(200, {"etag": '"e"'}, b"body"), line, *headers)
    assert first == f"{line[-8:]} 200 OK"
    assert found.get("connection") == connection
    assert found["etag"] == '"e"' and found["server"] == "replicast" and found["date"]
    assert found["content-type"] == "application/octet-stream"
    assert body == b"body"


@pytest.mark.parametrize("status", [204, 304])
def test_no_body__no_length(status: int) -> None:
    first, found, _ = asked(Answer(status), "DELETE /b/k HTTP/1.1")
    assert first.startswith(f"HTTP/1.1 {status} ")
    assert not {"content-length", "content-type", "transfer-encoding"} & set(found)


@pytest.mark.parametrize(("length", "said"), [(None, None), (0, "0"), (1 << 40, str(1 << 40))])
def test_head__length_of_what_a_get_would_send(length: int | None, said: str | None) -> None:
    _, found, _ = asked(Answer(200, {}, b"", length), "HEAD /b/k HTTP/1.1")
    assert found.get("content-length") == said
    assert "content-type" not in found


def test_empty_body__has_a_length_and_no_type() -> None:
    _, found, _ = asked(Answer(200), "PUT /b/k HTTP/1.1", "content-length: 0")
    assert found["content-length"] == "0"
    assert "content-type" not in found


def test_header_that_would_be_two__is_not_sent() -> None:
    answer = Answer(200, {"x-amz-meta-a": "b\r\nx-amz-meta-c: d"}, b"body")
    first, found, body = asked(answer, "GET /b/k HTTP/1.1")
    assert first.startswith("HTTP/1.1 500 ")
    assert not [name for name in found if name.startswith("x-amz-meta")]
    assert b"InternalError" in body
