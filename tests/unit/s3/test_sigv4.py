"""gateway/s3/sigv4.py: the examples of the reference, and the code for each thing that is wrong."""

from __future__ import annotations

from dataclasses import replace

import pytest

from replicast.gateway.s3.errors import S3Error
from replicast.gateway.s3.head import Head
from replicast.gateway.s3.payload import Payload
from replicast.gateway.s3.signing_keys import SigningKeys
from replicast.gateway.s3.sigv4 import Verified, verify

from .aws_examples import (
    EMPTY,
    GET_LIFECYCLE,
    GET_OBJECT,
    KEY_ID,
    LIST_OBJECTS,
    NOW_NS,
    PRESIGNED,
    PRESIGNED_QUERY,
    PUT_CHUNKED,
    PUT_OBJECT,
    PUT_TRAILER,
    SECOND_NS,
    TIMESTAMP,
    authorization,
    secret_of,
    verified,
)

WEEK_SECONDS = 7 * 24 * 60 * 60
SIGNED = "host;range;x-amz-content-sha256;x-amz-date"


def changed(head: Head, **headers: str | None) -> Head:
    given = {**head.headers}
    for name, value in headers.items():
        if value is None:
            del given[name.replace("_", "-")]
        else:
            given[name.replace("_", "-")] = value
    return replace(head, headers=given)


def query(**parameters: str | None) -> Head:
    """The presigned example with other parameters; None leaves one out."""
    pairs = dict(pair.split("=") for pair in PRESIGNED_QUERY.split("&"))
    for name, value in parameters.items():
        pairs["X-Amz-" + name] = value
    text = "&".join(f"{name}={value}" for name, value in pairs.items() if value is not None)
    return replace(PRESIGNED, query=text)


def refused(head: Head, now_ns: int = NOW_NS, regions: tuple[str, ...] = ()) -> S3Error:
    with pytest.raises(S3Error) as caught:
        verified(head, now_ns, regions)
    return caught.value


@pytest.mark.parametrize(
    ("head", "payload"),
    [
        (GET_OBJECT, Payload.WHOLE),
        (PUT_OBJECT, Payload.WHOLE),
        (GET_LIFECYCLE, Payload.WHOLE),
        (LIST_OBJECTS, Payload.WHOLE),
        (PUT_CHUNKED, Payload.SIGNED_CHUNKS),
        (PUT_TRAILER, Payload.SIGNED_CHUNKS_TRAILER),
        (PRESIGNED, Payload.UNSIGNED),
    ],
)
def test_verify__the_examples_of_the_reference(head: Head, payload: Payload) -> None:
    found = verified(head)
    assert (found.key_id, found.payload) == (KEY_ID, payload)
    assert found.sha256 == (head.header("x-amz-content-sha256") if found.sha256 else "")
    assert bool(found.sha256) == (payload is Payload.WHOLE)
    assert found.seed.timestamp == TIMESTAMP
    assert found.seed.scope == "20130524/us-east-1/s3/aws4_request"
    assert "signing_key" not in repr(found)


@pytest.mark.parametrize("path", ["/test$file.text", "/test%24file.text", "/tes%74%24file%2etext"])
def test_verify__one_path_however_it_is_encoded(path: str) -> None:
    assert verified(replace(PUT_OBJECT, path=path)).key_id == KEY_ID


@pytest.mark.parametrize("path", ["/test%2524file.text", "//test$file.text", "/./test$file.text"])
def test_verify__a_path_is_neither_decoded_twice_nor_normalised(path: str) -> None:
    assert refused(replace(PUT_OBJECT, path=path)).reason == "SignatureDoesNotMatch"


@pytest.mark.parametrize(
    "query", ["prefix=J&max-keys=2", "max-keys=%32&&prefix=%4a", "max-keys=2&prefix=J&"]
)
def test_verify__one_query_however_it_is_written(query: str) -> None:
    assert verified(replace(LIST_OBJECTS, query=query)).key_id == KEY_ID


@pytest.mark.parametrize("query", ["max-keys=2&prefix=J&prefix=J", "max-keys=2", "max-keys=2&x"])
def test_verify__all_of_the_query_is_signed(query: str) -> None:
    assert refused(replace(LIST_OBJECTS, query=query)).reason == "SignatureDoesNotMatch"


def test_verify__blanks_in_headers_do_not_matter() -> None:
    assert verified(changed(GET_OBJECT, range="  bytes=0-9\t")).key_id == KEY_ID
    assert refused(changed(GET_OBJECT, range="bytes= 0-9")).reason == "SignatureDoesNotMatch"


