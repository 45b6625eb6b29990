"""Requests to operations: the table against botocore's model of the service, hosts, names."""

from __future__ import annotations

import botocore.session
import pytest

from replicast.gateway.s3.errors import S3Error
from replicast.gateway.s3.head import Head
from replicast.gateway.s3.names import check_key, check_new_bucket
from replicast.gateway.s3.operation import route
from replicast.gateway.s3.operations import OPERATIONS

MODEL = botocore.session.get_session().get_service_model("s3")
# Old names of requests that have a new one too, and what is no request to a bucket here.
RENAMED = {
    "GetBucketLifecycle": "GetBucketLifecycleConfiguration",
    "PutBucketLifecycle": "PutBucketLifecycleConfiguration",
    "GetBucketNotification": "GetBucketNotificationConfiguration",
    "PutBucketNotification": "PutBucketNotificationConfiguration",
    "ListDirectoryBuckets": "ListBuckets",
}
ELSEWHERE = {"WriteGetObjectResponse"}
# Names for requests that the model does not have: browsers send them.
BROWSERS = {"PostObject", "PreflightBucket", "PreflightObject"}
READY = {
    "AbortMultipartUpload",
    "CompleteMultipartUpload",
    "CopyObject",
    "CreateBucket",
    "CreateMultipartUpload",
    "DeleteBucket",
    "DeleteBucketCors",
    "DeleteBucketEncryption",
    "DeleteBucketLifecycle",
    "DeleteBucketOwnershipControls",
    "DeleteBucketPolicy",
    "DeleteBucketReplication",
    "DeleteBucketTagging",
    "DeleteBucketWebsite",
    "DeleteObject",
    "DeleteObjectTagging",
    "DeleteObjects",
    "DeletePublicAccessBlock",
    "GetBucketAccelerateConfiguration",
    "GetBucketAcl",
    "GetBucketCors",
    "GetBucketEncryption",
    "GetBucketLifecycleConfiguration",
    "GetBucketLocation",
    "GetBucketLogging",
    "GetBucketNotificationConfiguration",
    "GetBucketOwnershipControls",
    "GetBucketPolicy",
    "GetBucketPolicyStatus",
    "GetBucketReplication",
    "GetBucketRequestPayment",
    "GetBucketTagging",
    "GetBucketVersioning",
    "GetBucketWebsite",
    "GetObject",
    "GetObjectAcl",
    "GetObjectAttributes",
    "GetObjectLegalHold",
    "GetObjectLockConfiguration",
    "GetObjectRetention",
    "GetObjectTagging",
    "GetPublicAccessBlock",
    "HeadBucket",
    "HeadObject",
    "ListBuckets",
    "ListMultipartUploads",
    "ListObjectVersions",
    "ListObjects",
    "ListObjectsV2",
    "ListParts",
    "PutBucketAcl",
    "PutBucketEncryption",
    "PutBucketVersioning",
    "PutObject",
    "PutObjectAcl",
    "UploadPart",
    "UploadPartCopy",
}


def modelled(name: str) -> Head:
    """A request as the model says, with nothing but what it must have."""
    operation = MODEL.operation_model(name)
    path, _, query = operation.http["requestUri"].partition("?")
    path = path.replace("{Bucket}", "the-bucket").replace("{Key+}", "the/key")
    headers, parameters = {}, [query] if query else []
    shape = operation.input_shape
    for member in shape.required_members if shape else ():
        where = shape.members[member].serialization
        if where.get("location") == "querystring":
            parameters.append(f"{where['name']}=1")
        if where.get("location") == "header":
            headers[where["name"].lower()] = "the-bucket/source"
    return Head(operation.http["method"], path, "&".join(parameters), headers)


def refused(head: Head, *base_domains: str) -> S3Error:
    with pytest.raises(S3Error) as caught:
        route(head, base_domains)
    return caught.value


@pytest.mark.parametrize("name", sorted(set(MODEL.operation_names) - ELSEWHERE))
def test_route__every_operation_of_the_model(name: str) -> None:
    request = route(modelled(name))
    assert request.operation.name == RENAMED.get(name, name)
    assert request.operation.ready == (request.operation.name in READY)
    assert request.bucket == ("the-bucket" if "{Bucket}" in str(MODEL.operation_model(name).http) else "")  # fmt: skip


