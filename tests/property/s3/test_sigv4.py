"""gateway/s3/sigv4.py: what botocore signs is right, whatever a client escapes, and nothing else is."""

from __future__ import annotations

import random
from contextlib import suppress
from dataclasses import replace
from urllib.parse import quote, unquote_to_bytes

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from replicast.gateway.s3.canonical import canonical_path, canonical_query
from replicast.gateway.s3.errors import S3Error
from replicast.gateway.s3.head import Head
from replicast.gateway.s3.payload import Payload

from .signing import KEY_ID, REGION, in_header, in_query, verified

# Of a character that was changed into a digit, nobody can say that it means the same.
DIGITS = "0123456789"
VISIBLE = st.characters(min_codepoint=0x21, max_codepoint=0x7E)

names = st.text(st.sampled_from("abcdefgh-"), min_size=1, max_size=8)
values = st.text(VISIBLE | st.just(" "), max_size=20).map(str.strip)
headers = st.fixed_dictionaries(
    {},
    optional={
        "Content-Type": values,
        "Range": st.just("bytes=1-2"),
        "Content-MD5": values,
        "X-Amz-Acl": values,
        "Date": st.just("Fri, 24 May 2013 00:00:00 GMT"),
        "User-Agent": values,
        "Expect": st.just("100-continue"),
    },
).flatmap(
    lambda fixed: st.dictionaries(names.map("x-amz-meta-".__add__), values, max_size=4).map(
        fixed.__or__
    )
)
paths = st.lists(st.text(max_size=10), min_size=1, max_size=4).map(
    lambda parts: "/" + quote("/".join(parts), safe="/~")
)
queries = st.lists(st.tuples(st.text(max_size=6), st.text(max_size=9)), max_size=4).map(
    lambda pairs: "&".join(
        f"{quote(name, safe='')}={quote(value, safe='')}" for name, value in pairs
    )
)
urls = st.tuples(st.sampled_from(["h", "h:8080", "b.h"]), paths, queries).map(
    lambda parts: "http://{}{}{}".format(*parts[:2], parts[2] and "?" + parts[2])
)
methods = st.sampled_from(["GET", "PUT", "POST", "DELETE", "HEAD"])


def refused(head: Head, now_ns: int) -> None:
    with pytest.raises(S3Error):
        verified(head, now_ns)


def meaning(head: Head) -> object:
    return head.method, unquote_to_bytes(head.path), sorted(head.query_pairs)


def with_digit(draw: st.DrawFn, text: str) -> str:
    """`text` with one character changed into a digit."""
    at = draw(st.integers(0, len(text) - 1))
    digit = draw(st.sampled_from([digit for digit in DIGITS if digit != text[at]]))
    return text[:at] + digit + text[at + 1 :]


def spelled(rng: random.Random, encoded: str, raw: bytes) -> str:
    """The same path, other bytes escaped, in either case."""
    out = ""
    for byte in unquote_to_bytes(encoded):
        if byte in raw and rng.random() < 0.7:
            out += chr(byte)
        else:
            out += rng.choice((f"%{byte:02x}", f"%{byte:02X}"))
    return out


@given(methods, urls, headers, st.binary(max_size=20))
def test_verify__what_botocore_signs_in_a_header(
    method: str, url: str, given: dict[str, str], body: bytes
) -> None:
    head, now_ns = in_header(method, url, given, body)
    found = verified(head, now_ns)
    assert (found.key_id, found.payload) == (KEY_ID, Payload.WHOLE)
    assert found.sha256 == head.header("x-amz-content-sha256")
    assert found.seed.scope.endswith(f"/{REGION}/s3/aws4_request")


@given(methods, urls, headers, st.integers(1, 604800), st.integers(0, 604800))
def test_verify__what_botocore_presigns(
    method: str, url: str, given: dict[str, str], expires: int, later: int
) -> None:
    head, now_ns = in_query(method, url, given, expires)
    now_ns += later * 1_000_000_000
    if later > expires:
        refused(head, now_ns)
    else:
        assert verified(head, now_ns).payload is Payload.UNSIGNED


@given(urls, st.integers(0, 1 << 32).map(random.Random))
def test_verify__however_a_client_escapes_it(url: str, rng: random.Random) -> None:
    head, now_ns = in_header("GET", url, {}, b"")
    path = spelled(rng, head.path, b"abc/!'()*$&+,;=:@-._~")
    pairs = [pair.split("=") for pair in head.query.split("&") if pair]
    rng.shuffle(pairs)
    query = "&".join(
        "=".join(spelled(rng, part, b"abc/!'()*$:@-._~") for part in pair) for pair in pairs
    )
    assert verified(replace(head, path=path, query=query), now_ns).key_id == KEY_ID


