"""Parameters of listings: limits, markers, tokens and what the service says to garbage."""

from __future__ import annotations

import pytest

from replicast.gateway.limits import check_after
from replicast.gateway.objects import AFTER_ALL
from replicast.gateway.s3.errors import S3Error
from replicast.gateway.s3.head import Head
from replicast.gateway.s3.paging import (
    PartsPage,
    Scope,
    after_marker,
    attributes_page,
    buckets_page,
    list_page,
    list_page_v2,
    part_number,
    parts_page,
    uploads_page,
    versions_page,
)
from replicast.gateway.s3.tokens import make_token, read_token


def refused(function, *arguments) -> S3Error:
    with pytest.raises(S3Error) as caught:
        function(*arguments)
    return caught.value


@pytest.mark.parametrize(
    ("text", "most"), [("0", 0), ("1", 1), ("1000", 1000), ("1001", 1000), ("2147483647", 1000)]
)
def test_list_page__max_keys(text: str, most: int) -> None:
    assert list_page("b", {"max-keys": text}).keys_max == most
    assert list_page_v2("b", {"max-keys": text}).keys_max == most
    assert versions_page("b", {"max-keys": text}).keys_max == most
    assert uploads_page("b", {"max-uploads": text}).uploads_max == most
    assert parts_page({"max-parts": text}).parts_max == most


def test_list_page__defaults() -> None:
    page = list_page("b", {"max-keys": "", "prefix": "", "marker": "", "delimiter": ""})
    assert (page.keys_max, page.after, page.scope) == (1000, "", Scope("b"))
    assert list_page_v2("b", {}).fetch_owner is False
    assert list_page_v2("b", {"fetch-owner": "true"}).fetch_owner is True


@pytest.mark.parametrize("text", ["blah", "1.5", "0x1", "2147483648", "-2147483649", "9" * 9999])
def test_list_page__max_keys_that_are_no_number(text: str) -> None:
    error = refused(list_page, "b", {"max-keys": text})
    assert error.code.name == "InvalidArgument"
    assert str(error) == "Provided max-keys not an integer or within integer range"
    assert error.fields["ArgumentName"] == "max-keys"


def test_list_page__max_keys_below_zero() -> None:
    error = refused(list_page_v2, "b", {"max-keys": "-1"})
    assert str(error) == "Argument maxKeys must be an integer between 0 and 2147483647"
    assert error.fields == {"ArgumentName": "maxKeys", "ArgumentValue": "-1"}


def test_list_page__encoding_and_bounds() -> None:
    assert list_page("b", {"encoding-type": "url"}).scope.url
    assert refused(list_page, "b", {"encoding-type": "x"}).code.name == "InvalidArgument"
    for name in ("prefix", "marker", "delimiter"):
        assert refused(list_page, "b", {name: "x" * 1025}).code.name == "KeyTooLongError"
        assert refused(list_page, "b", {name: "\0"}).code.name == "InvalidURI"
    assert refused(list_page_v2, "b", {"start-after": "é" * 513}).code.name == "KeyTooLongError"


@pytest.mark.parametrize(
    ("prefix", "delimiter", "marker", "after"),
    [
        ("", "", "a/b", "a/b"),
        ("", "/", "a", "a"),
        ("", "/", "a/", "a/" + AFTER_ALL),
        ("", "/", "a/b", "a/" + AFTER_ALL),
        ("a/", "/", "a/", "a/"),
        ("a/", "/", "a/b/c", "a/b/" + AFTER_ALL),
        ("b/", "/", "a/b", "a/b"),
        ("", "--", "a--b", "a--" + AFTER_ALL),
    ],
)
def test_after_marker__common_prefixes_are_left_behind(
    prefix: str, delimiter: str, marker: str, after: str
) -> None:
    assert after_marker(Scope("b", prefix, delimiter), marker) == after
    page = list_page("b", {"prefix": prefix, "delimiter": delimiter, "marker": marker})
    assert page.after == after


def test_after_marker__fits_the_cluster() -> None:
    check_after(after_marker(Scope("b", "", "/"), "x" * 1023 + "/"))


