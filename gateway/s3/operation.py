"""From the head of a request to the operation that it asks for, its bucket, key and parameters."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from replicast.gateway.s3.arguments import invalid_argument
from replicast.gateway.s3.errors import S3Error
from replicast.gateway.s3.escapes import decode, decode_query
from replicast.gateway.s3.head import Head
from replicast.gateway.s3.names import check_bucket, check_key, check_new_bucket
from replicast.gateway.s3.operations import OPERATIONS, Level, Operation

SUBRESOURCES = tuple(sorted({each.subresource for each in OPERATIONS if each.subresource}))
_ROWS: dict[tuple[Level, str, str], list[Operation]] = {}
for _each in OPERATIONS:
    _ROWS.setdefault((_each.level, _each.method, _each.subresource), []).append(_each)


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked for; "" for the bucket and key that the operation does not have."""

    operation: Operation
    bucket: str
    key: str
    parameters: Mapping[str, str]

    def check_ready(self) -> None:
        """Raises NotImplemented for what S3 has and we do not."""
        if not self.operation.ready:
            raise S3Error("NotImplemented", f"{self.operation.name} is not implemented.")


def route(head: Head, base_domains: Iterable[str] = ()) -> Request:
    """The request in a head. Raises S3Error: InvalidURI, InvalidBucketName, KeyTooLongError,
    MethodNotAllowed, InvalidArgument.

    `base_domains`: "bucket.<base domain>" in the Host header names the bucket (virtual-host
    style); with any other host the path does. Operations that are not ready are found too, so that
    the caller can check the signature before it says so.
    """
    bucket, key = _place(head, base_domains)
    parameters = decode_query(head.query)
    level = Level.OBJECT if key else Level.BUCKET if bucket else Level.SERVICE
    operation = _find(level, head, parameters)
    if bucket:
        (check_new_bucket if operation.name == "CreateBucket" else check_bucket)(bucket)
    if key:
        check_key(key)
    return Request(operation, bucket, key, parameters)


def _place(head: Head, base_domains: Iterable[str]) -> tuple[str, str]:
    if not head.path.startswith("/"):
        raise S3Error("InvalidURI")
    bucket = bucket_of_host(head.header("host") or "", base_domains)
    if bucket:
        return bucket, decode(head.path[1:])
    # The path is cut before it is decoded: an escaped slash belongs to the name that it is in.
    bucket, _, key = head.path[1:].partition("/")
    if not bucket and key:
        raise S3Error("InvalidBucketName", BucketName="")
    return decode(bucket), decode(key)


def bucket_of_host(host: str, base_domains: Iterable[str]) -> str:
    """The bucket that a Host header names; "" for none. `base_domains` as read_domains() has them:
    lower case, the longest first."""
    name, _, port = host.lower().rpartition(":")
    name = name if name and port.isdigit() else host.lower()
    name = name.removesuffix(".")  # of a name that is told to be whole
    for domain in base_domains:
        if name == domain:
            break
        bucket = name.removesuffix("." + domain)
        if bucket != name:
            return bucket
    return ""


def _find(level: Level, head: Head, parameters: Mapping[str, str]) -> Operation:
    named = [name for name in SUBRESOURCES if name in parameters] if parameters else []
    if head.method == "OPTIONS":
        named = []  # asks about another request, whose query it may carry
    if len(named) > 1:
        raise invalid_argument(
            "ResourceType", named[0], f"Conflicting query string parameters: {', '.join(named)}"
        )
    subresource = named[0] if named else ""
    rows = _ROWS.get((level, head.method, subresource), ())
    found = next((row for row in rows if all(_has(head, parameters, n) for n in row.needs)), None)
    if found is None:
        resource = subresource.upper() or level.value
        raise S3Error("MethodNotAllowed", Method=head.method, ResourceType=resource)
    _check_selectors(found, parameters)
    return found


def _has(head: Head, parameters: Mapping[str, str], need: str) -> bool:
    if need.startswith("x-amz-"):
        return head.header(need) is not None
    name, given, value = need.partition("=")
    return name in parameters and (not given or parameters[name] == value)


def _check_selectors(found: Operation, parameters: Mapping[str, str]) -> None:
    """Half of what would select another operation is a mistake: an object must not be written over
    because the part's number or upload is missing."""
    if found.name == "ListObjects" and "list-type" in parameters:
        raise invalid_argument(
            "list-type", parameters["list-type"], "Invalid List Type specified in Request"
        )
    if found.name in ("PutObject", "CopyObject"):
        for name in ("uploadId", "partNumber"):
            if name in parameters:
                raise invalid_argument(
                    name, parameters[name], "uploadId and partNumber must be given together"
                )
