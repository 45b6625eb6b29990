"""Where copies come from, in the forms that clients send."""

from __future__ import annotations

import pytest

from replicast.gateway.s3.copy_source import (
    CopySource,
    Directive,
    check_changes_something,
    copy_source,
    metadata_directive,
    tagging_directive,
)
from replicast.gateway.s3.errors import S3Error
from replicast.gateway.s3.head import Head


def head(headers: dict[str, str]) -> Head:
    return Head("PUT", "/bucket/key", headers=headers)


def code(function, *arguments) -> str:
    with pytest.raises(S3Error) as caught:
        function(*arguments)
    return caught.value.code.name


@pytest.mark.parametrize(
    ("text", "source"),
    [
        ("bucket/key", CopySource("bucket", "key")),
        ("/bucket/key", CopySource("bucket", "key")),
        ("bucket//key", CopySource("bucket", "/key")),
        ("bucket/a%20b%2Fc+d", CopySource("bucket", "a b/c+d")),
        ("bucket%2Fa%2Fb", CopySource("bucket", "a/b")),
        ("%2Fbucket%2Fa%2Fb", CopySource("bucket", "a/b")),
        ("bucket/key?versionId=v1", CopySource("bucket", "key", "v1")),
        ("bucket/foo%3Fbar?versionId=v%2B1", CopySource("bucket", "foo?bar", "v+1")),
        ("bucket/what?", CopySource("bucket", "what?")),
        ("bucket/what?x=1", CopySource("bucket", "what?x=1")),
        ("bucket/%25", CopySource("bucket", "%")),
        ("bucket/" + "✓".encode().decode("latin-1"), CopySource("bucket", "✓")),
    ],
)
def test_copy_source__forms(text: str, source: CopySource) -> None:
    assert copy_source(head({"x-amz-copy-source": text})) == source


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("", "InvalidArgument"),
        ("/", "InvalidArgument"),
        ("bucket", "InvalidArgument"),
        ("bucket/", "InvalidArgument"),
        ("/bucket/", "InvalidArgument"),
        ("//key", "InvalidArgument"),
        ("bucket/%", "InvalidArgument"),
        ("bucket/%ff", "InvalidArgument"),
        ("bucket/key?versionId=", "InvalidArgument"),
        ("bucket/key?versionId=%", "InvalidArgument"),
        ("Bucket/key", "InvalidBucketName"),
        ("arn:aws:s3:::accesspoint/x", "InvalidBucketName"),
        ("bucket/" + "x" * 1025, "KeyTooLongError"),
    ],
)
def test_copy_source__bad(text: str, name: str) -> None:
    assert code(copy_source, head({"x-amz-copy-source": text})) == name


def test_directives__copy_or_replace() -> None:
    assert metadata_directive(head({})) is Directive.COPY
    assert metadata_directive(head({"x-amz-metadata-directive": "replace"})) is Directive.REPLACE
    assert tagging_directive(head({"x-amz-tagging-directive": "COPY"})) is Directive.COPY
    assert code(metadata_directive, head({"x-amz-metadata-directive": "x"})) == "InvalidArgument"
    assert code(tagging_directive, head({"x-amz-tagging-directive": ""})) == "InvalidArgument"


def test_check_changes_something__onto_itself() -> None:
    here, there = CopySource("bucket", "key"), CopySource("bucket", "key", "v1")
    itself = ("bucket", "key", {}, Directive.COPY)
    assert code(check_changes_something, here, *itself) == "InvalidRequest"
    check_changes_something(there, *itself)
    check_changes_something(here, "bucket", "other", {}, Directive.COPY)
    check_changes_something(here, "bucket", "key", {}, Directive.REPLACE)
    check_changes_something(here, "bucket", "key", {"x-amz-storage-class": "S"}, Directive.COPY)