def test_verify__headers_that_nobody_has_to_sign_may_be_added() -> None:
    added = changed(GET_OBJECT, user_agent="x", x_forwarded_for="y", x_amzn_trace_id="z")
    assert verified(added).key_id == KEY_ID


def test_verify__components_in_any_order_and_spacing() -> None:
    algorithm, _, rest = GET_OBJECT.headers["authorization"].partition(" ")
    for separator in (",", ", ", " ,  "):
        text = f"{algorithm} {separator.join(reversed(rest.split(',')))}"
        assert verified(changed(GET_OBJECT, authorization=text)).key_id == KEY_ID


def test_verify__the_date_header_will_do() -> None:
    """As botocore signs when there is a Date header: no x-amz-date, the time as of RFC 1123."""
    for date in ("Fri, 24 May 2013 00:00:00 GMT", TIMESTAMP, "24 May 2013 00:00:00 +0000"):
        head = changed(GET_OBJECT, x_amz_date=None, date=date)
        assert refused(head).reason == "SignatureDoesNotMatch"  # the time was right, that is


@pytest.mark.parametrize("date", [None, "", "today", "20130524T000000Z, 20130524T000000Z"])
def test_verify__a_date_that_is_none(date: str | None) -> None:
    assert refused(changed(GET_OBJECT, x_amz_date=date)).reason == "AccessDenied"


@pytest.mark.parametrize("date", ["2013-05-24T00:00:00Z", "20131324T000000Z", "201३0524T000000Z"])
def test_verify__a_malformed_date_is_not_replaced_by_the_other(date: str) -> None:
    found = refused(changed(PUT_OBJECT, x_amz_date=date))
    assert (found.reason, str(found)[:18]) == ("AccessDenied", "AWS authentication")


