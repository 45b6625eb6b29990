"""Operations of bench/s3_soak.py: each through any of the gateways, timed, and counted by outcome.

What the SDK gives up on is an error of the soak; an answer that the caller did not allow is a wrong one.
"""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import boto3
import urllib3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from s3_soak_model import WrongAnswer
from urllib3.exceptions import HTTPError

from replicast.cli.s3_access import S3Access

PRESIGNED_SECONDS = 600
SERVER_ERRORS = (500, 502, 503, 504)
UNKNOWN = "unknown"
ERRORS_KEPT = 50
SDK_ATTEMPTS = 3  # of its standard mode


@dataclass(frozen=True, slots=True)
class Outcome:
    """`code` "" when it was done; `failed`: the SDK gave up. `unclear`: more than once or without an
    answer, so there may be more effects than one."""

    answer: dict[str, Any]
    code: str = ""
    failed: bool = False
    retries: int = 0

    @property
    def unclear(self) -> bool:
        return self.failed or self.retries > 0

    @property
    def done(self) -> bool:
        return not self.failed and not self.code


@dataclass
class Tally:
    """What all workers count; `excuse` names a reason why errors of now do not count."""

    operations: Counter[str] = field(default_factory=Counter)
    retried: Counter[str] = field(default_factory=Counter)
    longest: dict[str, float] = field(default_factory=dict)
    errors: list[str] = field(default_factory=list)
    excused: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    bytes_put: int = 0
    bytes_read: int = 0
    excuse: bool = False
    lock: threading.Lock = field(default_factory=threading.Lock)

    def count(self, kind: str, seconds: float, outcome: Outcome, put_bytes: int) -> None:
        """One that ended."""
        with self.lock:
            self.operations[kind] += 1
            self.retried[kind] += outcome.retries > 0
            self.bytes_read += len(outcome.answer.get("Body", b""))
            self.bytes_put += put_bytes if outcome.done else 0
            self.longest[kind] = max(self.longest.get(kind, 0.0), seconds)

    def error(self, text: str) -> None:
        """One that the SDK gave up on."""
        with self.lock:
            (self.excused if self.excuse else self.errors).append(text)

    def bad(self, text: str) -> None:
        """A wrong answer."""
        with self.lock:
            self.wrong.append(text)


def make_client(endpoint: str, access: S3Access) -> Any:
    """With the SDK's own retries and time-outs."""
    config = Config(
        s3={"addressing_style": "path"},
        retries={"mode": "standard"},
        signature_version="s3v4",
        max_pool_connections=32,
    )
    return boto3.client(
        "s3",
        endpoint_url=endpoint,
        aws_access_key_id=access.key_id,
        aws_secret_access_key=access.secret,
        region_name=access.region,
        config=config,
    )


class Asker:
    """Asks any of the gateways; one for each worker."""

    def __init__(self, clients: Sequence[Any], rng: random.Random, tally: Tally) -> None:
        self.clients, self._rng, self.tally = clients, rng, tally
        retry = urllib3.Retry(
            SDK_ATTEMPTS - 1,
            status_forcelist=SERVER_ERRORS,
            allowed_methods=None,
            backoff_factor=0.5,
            raise_on_status=False,
        )
        self._http = urllib3.PoolManager(retries=retry)

    def ask(
        self, operation: str, *allowed: str, at: int | None = None, **parameters: Any
    ) -> Outcome:
        """A method of the client, through gateway `at` or any; returns what was answered or which of
        the allowed errors. The body of a get is read into `Body`."""
        client = self._rng.choice(self.clients) if at is None else self.clients[at]

        def call() -> Outcome:
            answer = getattr(client, operation)(**parameters)
            if operation == "get_object":
                answer["Body"] = answer["Body"].read()
            return Outcome(answer, retries=answer["ResponseMetadata"]["RetryAttempts"])

        return self._timed(operation, allowed, parameters, call)

    def presigned(self, operation: str, *allowed: str, data: bytes, **parameters: Any) -> Outcome:
        """The same by a URL; GET or PUT, with a retry as SDKs have it."""
        client = self._rng.choice(self.clients)
        url = client.generate_presigned_url(operation, parameters, PRESIGNED_SECONDS)
        method = "PUT" if operation == "put_object" else "GET"

        def call() -> Outcome:
            got = self._http.request(method, url, body=data if method == "PUT" else None)
            retries = len(got.retries.history) if got.retries else 0
            if got.status < 300:
                headers = {
                    "ETag": got.headers.get("etag"),
                    "VersionId": got.headers.get("x-amz-version-id"),
                    "Body": got.data,
                }
                return Outcome(
                    {k: v for k, v in headers.items() if v is not None}, "", False, retries
                )
            code = got.data.decode().partition("<Code>")[2].partition("</Code>")[0]
            if got.status in SERVER_ERRORS:
                raise HTTPError(f"{got.status} {code}")
            return self._refused(operation, allowed, parameters, code, retries)

        return self._timed(f"presigned {operation}", allowed, {**parameters, "Body": data}, call)

    def _timed(
        self,
        kind: str,
        allowed: tuple[str, ...],
        parameters: dict[str, Any],
        call: Callable[[], Outcome],
    ) -> Outcome:
        began, outcome = time.monotonic(), Outcome({}, UNKNOWN, True)
        try:
            outcome = call()
        except ClientError as error:
            meta = error.response["ResponseMetadata"]
            code, retries = error.response["Error"]["Code"], meta.get("RetryAttempts", 0)
            if meta["HTTPStatusCode"] not in SERVER_ERRORS:
                outcome = self._refused(kind, allowed, parameters, code, retries)
            else:
                self.tally.error(f"{kind} {_which(parameters)}: {error}")
        except (BotoCoreError, HTTPError, OSError) as error:
            self.tally.error(f"{kind} {_which(parameters)}: {type(error).__name__}: {error}")
        finally:
            size = len(parameters.get("Body", b""))
            self.tally.count(kind, time.monotonic() - began, outcome, size)
        return outcome

    def _refused(
        self,
        kind: str,
        allowed: tuple[str, ...],
        parameters: dict[str, Any],
        code: str,
        retries: int,
    ) -> Outcome:
        if code not in allowed:
            raise WrongAnswer(
                f"{kind} {_which(parameters)}: refused with {code}, {retries} retries"
            )
        return Outcome({}, code, False, retries)


def _which(parameters: dict[str, Any]) -> str:
    shown = (
        "Bucket",
        "Key",
        "Prefix",
        "VersionId",
        "UploadId",
        "PartNumber",
        "IfMatch",
        "IfNoneMatch",
    )
    return " ".join(str(parameters[name]) for name in shown if name in parameters)
