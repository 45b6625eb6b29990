"""Whatever a client sends, the parsers answer with a value or an S3Error, and names round-trip."""

from __future__ import annotations

from urllib.parse import quote, unquote

from hypothesis import given
from hypothesis import strategies as st

from replicast.errors import InvalidRequest
from replicast.gateway.limits import check_after, check_bucket, check_name
from replicast.gateway.s3 import conditions, copy_source, headers, paging, ranges
from replicast.gateway.s3.dates import parse_amz_date, parse_http_date, parse_iso_date
from replicast.gateway.s3.errors import S3Error
from replicast.gateway.s3.escapes import decode, encode
from replicast.gateway.s3.head import Head
from replicast.gateway.s3.names import check_new_bucket
from replicast.gateway.s3.operation import route
from replicast.gateway.s3.operations import OPERATIONS
from replicast.gateway.s3.request_bodies import (
    read_completed_parts,
    read_deletes,
    read_location_constraint,
    read_versioning,
)
from replicast.gateway.s3.tokens import make_token, read_token

WIRE = st.text(st.characters(max_codepoint=0xFF), max_size=60)
ANY_TEXT = st.text(max_size=60)
NAMES = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=200)  # fmt: skip
QUERY_NAMES = sorted(
    {each.subresource for each in OPERATIONS}
    | {need for each in OPERATIONS for need in each.needs}
    | {"marker", "prefix", "delimiter", "max-keys", "key-marker", "version-id-marker"}
    | {"upload-id-marker", "max-uploads", "max-parts", "part-number-marker", "encoding-type"}
    | {"continuation-token", "start-after", "fetch-owner", "max-buckets", "partNumber"}
)
HEADER_NAMES = [
    "host",
    "range",
    "if-match",
    "if-none-match",
    "if-modified-since",
    "if-unmodified-since",
    "x-amz-copy-source",
    "x-amz-copy-source-range",
    "x-amz-copy-source-if-match",
    "x-amz-copy-source-if-unmodified-since",
    "x-amz-if-match-last-modified-time",
    "x-amz-if-match-size",
    "x-amz-meta-a",
    "x-amz-metadata-directive",
    "x-amz-max-parts",
    "x-amz-part-number-marker",
    "x-amz-object-attributes",
    "content-type",
    "content-encoding",
]
NUMBERS = st.integers().map(str) | st.floats().map(str)
DATES = st.builds(
    "{}, {:02} {} {:04} {:02}:{:02}:{:02} GMT".format,
    st.sampled_from(["Mon", "Sun", "Xxx"]),
    st.integers(0, 40),
    st.sampled_from(["Jan", "Feb", "Dec", "Foo"]),
    st.integers(0, 9999),
    *[st.integers(0, 70)] * 3,
)
VALUES = WIRE | NUMBERS | DATES | st.sampled_from(["*", '"a"', "url", "true", "bytes=0-1", "COPY"])
HEADS = st.builds(
    Head,
    st.sampled_from(["GET", "PUT", "POST", "DELETE", "HEAD", "OPTIONS", "PATCH", ""]),
    WIRE | WIRE.map(lambda text: "/bucket/" + text) | st.just("/bucket") | st.just("/"),
    st.lists(st.tuples(st.sampled_from(QUERY_NAMES) | WIRE, VALUES.map(quote) | WIRE), max_size=4)
    .map(lambda pairs: "&".join(f"{name}={value}" for name, value in pairs)),
    st.dictionaries(st.sampled_from(HEADER_NAMES), VALUES, max_size=5),
)  # fmt: skip
READ_HEAD = [
    conditions.read_conditions,
    conditions.copy_source_conditions,
    conditions.write_condition,
    conditions.delete_condition,
    copy_source.copy_source,
    copy_source.metadata_directive,
    copy_source.tagging_directive,
    headers.user_metadata,
    headers.content_headers,
    headers.wanted_attributes,
    paging.attributes_page,
]
READ_PARAMETERS = [
    lambda p: paging.list_page("b", p).after,
    lambda p: paging.list_page_v2("b", p).after,
    lambda p: paging.versions_page("b", p).key_marker,
    lambda p: paging.uploads_page("b", p).key_marker,
    lambda p: paging.parts_page(p).marker,
    lambda p: paging.buckets_page(p).after,
]
READ_BODY = [read_deletes, read_completed_parts, read_location_constraint, read_versioning]


