"""gateway/s3/default_encryption.py: configurations in and out."""

from __future__ import annotations

import pytest

from replicast.gateway.s3.default_encryption import check, written
from replicast.gateway.s3.errors import S3Error

RULE = (
    "<Rule><ApplyServerSideEncryptionByDefault><SSEAlgorithm>{}</SSEAlgorithm>{}"
    "</ApplyServerSideEncryptionByDefault>{}</Rule>"
)
PLAIN = RULE.format("AES256", "", "")


def configuration(rules: str) -> bytes:
    root = "ServerSideEncryptionConfiguration"
    return f'<{root} xmlns="http://s3.amazonaws.com/doc/2006-03-01/">{rules}</{root}>'.encode()


def test_check() -> None:
    check(configuration(PLAIN))
    check(configuration(RULE.format(" AES256\n", "", "<BucketKeyEnabled>true</BucketKeyEnabled>")))
    check(written())


@pytest.mark.parametrize(
    ("rules", "code"),
    [
        ("", "MalformedXML"),
        (PLAIN * 2, "MalformedXML"),
        ("<Rule/>", "MalformedXML"),
        ("<Other/>", "MalformedXML"),
        (RULE.format("", "", ""), "MalformedXML"),
        (RULE.format("AES128", "", ""), "MalformedXML"),
        (RULE.format("AES256", "", "<BucketKeyEnabled>1</BucketKeyEnabled>"), "MalformedXML"),
        (RULE.format("AES256", "<X/>", ""), "MalformedXML"),
        (RULE.format("aws:kms", "<KMSMasterKeyID>k</KMSMasterKeyID>", ""), "NotImplemented"),
        (RULE.format("aws:kms:dsse", "", ""), "NotImplemented"),
        (RULE.format("AES256", "", "<BlockedEncryptionTypes/>"), "NotImplemented"),
        (RULE.format("AES256", "<KMSMasterKeyID>k</KMSMasterKeyID>", ""), "InvalidArgument"),
    ],
)
def test_check__what_is_not_there(rules: str, code: str) -> None:
    with pytest.raises(S3Error) as refused:
        check(configuration(rules))
    assert refused.value.code.name == code
