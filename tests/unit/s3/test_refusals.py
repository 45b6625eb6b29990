"""Errors of the cluster as S3 says them, and headers that ask for what is not there yet."""

from __future__ import annotations

import pytest

from replicast import errors
from replicast.gateway.s3.errors import CODES, S3Error
from replicast.gateway.s3.head import Head
from replicast.gateway.s3.refusals import BY_CLASS, BY_REASON, s3_error
from replicast.gateway.s3.unsupported import check_write_headers


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.NotFound("x", reason="NO_SUCH_BUCKET"), "NoSuchBucket"),
        (errors.NotFound("x", reason="NO_SUCH_UPLOAD"), "NoSuchUpload"),
        (errors.ConditionFailed("x"), "PreconditionFailed"),
        (errors.Unavailable("t3 is down", reason="NO_VOTER"), "ServiceUnavailable"),
        (errors.Unavailable("x", reason="BUSY"), "SlowDown"),
        (errors.DataLost("x"), "InternalError"),
        (errors.ReplicastError("x"), "InternalError"),
    ],
)
def test_s3_error__has_a_code_and_tells_nothing_of_the_cluster(
    error: errors.ReplicastError, code: str
) -> None:
    said = s3_error(error)
    assert said.code.name == code and str(said) == CODES[code].message


def test_s3_error__of_its_own_is_left_as_it_is() -> None:
    error = S3Error("BadDigest", "so and so")
    assert s3_error(error) is error


def test_tables__name_codes_that_there_are() -> None:
    assert set(BY_REASON.values()) | {code for _, code in BY_CLASS} <= CODES.keys()


@pytest.mark.parametrize(
    "headers",
    [
        {"x-amz-acl": "public-read"},
        {"x-amz-tagging": "a=b"},
        {"x-amz-object-lock-mode": "GOVERNANCE"},
        {"x-amz-grant-read": "id=1"},
        {"x-amz-bucket-object-lock-enabled": "true"},
    ],
)
def test_write_headers__that_are_not_there_yet(headers: dict[str, str]) -> None:
    with pytest.raises(S3Error) as failed:
        check_write_headers(Head("PUT", "/b/k", "", headers))
    assert failed.value.code.name == "NotImplemented"


def test_write_headers__that_ask_for_nothing() -> None:
    headers = {"x-amz-acl": "private", "x-amz-storage-class": "STANDARD", "x-amz-meta-a": "1"}
    check_write_headers(Head("PUT", "/b/k", "", headers))
    with pytest.raises(S3Error):
        check_write_headers(Head("PUT", "/b/k", "", {"x-amz-storage-class": "GLACIER"}))