@pytest.mark.parametrize("seconds", [901, -901])
def test_verify__a_clock_that_is_wrong(seconds: int) -> None:
    found = refused(GET_OBJECT, NOW_NS + seconds * SECOND_NS)
    assert found.reason == "RequestTimeTooSkewed"
    assert found.fields["RequestTime"] == "2013-05-24T00:00:00Z"
    assert found.fields["MaxAllowedSkewMilliseconds"] == "900000"
    assert verified(GET_OBJECT, NOW_NS + (seconds - seconds // 901) * SECOND_NS)


def test_verify__regions() -> None:
    assert verified(GET_OBJECT, regions=("eu-north-1", "us-east-1")).key_id == KEY_ID
    for head, code in (
        (GET_OBJECT, "AuthorizationHeaderMalformed"),
        (PRESIGNED, "AuthorizationQueryParametersError"),
    ):
        found = refused(head, regions=("eu-north-1", "eu-south-1"))
        assert (found.reason, found.fields["Region"]) == (code, "eu-north-1")


def test_verify__no_credentials() -> None:
    assert refused(Head("GET", "/test.txt", "", {"host": "h"})).reason == "AccessDenied"
    assert refused(changed(GET_OBJECT, authorization=" ")).reason == "AccessDenied"


def test_verify__an_unknown_key() -> None:
    text = GET_OBJECT.headers["authorization"].replace(KEY_ID, "AKIDNOBODY")
    found = refused(changed(GET_OBJECT, authorization=text))
    assert (found.reason, found.fields["AWSAccessKeyId"]) == ("InvalidAccessKeyId", "AKIDNOBODY")


def test_verify__a_key_id_with_slashes() -> None:
    text = GET_OBJECT.headers["authorization"].replace(KEY_ID, "a/b=c/d")
    found = refused(changed(GET_OBJECT, authorization=text))
    assert found.fields["AWSAccessKeyId"] == "a/b=c/d"


def test_verify__a_wrong_secret_shows_what_was_signed() -> None:
    with pytest.raises(S3Error) as caught:
        verify(GET_OBJECT, NOW_NS, lambda _: "another", SigningKeys())
    fields = caught.value.fields
    assert caught.value.reason == "SignatureDoesNotMatch"
    assert fields["StringToSign"].startswith(f"AWS4-HMAC-SHA256\n{TIMESTAMP}\n20130524/us-east-1")
    assert fields["CanonicalRequest"].startswith("GET\n/test.txt\n\nhost:")


def test_verify__a_secret_that_was_rotated() -> None:
    keys = SigningKeys()
    assert verify(GET_OBJECT, NOW_NS, secret_of, keys).key_id == KEY_ID
    with pytest.raises(S3Error, match="signature"):
        verify(GET_OBJECT, NOW_NS, lambda _: "new", keys)


def test_verify__two_mechanisms_at_once() -> None:
    for query in (PRESIGNED_QUERY, "X-Amz-Signature=x", "AWSAccessKeyId=a&Signature=b"):
        found = refused(replace(GET_OBJECT, query=query))
        assert (found.reason, found.fields["ArgumentName"]) == ("InvalidArgument", "Authorization")


def test_verify__version_2_is_not_spoken() -> None:
    found = refused(changed(GET_OBJECT, authorization="AWS AKID:c2lnbmF0dXJl"))
    assert found.reason == "InvalidRequest" and "AWS4-HMAC-SHA256" in str(found)
    assert refused(changed(GET_OBJECT, authorization="AWS HAHAHA")).reason == "InvalidArgument"
    presigned = replace(PRESIGNED, query="AWSAccessKeyId=a&Expires=1&Signature=b")
    assert refused(presigned).reason == "InvalidRequest"


@pytest.mark.parametrize(
    "text", ["Bearer token", "AWS4-HMAC-SHA1 Credential=x", "AWS4-ECDSA-P256-SHA256 Credential=x"]
)
def test_verify__other_kinds_of_authorization(text: str) -> None:
    found = refused(changed(GET_OBJECT, authorization=text))
    assert (found.reason, found.fields["ArgumentName"]) == ("InvalidArgument", "Authorization")


GOOD = authorization(SIGNED, "0" * 64)


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("AWS4-HMAC-SHA256", "component"),
        (GOOD.rpartition(",")[0], "missing Signature"),
        (GOOD.replace(f"SignedHeaders={SIGNED},", ""), "missing SignedHeaders"),
        (GOOD.replace("Credential", "Credentials"), "component"),
        (GOOD + ",Signature=1", "component"),
        (GOOD.replace("Signature=", "Signature"), "component"),
        (GOOD.replace("/s3/", "/ec2/"), "incorrect service 'ec2'"),
        (GOOD.replace("aws4_request", "aws_request"), "incorrect terminal 'aws_request'"),
        (GOOD.replace("20130524", "2013052"), "incorrect date format '2013052'"),
        (GOOD.replace("20130524", "20130231"), "incorrect date format '20130231'"),
        (GOOD.replace("20130524", "20130525"), "Invalid credential date"),
        (GOOD.replace("/us-east-1", ""), "Credential is mal-formed"),
        (GOOD.replace("us-east-1", ""), "Credential is mal-formed"),
        (GOOD.replace(";range", ";ra nge"), "SignedHeaders are mal-formed"),
        (GOOD.replace(";range", ";;range"), "SignedHeaders are mal-formed"),
        (GOOD.replace("0" * 64, "\udcff"), "not ASCII"),
    ],
)
def test_verify__a_malformed_authorization_header(text: str, what: str) -> None:
    found = refused(changed(GET_OBJECT, authorization=text))
    assert found.reason == "AuthorizationHeaderMalformed"
    assert str(found).startswith("The authorization header is malformed; ") and what in str(found)


@pytest.mark.parametrize("signature", ["0", "0" * 64, "F" * 64, "0" * 1000])
def test_verify__any_other_signature(signature: str) -> None:
    head = changed(GET_OBJECT, authorization=authorization(SIGNED, signature))
    assert refused(head).reason == "SignatureDoesNotMatch"
    assert refused(query(Signature=signature)).reason == "SignatureDoesNotMatch"


def test_verify__what_has_to_be_signed() -> None:
    found = refused(changed(GET_OBJECT, x_amz_acl="public-read", x_amz_tagging="a=b"))
    assert found.reason == "AccessDenied"
    assert found.fields["HeadersNotSigned"] == "x-amz-acl, x-amz-tagging"
    presigned = refused(changed(PRESIGNED, x_amz_copy_source="/a/b"))
    assert presigned.fields["HeadersNotSigned"] == "x-amz-copy-source"
    unsigned_host = changed(GET_OBJECT, authorization=authorization(SIGNED[5:], "0" * 64))
    assert refused(unsigned_host).fields["HeadersNotSigned"] == "host"


@pytest.mark.parametrize(
    ("value", "code"),
    [
        (None, "InvalidRequest"),
        ("", "InvalidArgument"),
        (EMPTY[1:], "InvalidArgument"),
        (EMPTY[1:] + "g", "InvalidArgument"),
        ("STREAMING-AWS4-HMAC-SHA256", "InvalidArgument"),
        ("STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD", "NotImplemented"),
        ("STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD-TRAILER", "NotImplemented"),
    ],
)
def test_verify__what_the_header_says_of_the_payload(value: str | None, code: str) -> None:
    assert refused(changed(GET_OBJECT, x_amz_content_sha256=value)).reason == code