def test_operations__no_others_than_those_of_the_model() -> None:
    names = [each.name for each in OPERATIONS]
    assert len(set(names)) == len(names)
    assert set(names) - BROWSERS == {RENAMED.get(n, n) for n in MODEL.operation_names} - ELSEWHERE


def test_check_ready__what_is_not_there_yet() -> None:
    request = route(Head("PUT", "/the-bucket", "cors"))
    with pytest.raises(S3Error, match="PutBucketCors") as caught:
        request.check_ready()
    assert caught.value.code.name == "NotImplemented"
    route(Head("GET", "/")).check_ready()


@pytest.mark.parametrize(
    ("method", "path", "query", "resource"),
    [
        ("POST", "/", "", "SERVICE"),
        ("PATCH", "/the-bucket", "", "BUCKET"),
        ("POST", "/the-bucket/key", "", "OBJECT"),
        ("DELETE", "/the-bucket", "versioning", "VERSIONING"),
        ("PUT", "/the-bucket/key", "policy", "POLICY"),
        ("GET", "/the-bucket/key", "versions", "VERSIONS"),
    ],
)
def test_route__method_not_allowed(method: str, path: str, query: str, resource: str) -> None:
    error = refused(Head(method, path, query))
    assert error.code.name == "MethodNotAllowed"
    assert error.fields == {"Method": method, "ResourceType": resource}


@pytest.mark.parametrize("query", ["acl&tagging", "uploads&versions", "list-type=3", "list-type="])
def test_route__ambiguous_queries(query: str) -> None:
    assert refused(Head("GET", "/the-bucket", query)).code.name == "InvalidArgument"


@pytest.mark.parametrize("query", ["uploadId=1", "partNumber=1"])
@pytest.mark.parametrize("headers", [{}, {"x-amz-copy-source": "b/k"}])
def test_route__half_a_part_is_no_object(query: str, headers: dict[str, str]) -> None:
    error = refused(Head("PUT", "/the-bucket/key", query, headers))
    assert error.code.name == "InvalidArgument"
    assert error.fields["ArgumentName"] == query.partition("=")[0]


def test_route__parameters_that_select_nothing() -> None:
    assert route(Head("GET", "/the-bucket/key", "partNumber=2&versionId=v&x-id=GetObject")) == (
        route(Head("GET", "/the-bucket/key", "&partNumber=2&&versionId=v&x-id=GetObject&x-id=b"))
    )
    assert route(Head("HEAD", "/the-bucket/key", "uploadId=1")).operation.name == "HeadObject"
    assert route(Head("OPTIONS", "/the-bucket/key", "acl")).operation.name == "PreflightObject"


@pytest.mark.parametrize(
    ("path", "bucket", "key"),
    [
        ("/", "", ""),
        ("/the-bucket", "the-bucket", ""),
        ("/the-bucket/", "the-bucket", ""),
        ("/the-bucket//", "the-bucket", "/"),
        ("/the-bucket/a//b/", "the-bucket", "a//b/"),
        ("/the-bucket/../x/./y", "the-bucket", "../x/./y"),
        ("/the-bucket/a%2Fb%20c+d%25", "the-bucket", "a/b c+d%"),
        ("/the-bucket/%E2%9C%93", "the-bucket", "✓"),
        ("/the-bucket/" + "✓".encode().decode("latin-1"), "the-bucket", "✓"),
        ("/the%2Dbucket/%01", "the-bucket", "\x01"),
    ],
)
def test_route__path_style(path: str, bucket: str, key: str) -> None:
    request = route(Head("GET", path, headers={"host": "127.0.0.1:9000"}), ["s3.example.org"])
    assert (request.bucket, request.key) == (bucket, key)


