"""One S3 client of bench/s3.py: a blocking socket, signed requests, the bytes compared.

Run as a process of its own: reads jobs as lines of JSON, answers each with one. A job's objects are
made before the clock starts, which happens when another line is read. Nothing but the standard
library, so that the load costs little beside what it measures; the signature is written from the
description of Signature Version 4 and shares nothing with the gateway's.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import random
import socket
import ssl
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlsplit

UNSIGNED = "UNSIGNED-PAYLOAD"
EMPTY_SHA256 = hashlib.sha256(b"").hexdigest()
ONE_WRITE_BYTES_MAX = 128 << 10
RECEIVE_BYTES = 256 << 10
TIMEOUT_SECONDS = 60.0
Job = dict[str, Any]


class Signer:
    """Of one user; the key of a day is made once."""

    def __init__(self, host: str, key_id: str, secret: str, region: str) -> None:
        self._host, self._key_id, self._secret, self._region = host, key_id, secret, region
        self._day, self._key = "", b""

    def headers(self, method: str, path: str, payload: str) -> str:
        """The lines of a request; `payload`: its hash, or UNSIGNED. A query is encoded, and sorted by name."""
        path, _, query = path.partition("?")
        now = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
        scope = f"{now[:8]}/{self._region}/s3/aws4_request"
        names = "host;x-amz-content-sha256;x-amz-date"
        canonical = (
            f"{method}\n{path}\n{query}\nhost:{self._host}\nx-amz-content-sha256:{payload}\n"
            f"x-amz-date:{now}\n\n{names}\n{payload}"
        )
        digest = hashlib.sha256(canonical.encode()).hexdigest()
        text = f"AWS4-HMAC-SHA256\n{now}\n{scope}\n{digest}"
        signature = hmac.digest(self._day_key(now[:8]), text.encode(), "sha256").hex()
        return (
            f"Host: {self._host}\r\nx-amz-content-sha256: {payload}\r\nx-amz-date: {now}\r\n"
            f"Authorization: AWS4-HMAC-SHA256 Credential={self._key_id}/{scope}, "
            f"SignedHeaders={names}, Signature={signature}\r\n"
        )

    def _day_key(self, day: str) -> bytes:
        if day != self._day:
            key = b"AWS4" + self._secret.encode()
            for part in (day, self._region, "s3", "aws4_request"):
                key = hmac.digest(key, part.encode(), "sha256")
            self._day, self._key = day, key
        return self._key


class Connection:
    """HTTP/1.1 to one endpoint, kept open; opened again when the server closed it."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._tls = parts.scheme == "https"
        self._address = (parts.hostname or "", parts.port or (443 if self._tls else 80))
        self._socket: socket.socket | None = None
        self._left = b""

    def request(self, head: bytes, body: bytes) -> tuple[int, bytes | bytearray]:
        """Status and body of the answer; raises OSError."""
        self.open()
        assert self._socket is not None
        try:
            if len(body) <= ONE_WRITE_BYTES_MAX:
                self._socket.sendall(head + body)
            else:
                self._socket.sendall(head)
                self._socket.sendall(body)
            return self._answer(head.startswith(b"HEAD"))
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """The next request opens another one."""
        if self._socket is not None:
            self._socket.close()
        self._socket, self._left = None, b""

    def open(self) -> None:
        """Unless it is open."""
        if self._socket is None:
            self._socket = self._connect()

    def _connect(self) -> socket.socket:
        plain = socket.create_connection(self._address, TIMEOUT_SECONDS)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if not self._tls:
            return plain
        context = ssl.create_default_context(cafile=os.environ.get("AWS_CA_BUNDLE"))
        return context.wrap_socket(plain, server_hostname=self._address[0])

    def _answer(self, is_head: bool) -> tuple[int, bytes | bytearray]:
        head, _, rest = self._until(b"\r\n\r\n").partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        status = int(first.split(" ", 2)[1])
        headers = {
            k.strip().lower(): v.strip() for k, _, v in (each.partition(":") for each in lines)
        }
        body: bytes | bytearray = b""
        if is_head or status in (204, 304):
            self._left = rest
        elif headers.get("transfer-encoding", "").lower() == "chunked":
            self._left = rest
            body = self._chunked()
        else:
            body = self._exactly(rest, int(headers.get("content-length", "0")))
        if headers.get("connection", "").lower() == "close":
            self.close()
        return status, body

    def _until(self, mark: bytes) -> bytes:
        data, self._left = self._left, b""
        while mark not in data:
            data += self._receive()
        return data

    def _receive(self) -> bytes:
        assert self._socket is not None
        more = self._socket.recv(RECEIVE_BYTES)
        if not more:
            raise ConnectionError("the server closed the connection")
        return more

    def _exactly(self, have: bytes, size: int) -> bytes | bytearray:
        if len(have) >= size:
            self._left = have[size:]
            return have[:size]
        assert self._socket is not None
        body = bytearray(size)
        body[: len(have)] = have
        view, at = memoryview(body), len(have)
        while at < size:
            got = self._socket.recv_into(view[at:])
            if not got:
                raise ConnectionError("the server closed the connection")
            at += got
        return body

    def _chunked(self) -> bytes:
        whole = b""
        while True:
            line, _, rest = self._until(b"\r\n").partition(b"\r\n")
            size = int(line.partition(b";")[0], 16)
            block = self._exactly(rest, size + 2)
            if not size:
                return whole
            whole += bytes(block[:-2])