def test_verify__tokens_of_sessions_that_nobody_opened() -> None:
    signed = SIGNED + ";x-amz-security-token"
    header = changed(
        GET_OBJECT,
        x_amz_security_token="t",
        authorization=authorization(signed, "0" * 64),
    )
    assert refused(header).reason == "InvalidToken"
    assert refused(query(**{"Security-Token": "t"})).reason == "InvalidToken"


@pytest.mark.parametrize(
    "name", ["Algorithm", "Credential", "Date", "Expires", "SignedHeaders", "Signature"]
)
@pytest.mark.parametrize("value", [None, "", "%ff"])
def test_verify__a_presigned_query_has_all_parameters(name: str, value: str | None) -> None:
    assert refused(query(**{name: value})).reason == "AuthorizationQueryParametersError"


@pytest.mark.parametrize(
    ("name", "value", "what"),
    [
        ("Algorithm", "AWS4-HMAC-SHA1", "only supports"),
        ("Credential", "a/b", "mal-formed"),
        ("Credential", f"{KEY_ID}/20130524/us-east-1/sns/aws4_request", "service 'sns'"),
        ("Credential", f"{KEY_ID}/20130524/us-east-1/s3/aws5_request", "terminal"),
        ("Credential", f"{KEY_ID}/32234Z34/us-east-1/s3/aws4_request", "date format"),
        ("Credential", f"{KEY_ID}/20130523/us-east-1/s3/aws4_request", "is not the same"),
        ("Date", "Fri, 24 May 2013 00:00:00 GMT", "ISO8601"),
        ("Date", "20130524T240000Z", "ISO8601"),
        ("Expires", "soon", "should be a number"),
        ("Expires", "1.5", "should be a number"),
        ("SignedHeaders", "host%0aa", "mal-formed"),
    ],
)
def test_verify__a_malformed_presigned_query(name: str, value: str, what: str) -> None:
    found = refused(query(**{name: value}))
    assert found.reason == "AuthorizationQueryParametersError" and what in str(found)


def test_verify__parameters_of_the_signature_come_once() -> None:
    for more in ("X-Amz-Signature=0", "X-Amz-Signatur%65=0", "X-Amz-Expires=1"):
        for text in (f"{PRESIGNED_QUERY}&{more}", f"{more}&{PRESIGNED_QUERY}"):
            found = refused(replace(PRESIGNED, query=text))
            assert found.reason == "AuthorizationQueryParametersError"
            assert "more than once" in str(found)


@pytest.mark.parametrize("expires", ["0", "-7", str(WEEK_SECONDS + 1), "999999999999999999"])
def test_verify__an_expiry_that_is_out_of_range(expires: str) -> None:
    assert refused(query(Expires=expires)).reason == "AccessDenied"


def test_verify__a_presigned_query_for_its_time() -> None:
    def at(seconds: int) -> Verified:
        return verified(PRESIGNED, NOW_NS + seconds * SECOND_NS)

    assert at(-900).key_id == at(0).key_id == at(86400).key_id == KEY_ID
    early = refused(PRESIGNED, NOW_NS - 901 * SECOND_NS)
    assert (early.reason, str(early)) == ("AccessDenied", "Request is not valid yet")
    late = refused(PRESIGNED, NOW_NS + 86400 * SECOND_NS + 1)
    assert (late.reason, str(late)) == ("AccessDenied", "Request has expired")
    assert late.fields["Expires"] == "2013-05-25T00:00:00Z"
    assert late.fields["X-Amz-Expires"] == "86400"


def test_verify__a_presigned_query_may_name_the_payload() -> None:
    """Once it does so, the signature covers it: these are right but for the signature."""
    hashed = query(**{"Content-Sha256": EMPTY})
    assert refused(hashed).fields["CanonicalRequest"].endswith("\n" + EMPTY)
    signed = query(SignedHeaders="host%3Bx-amz-content-sha256")
    found = refused(changed(signed, x_amz_content_sha256=EMPTY))
    assert found.fields["CanonicalRequest"].endswith("\n" + EMPTY)
    both = refused(changed(hashed, x_amz_content_sha256="UNSIGNED-PAYLOAD"))
    assert both.reason == "AuthorizationQueryParametersError"
    assert refused(query(**{"Content-Sha256": "x"})).reason == "InvalidArgument"
