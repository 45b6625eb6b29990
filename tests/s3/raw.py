"""Requests as no SDK would send them: signed with what botocore computes, sent as they are."""

from __future__ import annotations

import http.client
import xml.etree.ElementTree as ElementTree
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest

ANSWER_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Raw:
    """An answer; header names in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def code(self) -> str:
        """Of the error in the body, "" without one."""
        if not self.body:
            return ""
        return ElementTree.fromstring(self.body).findtext("Code") or ""


class _Auth(S3SigV4Auth):  # type: ignore[misc]
    """Says of the payload what it is told to."""

    def __init__(self, client: Any, payload: str) -> None:
        super().__init__(client._request_signer._credentials, "s3", "us-east-1")
        self._payload = payload

    def payload(self, request: AWSRequest) -> str:
        """Of x-amz-content-sha256."""
        return self._payload


def signed(
    s3: Any,
    method: str,
    path: str,
    headers: Mapping[str, str] | None = None,
    payload: str = "UNSIGNED-PAYLOAD",
) -> dict[str, str]:
    """The headers of a request to the endpoint of `s3`, with those that sign it."""
    url = s3.meta.endpoint_url + path
    request = AWSRequest(method=method, url=url, headers=dict(headers or {}))
    _Auth(s3, payload).add_auth(request)
    return dict(request.headers)


def send(s3: Any, method: str, path: str, headers: Mapping[str, str], body: bytes = b"") -> Raw:
    """As given, to the endpoint of `s3`; Content-Length is that of the body where none is given."""
    place = urlsplit(s3.meta.endpoint_url)
    connection = http.client.HTTPConnection(
        place.hostname or "", place.port, timeout=ANSWER_SECONDS
    )
    connection.putrequest(method, path, skip_accept_encoding=True)
    lower = {name.lower() for name in headers}
    for name, value in headers.items():
        connection.putheader(name, value)
    if "content-length" not in lower:
        connection.putheader("Content-Length", str(len(body)))
    connection.endheaders(body)
    try:
        response = connection.getresponse()
        found = {name.lower(): value for name, value in response.getheaders()}
        return Raw(response.status, found, response.read())
    finally:
        connection.close()


def ask(
    s3: Any,
    method: str,
    path: str,
    headers: Mapping[str, str] | None = None,
    body: bytes = b"",
    payload: str = "UNSIGNED-PAYLOAD",
) -> Raw:
    """Signed and sent."""
    return send(s3, method, path, signed(s3, method, path, headers, payload), body)