@pytest.mark.parametrize(
    ("host", "bucket", "key"),
    [
        ("the-bucket.s3.example.org", "the-bucket", "a/b"),
        ("The-Bucket.S3.example.org:9000", "the-bucket", "a/b"),
        ("with.dots.s3.example.org", "with.dots", "a/b"),
        ("s3.example.org", "abc", "b"),  # not the bucket s3 of example.org
        ("s3.example.org.", "abc", "b"),
        ("the-bucket.s3.example.org.:9000", "the-bucket", "a/b"),
        ("the-bucket.example.org", "the-bucket", "a/b"),
        ("the-buckets3.example.org.evil.org", "abc", "b"),
        (".s3.example.org", "abc", "b"),
        ("s3.example.org:9000", "abc", "b"),
        ("[::1]:9000", "abc", "b"),
        ("[::1]", "abc", "b"),
        ("", "abc", "b"),
    ],
)
def test_route__virtual_hosts(host: str, bucket: str, key: str) -> None:
    path = "/a/b" if bucket != "abc" else "/abc/b"
    request = route(Head("GET", path, headers={"host": host}), ["s3.example.org", "example.org"])
    assert (request.bucket, request.key) == (bucket, key)


def test_route__virtual_host_without_a_key_is_the_bucket() -> None:
    head = Head("GET", "/", "list-type=2", {"host": "the-bucket.s3.example.org"})
    assert route(head, ["s3.example.org"]).operation.name == "ListObjectsV2"


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("", "InvalidURI"),
        ("*", "InvalidURI"),
        ("http://host/the-bucket", "InvalidURI"),
        ("/the-bucket/%", "InvalidURI"),
        ("/the-bucket/%4", "InvalidURI"),
        ("/the-bucket/%zz", "InvalidURI"),
        ("/the-bucket/%ff", "InvalidURI"),
        ("/the-bucket/%c0%af", "InvalidURI"),
        ("/the-bucket/%ed%a0%80", "InvalidURI"),
        ("/the-bucket/a%00", "InvalidURI"),
        ("/%ff", "InvalidURI"),
        ("//key", "InvalidBucketName"),
        ("/Bucket/key", "InvalidBucketName"),
        ("/ab", "InvalidBucketName"),
        ("/the-bucket/" + "x" * 1025, "KeyTooLongError"),
        ("/the-bucket/" + "%E2%9C%93" * 342, "KeyTooLongError"),
    ],
)
def test_route__bad_places(path: str, code: str) -> None:
    assert refused(Head("GET", path)).code.name == code


def test_route__bad_query() -> None:
    assert refused(Head("GET", "/the-bucket", "prefix=%ff")).code.name == "InvalidURI"
    assert str(refused(Head("GET", "/", "a=%"))) == "Couldn't parse the specified URI."
    assert route(Head("GET", "/the-bucket", "prefix=a+b%2Bc")).parameters == {"prefix": "a b+c"}


GOOD = ["abc", "a-b", "a.b", "0ab", "x" * 63, "1.2.3", "a--b", "192.168.5.com"]
BAD = ["", "a", "aa", "x" * 64, "_ab", "a_b", "Abc", "ab-", "-ab", ".ab", "ab.", "a..b", "a b"]
NOT_NEW = ["a.-b", "a-.b", "xn--abc", "sthree-abc", "abc-s3alias", "abc--x-s3", "abc--ol-s3"]


@pytest.mark.parametrize("name", GOOD)
def test_check_new_bucket__good(name: str) -> None:
    assert check_new_bucket(name) == name


@pytest.mark.parametrize("name", [*BAD, "192.168.5.123", "é" * 3, "abc\n", *NOT_NEW])
def test_check_new_bucket__bad(name: str) -> None:
    with pytest.raises(S3Error) as caught:
        check_new_bucket(name)
    assert caught.value.code.name == "InvalidBucketName"
    assert caught.value.fields["BucketName"] == name


@pytest.mark.parametrize("name", NOT_NEW)
def test_route__buckets_of_the_cluster_are_reached(name: str) -> None:
    assert route(Head("GET", f"/{name}")).bucket == name
    assert refused(Head("PUT", f"/{name}")).code.name == "InvalidBucketName"


def test_check_key__bounds() -> None:
    assert check_key("x" * 1024)
    with pytest.raises(S3Error) as caught:
        check_key("é" * 513)
    assert caught.value.fields == {"Size": "1026", "MaxSizeAllowed": "1024"}
