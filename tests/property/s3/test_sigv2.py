"""gateway/s3/sigv2.py: the URLs that botocore presigns are right, and nothing that differs is."""

from __future__ import annotations

import os
import random
import string
from contextlib import suppress
from dataclasses import replace
from urllib.parse import quote, urlsplit

import pytest
from botocore.auth import HmacV1QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from hypothesis import given
from hypothesis import strategies as st

from replicast.gateway.s3.errors import S3Error
from replicast.gateway.s3.head import Head
from replicast.gateway.s3.payload import Payload
from replicast.gateway.s3.sigv2 import is_presigned, verify, with_query_headers
from replicast.gateway.s3.sigv4 import Verified
from replicast.units import SECOND

KEY_ID, SECRET = "AKIDEXAMPLE", "a secret / of + some % kind"
NOW_NS = 1_700_000_000 * SECOND
EXPIRES = str(NOW_NS // SECOND + 600)
MUTATIONS = int(os.environ.get("REPLICAST_FUZZ_COUNT", "3000"))


class At(HmacV1QueryAuth):
    """Good until EXPIRES, whatever the time is."""

    def _get_date(self) -> str:
        return EXPIRES


def presigned(
    method: str, path: str, query: str = "", headers: dict[str, str] | None = None, bucket: str = ""
) -> Head:
    """As botocore makes them; headers go into the query."""
    host = f"{bucket}.s3.test" if bucket else "s3.test"
    url = f"http://{host}{path}" + (f"?{query}" if query else "")
    auth_path = f"/{bucket}{path}" if bucket else None
    request = AWSRequest(method, url, headers=headers or {}, auth_path=auth_path)
    At(Credentials(KEY_ID, SECRET)).add_auth(request)
    made = urlsplit(request.url)
    return Head(method, made.path, made.query, {"host": host})


def verified(head: Head, bucket: str = "", now_ns: int = NOW_NS) -> Verified:
    return verify(with_query_headers(head), bucket, now_ns, {KEY_ID: SECRET}.get)


def refused(head: Head, now_ns: int = NOW_NS) -> tuple[str, str]:
    with pytest.raises(S3Error) as failed:
        verified(head, now_ns=now_ns)
    return failed.value.code.name, str(failed.value)


KEYS = st.text(min_size=1, max_size=30).filter(lambda text: text.isprintable())
VALUES = st.text(string.ascii_letters + string.digits + " +/=&%;~", max_size=20)
SUBRESOURCES = st.dictionaries(
    st.sampled_from(["versionId", "response-content-type", "uploadId", "partNumber", "prefix"]),
    VALUES.filter(bool),
)
HEADERS = st.dictionaries(
    st.sampled_from(["Content-MD5", "Content-Type", "x-amz-meta-a", "x-amz-acl", "X-Amz-Meta-B"]),
    VALUES.map(str.strip).filter(bool),
)


@given(st.sampled_from(["GET", "PUT", "HEAD", "DELETE"]), KEYS, SUBRESOURCES, HEADERS)
def test_botocore(
    method: str, key: str, parameters: dict[str, str], headers: dict[str, str]
) -> None:
    query = "&".join(f"{quote(n)}={quote(v, safe='')}" for n, v in parameters.items())
    head = presigned(method, f"/bucket/{quote(key)}", query, headers)
    assert is_presigned(head)
    found = verified(head)
    assert (found.key_id, found.payload) == (KEY_ID, Payload.UNSIGNED)
    seen = with_query_headers(head)
    assert {n.lower(): v for n, v in headers.items()}.items() <= seen.headers.items()


def test_botocore__by_the_host() -> None:
    head = presigned("GET", "/k", bucket="photos")
    assert verified(head, "photos").key_id == KEY_ID
    assert refused(head)[0] == "SignatureDoesNotMatch"


@pytest.mark.parametrize("auth_path", ["/bucket", "/bucket/"])
def test_botocore__of_a_bucket(auth_path: str) -> None:
    """Path style: it signs a slash at the end that it does not send."""
    request = AWSRequest("GET", "http://s3.test/bucket", headers={}, auth_path=auth_path)
    At(Credentials(KEY_ID, SECRET)).add_auth(request)
    made = urlsplit(request.url)
    assert verified(Head("GET", made.path, made.query, {"host": "s3.test"})).key_id == KEY_ID


def test_known_vector() -> None:
    """Of a URL that botocore 1.44.8 made."""
    head = Head(
        "GET",
        "/b/a%20b",
        "versionId=3%2F4&AWSAccessKeyId=AKIDEXAMPLE&Signature=SIG&Expires=1700000600",
    )
    head = replace(head, query=head.query.replace("SIG", quote(VECTOR, safe="")))
    assert verified(head).key_id == KEY_ID


VECTOR = "PWSQtC62eYmhzoZojlHL4DpOHn8="


def test_headers__count_more_than_the_query() -> None:
    head = presigned("PUT", "/b/k", headers={"Content-Type": "text/plain"})
    for sent, good in (("text/plain", True), ("text/html", False)):
        seen = replace(head, headers={**head.headers, "content-type": sent})
        if good:
            assert verified(seen).key_id == KEY_ID
        else:
            assert refused(seen)[0] == "SignatureDoesNotMatch"


def test_headers__in_the_query_have_no_line_breaks() -> None:
    one = presigned("PUT", "/b/k", headers={"x-amz-meta-a": "1", "x-amz-meta-b": "2"})
    query = one.query.replace("x-amz-meta-a=1", "x-amz-meta-a=1%0Ax-amz-meta-b:2")
    assert query != one.query
    assert refused(replace(one, query=query.replace("&x-amz-meta-b=2", "")))[0] == "InvalidArgument"


def test_time() -> None:
    head = presigned("GET", "/b/k")
    assert verified(head, now_ns=int(EXPIRES) * SECOND).key_id == KEY_ID
    late = refused(head, now_ns=int(EXPIRES) * SECOND + 1)
    assert late == ("AccessDenied", "Request has expired")
    for wrong in ("", "x", "-1", "1e9", "9" * 13, "1.5"):
        query = head.query.replace(f"Expires={EXPIRES}", f"Expires={wrong}")
        assert refused(replace(head, query=query))[0] == "AccessDenied"


@pytest.mark.parametrize(
    ("more", "code"),
    [
        ("&Signature=x", "AccessDenied"),
        ("&Expires=1", "AccessDenied"),
        ("&AWSAccessKeyId=x", "AccessDenied"),
        ("&AWSAccessKey%49d=x", "AccessDenied"),
        ("&X-Amz-Signature=x", "InvalidArgument"),
        ("&X-Amz-Algorithm=AWS4-HMAC-SHA256", "InvalidArgument"),
        ("&X-Amz-Credential=x", "InvalidArgument"),
        ("&acl", "SignatureDoesNotMatch"),
        ("&uploads=", "SignatureDoesNotMatch"),
        ("&versionId=1", "SignatureDoesNotMatch"),
        ("&x-amz-acl=private", "SignatureDoesNotMatch"),
        ("&attributes", "AccessDenied"),
        ("&legal-hold", "AccessDenied"),
        ("&x-amz-security-token=x", "InvalidToken"),
        ("&x-amz-content-sha256=STREAMING-AWS4-HMAC-SHA256-PAYLOAD", "InvalidRequest"),
        ("&x-amz-content-sha256=nonsense", "InvalidArgument"),
    ],
)
def test_something_added(more: str, code: str) -> None:
    head = presigned("GET", "/b/k", "versionId=3")
    assert refused(replace(head, query=head.query + more))[0] == code


def test_authorization_too() -> None:
    head = presigned("GET", "/b/k")
    both = replace(head, headers={**head.headers, "authorization": "AWS a:b"})
    assert refused(both)[0] == "InvalidArgument"


@pytest.mark.parametrize("without", ["AWSAccessKeyId", "Signature", "Expires"])
def test_something_missing(without: str) -> None:
    head = presigned("GET", "/b/k")
    rest = "&".join(p for p in head.query.split("&") if not p.startswith(without))
    assert refused(replace(head, query=rest))[0] == "AccessDenied"


def test_unknown_key() -> None:
    head = presigned("GET", "/b/k")
    other = replace(head, query=head.query.replace(KEY_ID, "AKIDOTHER"))
    assert refused(other)[0] == "InvalidAccessKeyId"


def test_mutated() -> None:
    """Whatever one byte of what was signed becomes, it is refused, or means the same still."""
    rng = random.Random(7)
    head = presigned("GET", "/b/k%20k", "versionId=3", {"x-amz-meta-a": "1"})
    meaning = (head.method, head.path, sorted(with_query_headers(head).headers.items()))
    for _ in range(MUTATIONS):
        text = list(head.path + "?" + head.query)
        text[rng.randrange(1, len(text))] = chr(rng.randrange(33, 256))
        path, _, query = "".join(text).partition("?")
        mutant = replace(head, path=path, query=query)
        with suppress(S3Error):
            assert verified(mutant).key_id == KEY_ID
            same = (head.method, path, sorted(with_query_headers(mutant).headers.items()))
            assert same == meaning and "versionId=3" in query.replace("%33", "3")
