"""What is stored of headers and given back: user metadata, content headers."""

from __future__ import annotations

from email.header import decode_header, make_header

import pytest

from replicast.gateway.s3.errors import S3Error
from replicast.gateway.s3.head import Head
from replicast.gateway.s3.headers import (
    answered_content_headers,
    content_headers,
    has_overrides,
    header_text,
    stored_encoding,
    stored_text,
    user_metadata,
    user_metadata_headers,
    wanted_attributes,
)


def head(headers: dict[str, str]) -> Head:
    return Head("PUT", "/bucket/key", headers=headers)


def code(function, *arguments) -> str:
    with pytest.raises(S3Error) as caught:
        function(*arguments)
    return caught.value.code.name


def test_user_metadata__names_and_values() -> None:
    given = {"x-amz-meta-a": "1", "x-amz-meta-b-c": "", "x-amz-meta-": "x", "content-type": "t"}
    assert user_metadata(head(given)) == {"a": "1", "b-c": ""}
    assert user_metadata_headers({"a": "1"}) == {"x-amz-meta-a": "1"}


def test_user_metadata__two_kib_of_utf8() -> None:
    assert user_metadata(head({"x-amz-meta-abcd": "v" * 2044}))
    for value in ("v" * 2045, "é".encode().decode("latin-1") * 1023):
        with pytest.raises(S3Error) as caught:
            user_metadata(head({"x-amz-meta-abcd": value}))
        assert caught.value.code.name == "MetadataTooLarge"
        assert caught.value.fields["MaxSizeAllowed"] == "2048"


@pytest.mark.parametrize(
    ("wire", "text"),
    [
        (b"plain", "plain"),
        (b"=?UTF-8?B?w6k=?=", "=?UTF-8?B?w6k=?="),
        ("Hello é✓".encode(), "Hello é✓"),
        (b"Hello World\xe9", "Hello World\xe9"),
        (b"\t padded  ", "padded"),
    ],
)
def test_stored_text__bytes_of_the_wire(wire: bytes, text: str) -> None:
    assert stored_text(wire.decode("latin-1")) == text


@pytest.mark.parametrize("text", ["é", "a é b", "✓" * 100, "日本語" * 30, "tab\there", "a\r\nb: c"])
def test_header_text__encoded_words_that_others_read(text: str) -> None:
    sent = header_text(text)
    assert sent.isascii() and sent.isprintable()
    assert all(len(word) <= 75 for word in sent.split(" "))
    assert str(make_header(decode_header(sent))) == text


def test_header_text__ascii_as_it_is() -> None:
    for text in ("", "plain text", "=?UTF-8?B?w6k=?="):
        assert header_text(text) == text


@pytest.mark.parametrize(
    ("given", "stored"),
    [
        ("gzip", "gzip"),
        ("deflate, gzip", "deflate, gzip"),
        ("gzip, aws-chunked", "gzip"),
        ("aws-chunked, gzip", "gzip"),
        ("aws-chunked", ""),
        ("AWS-Chunked,aws-chunked", ""),
        ("gzip,deflate,aws-chunked,", "gzip, deflate"),
        (" gzip,br ", "gzip,br"),
        ("", ""),
    ],
)
def test_stored_encoding__without_aws_chunked(given: str, stored: str) -> None:
    assert stored_encoding(given) == stored


def test_content_headers__default_type_and_those_given() -> None:
    assert content_headers(head({})) == {"content-type": "binary/octet-stream"}
    given = {
        "content-type": "text/plain",
        "content-encoding": "aws-chunked",
        "content-disposition": 'attachment; filename="a"',
        "content-language": "de",
        "cache-control": "no-cache",
        "expires": "whenever",
        "content-length": "3",
    }
    stored = content_headers(head(given))
    assert list(stored) == [
        "content-type",
        "content-disposition",
        "content-language",
        "cache-control",
        "expires",
    ]
    assert code(content_headers, head({"content-type": "x" * 9000})) == "MetadataTooLarge"


def test_answered_content_headers__overrides() -> None:
    stored = {"content-type": "text/plain", "expires": "whenever"}
    parameters = {"response-content-type": "a/b\r\nSet-Cookie: x", "response-cache-control": "no"}
    answered = answered_content_headers(stored, parameters)
    assert list(answered) == ["content-type", "cache-control", "expires"]
    assert answered["cache-control"] == "no" and answered["expires"] == "whenever"
    assert "\n" not in answered["content-type"]
    assert has_overrides(parameters) and not has_overrides({"versionId": "x"})
    assert answered_content_headers(stored, {"response-content-type": ""}) == stored


def test_wanted_attributes__names() -> None:
    asked = head({"x-amz-object-attributes": "ETag, ObjectSize,,ETag"})
    assert wanted_attributes(asked) == {"ETag", "ObjectSize"}
    assert code(wanted_attributes, head({})) == "InvalidRequest"
    assert code(wanted_attributes, head({"x-amz-object-attributes": " , "})) == "InvalidRequest"
    assert code(wanted_attributes, head({"x-amz-object-attributes": "ETags"})) == "InvalidArgument"