def test_list_page_v2__tokens() -> None:
    first = list_page_v2("b", {"prefix": "p/", "delimiter": "/", "start-after": "p/a"})
    assert (first.token, first.start_after, first.after) == (None, "p/a", "p/a")
    token = first.next_token("p/é/")
    given = {"prefix": "p/", "delimiter": "/", "start-after": "p/a", "continuation-token": token}
    page = list_page_v2("b", given)
    assert page.after == "p/é/" + AFTER_ALL
    assert (page.token, page.start_after) == (token, "p/a")
    assert list_page_v2("b", {"continuation-token": ""}).after == ""
    for other in ({"prefix": "q/"}, {"delimiter": ""}, {"continuation-token": token[:-1]}):
        assert refused(lambda o=other: list_page_v2("b", {**given, **o}).after).fields == {
            "ArgumentName": "continuation-token",
            "ArgumentValue": {**given, **other}["continuation-token"],
        }
    assert refused(lambda: list_page_v2("other", given).after).code.name == "InvalidArgument"


@pytest.mark.parametrize("token", ["", "x", "=", "é", "A" * 5000, "AAAA", "AQ", "a+b/", "A A="])
def test_read_token__garbage(token: str) -> None:
    assert refused(read_token, token, ("b",)).code.name == "InvalidArgument"


def test_read_token__one_spelling_only() -> None:
    token = make_token("ab", ("b",))
    assert read_token(token, ("b",)) == "ab"
    assert refused(read_token, token + "=", ("b",)).code.name == "InvalidArgument"
    assert make_token("c", ("a", "b")) != make_token("c", ("ab", ""))


def test_versions_page__markers() -> None:
    page = versions_page("b", {"key-marker": "k", "version-id-marker": "v"})
    assert (page.key_marker, page.version_marker) == ("k", "v")
    error = refused(versions_page, "b", {"version-id-marker": "v"})
    assert str(error) == "A version-id marker cannot be specified without a key marker."
    assert versions_page("b", {"version-id-marker": ""}).version_marker == ""
    long = {"key-marker": "k", "version-id-marker": "v" * 1025}
    assert refused(versions_page, "b", long).code.name == "InvalidArgument"


def test_uploads_page__markers() -> None:
    page = uploads_page("b", {"key-marker": "k", "upload-id-marker": "u"})
    assert (page.key_marker, page.upload_marker) == ("k", "u")
    assert uploads_page("b", {"upload-id-marker": "u"}).upload_marker == ""
    error = refused(uploads_page, "b", {"max-uploads": "2157483647"})
    assert str(error) == "Provided max-uploads not an integer or within integer range"
    long = {"key-marker": "k", "upload-id-marker": "u" * 1025}
    assert refused(uploads_page, "b", long).code.name == "InvalidArgument"


def test_parts_page__query_and_headers() -> None:
    assert parts_page({"part-number-marker": "5", "max-parts": "2"}) == PartsPage(5, 2)
    assert refused(parts_page, {"part-number-marker": "x"}).code.name == "InvalidArgument"
    headers = {"x-amz-part-number-marker": "3", "x-amz-max-parts": "1"}
    assert attributes_page(Head("GET", "/", headers=headers)) == PartsPage(3, 1)
    assert attributes_page(Head("GET", "/", headers={"x-amz-max-parts": "x"})).parts_max == 1000


def test_buckets_page__tokens_and_limits() -> None:
    assert buckets_page({}).buckets_max == 10_000
    page = buckets_page({"max-buckets": "2", "prefix": "a"})
    token = page.next_token("abc")
    assert buckets_page({"prefix": "a", "continuation-token": token}).after == "abc"
    assert refused(buckets_page, {"continuation-token": token}).code.name == "InvalidArgument"
    for text in ("0", "10001", "x", "-1"):
        assert refused(buckets_page, {"max-buckets": text}).code.name == "InvalidArgument"


def test_part_number__one_to_ten_thousand() -> None:
    assert [part_number(text) for text in ("1", "10000")] == [1, 10_000]
    for text in ("", "0", "10001", "-1", "x", "١", "9" * 9999):
        error = refused(part_number, text)
        assert str(error) == "Part number must be an integer between 1 and 10000, inclusive"
        assert error.fields["ArgumentName"] == "partNumber"