@dataclass(frozen=True, slots=True)
class Object:
    """What was put, or shall be. `sha256` only where bodies are signed."""

    path: str
    body: bytes
    sha256: str


class S3Client:
    """One user's client at one endpoint."""

    def __init__(self, url: str, key_id: str, secret: str, region: str) -> None:
        self._connection = Connection(url)
        self._signer = Signer(urlsplit(url).netloc, key_id, secret, region)

    def call(
        self, method: str, path: str, body: bytes = b"", payload: str = EMPTY_SHA256
    ) -> tuple[int, bytes | bytearray]:
        """Status and body; `path` is encoded already."""
        lines = self._signer.headers(method, path, payload)
        length = f"Content-Length: {len(body)}\r\n" if body or method == "PUT" else ""
        head = f"{method} {path} HTTP/1.1\r\n{lines}{length}\r\n"
        return self._connection.request(head.encode("latin-1"), body)

    def open(self) -> None:
        """A fresh connection: servers close those that were idle for some seconds."""
        self._connection.close()
        self._connection.open()

    def close(self) -> None:
        """Its connection."""
        self._connection.close()


class Worker:
    """Does the jobs of one endpoint after the other."""

    def __init__(self) -> None:
        self._clients: dict[str, S3Client] = {}
        self._objects: list[Object] = []
        self._random = random.Random(os.getpid())
        self._serial = 0

    def prepare(self, job: Job) -> Callable[[], str | None]:
        """What one operation of the job is; it returns what went wrong."""
        client = self._client(job)
        client.open()
        if job["do"] == "put":
            self._objects = []
            waiting = [self._new(job) for _ in range(job["count"])]

            def put() -> str | None:
                each = waiting.pop()
                status, answer = client.call("PUT", each.path, each.body, each.sha256)
                if status == 200:
                    self._objects.append(each)
                return _wrong(status, answer, 200)

            return put
        kept = self._objects
        if job["do"] == "get":

            def get() -> str | None:
                each = self._random.choice(kept)
                status, answer = client.call("GET", each.path)
                return (
                    _wrong(status, answer, 200) or (answer != each.body and "wrong bytes") or None
                )

            return get
        job["count"] = len(kept)

        def delete() -> str | None:
            return _wrong(*client.call("DELETE", kept.pop().path), 204)

        return delete

    def work(self, job: Job, once: Callable[[], str | None]) -> Job:
        """Until its time is over or its count is reached."""
        taken: list[float] = []
        errors: list[str] = []
        clock = time.perf_counter
        cpu, began = time.process_time(), clock()
        end, now = began + job["seconds"], began
        left = job["count"] if job["do"] != "get" or self._objects else 0
        while left and now < end:
            left -= 1
            started = now
            try:
                wrong = once()
            except OSError as error:
                wrong = str(error) or type(error).__name__
            now = clock()
            if wrong:
                errors.append(wrong)
            else:
                taken.append(now - started)
        return {
            "taken": taken,
            "began": began,
            "ended": now,
            "cpu": time.process_time() - cpu,
            "errors": len(errors),
            "first_error": errors[0] if errors else "",
        }

    def _client(self, job: Job) -> S3Client:
        if job["url"] not in self._clients:
            fresh = S3Client(job["url"], job["key_id"], job["secret"], job["region"])
            self._clients[job["url"]] = fresh
        return self._clients[job["url"]]

    def _new(self, job: Job) -> Object:
        self._serial += 1
        path = quote(f"/{job['bucket']}/{job['size']}/{os.getpid()}-{self._serial}")
        body = os.urandom(job["size"])
        return Object(path, body, hashlib.sha256(body).hexdigest() if job["signed"] else UNSIGNED)


def _wrong(status: int, answer: bytes | bytearray, expected: int) -> str | None:
    return None if status == expected else f"{status} {bytes(answer[:300])!r}"


def main() -> None:
    """Jobs from standard input until it ends."""
    worker = Worker()
    while line := sys.stdin.readline():
        job = json.loads(line)
        once = worker.prepare(job)
        print("ready", flush=True)
        if not sys.stdin.readline():
            return
        print(json.dumps(worker.work(job, once)), flush=True)


if __name__ == "__main__":
    main()