def answered(function, *arguments):
    """The value, or None for an S3Error; anything else fails the test."""
    try:
        return function(*arguments)
    except S3Error:
        return None


@given(HEADS)
def test_heads__a_value_or_an_s3_error(head: Head) -> None:
    request = answered(route, head, ["s3.example.org"])
    if request is not None:
        check_bucket(request.bucket or "abc")
        check_name(request.key or "x")
    for function in READ_HEAD:
        answered(function, head)
    answered(ranges.parse_copy_range, head.header("x-amz-copy-source-range"))
    answered(ranges.parse_range, head.header("range"), 10)


@given(st.dictionaries(st.sampled_from(QUERY_NAMES), VALUES | ANY_TEXT.filter(lambda t: t.isprintable())))  # fmt: skip
def test_paging__what_is_taken_fits_the_cluster(parameters: dict[str, str]) -> None:
    for function in READ_PARAMETERS:
        after = answered(function, parameters)
        if isinstance(after, str):
            check_after(after)


@given(WIRE | DATES)
def test_dates__a_time_or_none(text: str) -> None:
    for parse in (parse_http_date, parse_amz_date, parse_iso_date):
        assert isinstance(parse(text), int | None)


TAGS = st.sampled_from(
    [
        "Delete",
        "Object",
        "Key",
        "Quiet",
        "Size",
        "CompleteMultipartUpload",
        "Part",
        "PartNumber",
        "ETag",
        "VersioningConfiguration",
        "Status",
        "CreateBucketConfiguration",
        "Checksum",
    ]
)
PIECES = (
    TAGS.map("<{}>".format)
    | TAGS.map("</{}>".format)
    | st.sampled_from(["1", "true", "Enabled", "&amp;", "&x;", "<!DOCTYPE a>", "<![CDATA[", "]]>"])
    | WIRE
)


@given(st.binary(max_size=200) | st.lists(PIECES, max_size=12).map(lambda p: "".join(p).encode()))
def test_bodies__a_value_or_an_s3_error(body: bytes) -> None:
    for function in READ_BODY:
        answered(function, body)


NODES = st.recursive(
    st.sampled_from(["", "1", " 2 ", "-1", "true", "Enabled", "k"]),
    lambda inner: st.lists(
        st.tuples(TAGS, inner).map(lambda pair: f"<{pair[0]}>{pair[1]}</{pair[0]}>"), max_size=4
    ).map("".join),
)


@given(TAGS, NODES)
def test_bodies__well_formed_but_wrong(root: str, content: str) -> None:
    for function in READ_BODY:
        answered(function, f"<{root}>{content}</{root}>".encode())


@given(NAMES)
def test_names__survive_the_wire(name: str) -> None:
    if len(name.encode()) > 1024:
        return
    assert route(Head("GET", "/bucket/" + quote(name))).key == name
    assert route(Head("GET", "/bucket", "prefix=" + quote(name, safe=""))).parameters["prefix"] == (
        name
    )
    source = Head("PUT", "/", headers={"x-amz-copy-source": "bucket/" + quote(name)})
    assert copy_source.copy_source(source) == copy_source.CopySource("bucket", name)
    assert unquote(encode(name)) == name and decode(encode(name)) == name
    assert encode(name).isascii()


@given(st.text(st.sampled_from("ab1.-_A "), max_size=70))
def test_check_new_bucket__never_more_than_the_cluster_allows(name: str) -> None:
    if answered(check_new_bucket, name) is not None:
        check_bucket(name)
    else:
        try:
            check_bucket(name)
        except InvalidRequest:
            return
        assert ".-" in name or "-." in name


@given(NAMES, st.lists(ANY_TEXT.filter(str.isprintable), max_size=3), st.data())
def test_tokens__only_as_they_were_made(position: str, listing: list[str], data) -> None:
    token = make_token(position, listing)
    assert read_token(token, listing) == position
    assert token.isascii() and quote(token, safe="") == token
    at = data.draw(st.integers(0, len(token) - 1))
    other = data.draw(st.characters(max_codepoint=0x7F))
    changed = token[:at] + other + token[at + 1 :]
    assert changed == token or answered(read_token, changed, listing) is None
    assert answered(read_token, token, [*listing, ""]) is None


@given(ANY_TEXT | WIRE)
def test_tokens__garbage(text: str) -> None:
    assert answered(read_token, text, ("b",)) is None