@st.composite
def altered(draw: st.DrawFn) -> tuple[Head, int]:
    """A signed request, then one character of anything that is signed."""
    given = draw(headers)
    if draw(st.booleans()):
        head, now_ns = in_header(draw(methods), draw(urls), given, draw(st.binary(max_size=9)))
    else:
        head, now_ns = in_query(draw(methods), draw(urls), given, 100)
    unsigned = {"user-agent", "expect", "date" if "x-amz-date" in head.headers else ""}
    parts = ["method", "path", "query", *sorted(set(head.headers) - unsigned)]
    part = draw(st.sampled_from(parts))
    if part in ("method", "path", "query"):
        before = getattr(head, part)
        assume(before)
        changed = replace(head, **{part: with_digit(draw, before)})
        assume(meaning(changed) != meaning(head))
        return changed, now_ns
    before = head.headers[part]
    assume(before)
    return replace(head, headers={**head.headers, part: with_digit(draw, before)}), now_ns


@given(altered())
def test_verify__one_character_of_anything_signed(case: tuple[Head, int]) -> None:
    refused(*case)


@given(methods, urls, headers, names, values, st.booleans())
def test_verify__nothing_can_be_added_that_s3_acts_upon(
    method: str, url: str, given: dict[str, str], name: str, value: str, presigned: bool
) -> None:
    head, now_ns = (
        in_query(method, url, given, 9) if presigned else in_header(method, url, given, b"")
    )
    query = head.query + ("&" if head.query else "") + quote(name) + "=" + quote(value)
    refused(replace(head, query=query), now_ns)
    assume(f"x-amz-{name}" not in head.headers)
    refused(replace(head, headers={**head.headers, f"x-amz-{name}": value}), now_ns)


loose = st.text(st.characters(max_codepoint=0xFF), max_size=30) | values
fragments = st.sampled_from(
    [
        *("AWS4-HMAC-SHA256", " ", ",", "=", "/", ";", "Credential=", "SignedHeaders="),
        *("Signature=", "AWS ", "host", "x-amz-date", "20130524", "aws4_request", "s3"),
        *(KEY_ID, "0" * 64, "\xff"),
    ]
)
authorizations = st.lists(fragments | values, max_size=14).map("".join) | loose
parameters = st.sampled_from(
    ["Algorithm", "Credential", "Date", "Expires", "SignedHeaders", "Signature", "Content-Sha256"]
).map("X-Amz-{}=".format)


@given(
    loose,
    st.lists(parameters | fragments | loose | st.just("&") | st.just("%"), max_size=20).map(
        "".join
    ),
    st.dictionaries(
        st.sampled_from(["host", "x-amz-date", "date", "x-amz-content-sha256", "x-amz-a"]), loose
    ),
    authorizations | st.none(),
    st.integers(0, 1 << 62),
)
def test_verify__answers_to_anything(
    path: str, query: str, given: dict[str, str], authorization: str | None, now_ns: int
) -> None:
    if authorization is not None:
        given["authorization"] = authorization
    refused(Head("GET", path, query, given), now_ns)


@given(urls, headers, st.booleans(), st.data())
def test_verify__answers_to_anything_that_is_nearly_right(
    url: str, given: dict[str, str], presigned: bool, data: st.DataObject
) -> None:
    head, now_ns = (
        in_query("GET", url, given, 9) if presigned else in_header("GET", url, given, b"")
    )
    before = head.query if presigned else head.headers["authorization"]
    start, end = sorted(data.draw(st.tuples(*[st.integers(0, len(before))] * 2)))
    after = before[:start] + data.draw(fragments | loose) + before[end:]
    if presigned:
        changed = replace(head, query=after)
    else:
        changed = replace(head, headers={**head.headers, "authorization": after})
    with suppress(S3Error):
        assert verified(changed, now_ns) == verified(head, now_ns)


@given(st.binary(max_size=40), st.binary(max_size=40))
def test_canonical__different_bytes_never_look_alike(one: bytes, other: bytes) -> None:
    texts = ["/" + quote(data, safe="/") for data in (one, other)]
    assert (canonical_path(texts[0]) == canonical_path(texts[1])) == (one == other)
    heads = [Head("GET", "/", f"a={quote(data, safe='')}") for data in (one, other)]
    first, second = (canonical_query(head.query_pairs, presigned=False) for head in heads)
    same = first == second
    assert same == (one == other)
