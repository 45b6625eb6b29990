"""An S3 client of sockets alone: signs as botocore does, sends what it is told to, lies when told."""

from __future__ import annotations

import re
import socket
import time
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from xml.etree import ElementTree

from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from replicast.addresses import address_text
from replicast.cli.layout import load_local
from replicast.cli.s3_access import S3Access
from replicast.gateway.s3.errors import CODES

from ..cluster.conftest import Cluster

ANSWER_SECONDS = 60.0  # for an answer that has to come
SETTLED_SECONDS, POLL_SECONDS = 60.0, 0.05
UNSIGNED = "UNSIGNED-PAYLOAD"
GAUGES = ("s3_requests_under_way", "s3_requests_waiting", "s3_body_bytes")


@dataclass(frozen=True)
class Reply:
    """One answer of the gateway."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def code(self) -> str:
        """Of an error, which has to be one of S3's, with the status that it has there; "" without a
        body."""
        if not self.body:
            return ""
        root = ElementTree.fromstring(self.body)
        code = root.findtext("Code") or ""
        assert root.tag == "Error" and CODES[code].status == self.status, self
        return code


class Raw:
    """One connection."""

    def __init__(self, address: tuple[str, int], **options: int) -> None:
        self.socket = socket.socket()
        for name, value in options.items():
            self.socket.setsockopt(socket.SOL_SOCKET, getattr(socket, name), value)
        self.socket.settimeout(ANSWER_SECONDS)
        self.socket.connect(address)
        self._read = b""

    def __enter__(self) -> Raw:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, *pieces: bytes) -> Raw:
        """All of them, one after the other."""
        for piece in pieces:
            self.socket.sendall(piece)
        return self

    def reply(self, *, head_only: bool = False) -> Reply:
        """The next answer, whole; ConnectionError when there comes none."""
        head = self._until(b"\r\n\r\n")
        status, *lines = head.decode("latin-1").split("\r\n")
        headers = {
            n.lower(): v.strip() for n, _, v in (line.partition(":") for line in lines if line)
        }
        length = 0 if head_only else int(headers.get("content-length", 0))
        while len(self._read) < length:
            self._more()
        body, self._read = self._read[:length], self._read[length:]
        return Reply(int(status.split(" ")[1]), headers, body)

    def closed(self) -> bool:
        """Whether the gateway ends the connection, and sends nothing before; waits for it."""
        try:
            return not self._read and not self.socket.recv(1)
        except ConnectionError:
            return True

    def _until(self, end: bytes) -> bytes:
        while end not in self._read:
            self._more()
        head, _, self._read = self._read.partition(end)
        return head

    def _more(self) -> None:
        data = self.socket.recv(1 << 16)
        if not data:
            raise ConnectionError("the connection was closed")
        self._read += data


class Gateway:
    """One gateway, and the user who asks it."""

    def __init__(self, cluster: Cluster, access: S3Access, number: int = 0) -> None:
        plan = load_local(cluster.data).plan
        self.host, self.access = plan["host"], access
        self.address = (plan["host"], plan["s3_ports"][number])
        self.log = cluster.data / f"gw{number + 1}" / "log.jsonl"
        self._metrics = (plan["host"], plan["gateway_ports"][number])

    def connect(self, **options: int) -> Raw:
        """Another connection."""
        return Raw(self.address, **options)

    def head(
        self,
        method: str,
        target: str,
        headers: Mapping[str, str] | None = None,
        *,
        payload: str = UNSIGNED,
        unsigned: Mapping[str, str] | None = None,
        host: str = "",
    ) -> bytes:
        """A signed head; `unsigned`: headers that are added afterwards; `host`: for Host, when it is
        another than the gateway's address."""
        host = host or address_text(self.address)
        url = f"http://{host}{target}"
        given = {"Host": host, "x-amz-content-sha256": payload, **(headers or {})}
        request = AWSRequest(method, url, headers=given)
        request.context["payload_signing_enabled"] = False
        _Signer(self.access, payload).add_auth(request)
        return _head(method, target, {**dict(request.headers.items()), **(unsigned or {})})

    def ask(
        self,
        method: str,
        target: str,
        body: bytes = b"",
        *,
        payload: str = UNSIGNED,
        host: str = "",
        **headers: str,
    ) -> Reply:
        """A request as it should be, but for what is given, on a connection of its own."""
        long = "content-length" not in headers and (body or method in ("PUT", "POST"))
        length = {"content-length": str(len(body))} if long else {}
        head = self.head(method, target, headers, payload=payload, unsigned=length, host=host)
        return self.exchange(head + body, head_only=method == "HEAD")

    def ask_unsigned(self, method: str, target: str, *, host: str = "", **headers: str) -> Reply:
        """A request without a body, as a stranger or who was given a presigned URL sends it."""
        length = {"content-length": "0"} if method in ("PUT", "POST") else {}
        given = {"Host": host or address_text(self.address), **length, **headers}
        return self.exchange(_head(method, target, given), head_only=method == "HEAD")

    def exchange(self, request: bytes, *, head_only: bool = False) -> Reply:
        """The answer to these bytes, on a connection of its own."""
        with self.connect() as raw:
            return raw.send(request).reply(head_only=head_only)

    def metric(self, name: str, **labels: str) -> float:
        """The sum of the samples that have these labels."""
        url = f"http://{address_text(self._metrics)}/metrics"
        with urllib.request.urlopen(url, timeout=ANSWER_SECONDS) as answer:
            text = answer.read().decode()
        total = 0.0
        for found in re.finditer(rf"^replicast_{name}(?:_total)?(\{{.*\}})? (\S+)$", text, re.M):
            if all(f'{key}="{value}"' in (found[1] or "") for key, value in labels.items()):
                total += float(found[2])
        return total

    def settled(self) -> None:
        """Wait until nothing is under way and nobody is connected."""
        end = time.monotonic() + SETTLED_SECONDS
        while found := {
            name: value for name in (*GAUGES, "s3_connections") if (value := self.metric(name))
        }:
            assert time.monotonic() < end, found
            time.sleep(POLL_SECONDS)

    def wait_metric(self, name: str, at_least: float, **labels: str) -> None:
        """Until it is so much."""
        end = time.monotonic() + SETTLED_SECONDS
        while (value := self.metric(name, **labels)) < at_least:
            assert time.monotonic() < end, (name, labels, value)
            time.sleep(POLL_SECONDS)


def _head(method: str, target: str, headers: Mapping[str, str]) -> bytes:
    lines = [f"{method} {target} HTTP/1.1", *(f"{n}: {value}" for n, value in headers.items())]
    return "\r\n".join([*lines, "", ""]).encode("utf-8", "replace")


class _Signer(S3SigV4Auth):
    """Signs whatever is said of the payload."""

    def __init__(self, access: S3Access, payload: str) -> None:
        super().__init__(Credentials(access.key_id, access.secret), "s3", access.region)
        self._said = payload

    def payload(self, request: Any) -> str:
        return self._said

    def _inject_signature_to_request(self, request: Any, signature: str) -> Any:
        self.last_signature = signature
        return super()._inject_signature_to_request(request, signature)
