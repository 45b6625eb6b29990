"""gateway/s3/sse_headers.py and channel.py: what requests may ask for, and the exact refusals."""

from __future__ import annotations

from base64 import b64encode
from hashlib import md5

import pytest

from replicast.gateway.s3.channel import is_private
from replicast.gateway.s3.errors import S3Error
from replicast.gateway.s3.head import Head
from replicast.gateway.s3.sse_headers import (
    COPY_SOURCE,
    CustomerKey,
    Wanted,
    customer_key,
    customer_of_other_request,
    wanted,
    with_hoisted,
)

S = "x-amz-server-side-encryption"
KEY = bytes(range(32))
TEXT = b64encode(KEY).decode()
DIGEST = b64encode(md5(KEY).digest()).decode()
SHORT = bytes(24)
NAMES = ("algorithm", "key", "key-md5")


def head(**headers: str) -> Head:
    return Head("PUT", "/b/k", "", headers)


def keyed(*values: str | None, prefix: str = S + "-customer-", **more: str) -> Head:
    given = dict(zip(NAMES, values, strict=True))
    found = {prefix + name: value for name, value in given.items() if value is not None}
    return head(**found, **more)


def refused(asked: Head, *, private: bool = True) -> tuple[str, int, str]:
    with pytest.raises(S3Error) as error:
        wanted(asked, private=private)
    assert TEXT not in repr(error.value.fields)
    return error.value.code.name, error.value.code.status, str(error.value)


def test_wanted() -> None:
    assert wanted(head(), private=False) == Wanted()
    assert wanted(head(**{S: "AES256"}), private=False) == Wanted(server=True)
    key = CustomerKey(KEY, DIGEST)
    assert wanted(keyed("AES256", TEXT, DIGEST), private=True) == Wanted(key)
    assert "\\x01" not in repr(key) and TEXT not in repr(Wanted(key))
    asked = keyed("AES256", TEXT, DIGEST, prefix=COPY_SOURCE)
    assert customer_key(asked, COPY_SOURCE, private=True) == key
    assert customer_key(asked, private=True) is None


@pytest.mark.parametrize(
    ("values", "code", "sentence"),
    [
        ((None, TEXT, DIGEST), "InvalidArgument", "valid encryption algorithm"),
        (("AES192", TEXT, DIGEST), "InvalidEncryptionAlgorithmError", "valid value is AES256"),
        (("", TEXT, DIGEST), "InvalidEncryptionAlgorithmError", "valid value is AES256"),
        (("AES256", None, None), "InvalidArgument", "appropriate secret key"),
        (("AES256", "", DIGEST), "InvalidArgument", "appropriate secret key"),
        (("AES256", "no base64!", DIGEST), "InvalidArgument", "appropriate secret key"),
        (("AES256", "\xff", DIGEST), "InvalidArgument", "appropriate secret key"),
        (("AES256", TEXT, None), "InvalidArgument", "calculated MD5 of the secret key"),
        (("AES256", TEXT, "A" * 22 + "=="), "InvalidArgument", "did not match the hash"),
        (("AES256", TEXT, "\xff"), "InvalidArgument", "did not match the hash"),
        (
            ("AES256", b64encode(SHORT).decode(), b64encode(md5(SHORT).digest()).decode()),
            "InvalidArgument",
            "invalid for the specified algorithm",
        ),
    ],
)
def test_customer_key__wrong(values: tuple[str | None, ...], code: str, sentence: str) -> None:
    found = refused(keyed(*values))
    assert found[:2] == (code, 400) and sentence in found[2]


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({S: "aws:kms"}, ("NotImplemented", 501)),
        ({S: "aws:kms:dsse"}, ("NotImplemented", 501)),
        ({S: "aws:kms", S + "-aws-kms-key-id": "k"}, ("NotImplemented", 501)),
        ({S: "AES256", S + "-aws-kms-key-id": "k"}, ("InvalidArgument", 400)),
        ({S + "-aws-kms-key-id": "k"}, ("InvalidArgument", 400)),
        ({S + "-context": "e30="}, ("InvalidArgument", 400)),
        ({S + "-bucket-key-enabled": "true"}, ("InvalidArgument", 400)),
        ({S: "aes:kms"}, ("InvalidArgument", 400)),
        ({S: ""}, ("InvalidArgument", 400)),
        ({S: "aes256"}, ("InvalidArgument", 400)),
    ],
)
def test_wanted__what_is_not_there(headers: dict[str, str], code: tuple[str, int]) -> None:
    assert refused(head(**headers))[:2] == code


@pytest.mark.parametrize("method", ["AES256", "aws:kms"])
def test_wanted__two_methods(method: str) -> None:
    asked = keyed("AES256", TEXT, DIGEST, **{S: method})
    assert refused(asked)[:2] == ("InvalidArgument", 400)


def test_other_requests__choose_no_method() -> None:
    for method in ("AES256", "aws:kms"):
        with pytest.raises(S3Error, match="not supported for this operation"):
            customer_of_other_request(head(**{S: method}), private=True)
    assert customer_of_other_request(keyed("AES256", TEXT, DIGEST), private=True) is not None


def test_with_hoisted__what_a_signer_moved_to_the_query() -> None:
    moved = with_hoisted(head(), {"X-Amz-Server-Side-Encryption": "AES256", "x-id": "PutObject"})
    assert wanted(moved, private=False) == Wanted(server=True)
    assert moved.header("x-id") is None
    both = with_hoisted(head(**{S: "AES256"}), {S: "aws:kms"})
    assert wanted(both, private=False) == Wanted(server=True)
    assert with_hoisted(head(a="b"), {"c": "d"}) == head(a="b")


def test_customer_key__needs_a_private_channel() -> None:
    code, status, sentence = refused(keyed("AES256", TEXT, DIGEST), private=False)
    assert (code, status) == ("InvalidRequest", 400) and "secure connection" in sentence


@pytest.mark.parametrize(
    ("url", "peer", "over_http", "private"),
    [
        ("http://h/b", "127.0.0.1", "loopback", True),
        ("http://h/b", "::1", "loopback", True),
        ("http://h/b", "::ffff:127.0.0.9", "loopback", True),
        ("http://h/b", "10.0.0.1", "loopback", False),
        ("http://h/b", "", "loopback", False),
        ("http://h/b", "fe80::1%eth0", "loopback", False),
        ("http://https:/b", "10.0.0.1", "loopback", False),
        ("http://h/b", "127.0.0.1", "never", False),
        ("http://h/b", "10.0.0.1", "always", True),
        ("https://h/b", "10.0.0.1", "never", True),
    ],
)
def test_is_private(url: str, peer: str, over_http: str, private: bool) -> None:
    assert is_private(url, peer, over_http) is private
