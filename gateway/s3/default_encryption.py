"""Get-, Put- and DeleteBucketEncryption: how a bucket keeps what is put without a word of encryption.

AES256 (SSE-S3), or nothing set, and then objects are kept as they are.
"""

from __future__ import annotations

from replicast.flexhash.commands import BucketEncryption
from replicast.gateway.buckets import Buckets
from replicast.gateway.s3.access import Access
from replicast.gateway.s3.call import Answer, Call, xml
from replicast.gateway.s3.errors import S3Error
from replicast.gateway.s3.hash_executor import HashExecutor
from replicast.gateway.s3.small_body import small_body
from replicast.gateway.s3.sse_headers import AES256, KMS_METHODS
from replicast.gateway.s3.xml_reader import malformed, read
from replicast.gateway.s3.xml_writer import document, group, text

ROOT, BY_DEFAULT = "ServerSideEncryptionConfiguration", "ApplyServerSideEncryptionByDefault"


class DefaultEncryption:
    """The operations on it."""

    def __init__(self, buckets: Buckets, access: Access, threads: HashExecutor) -> None:
        self._buckets, self._access, self._threads = buckets, access, threads

    async def get(self, call: Call) -> Answer:
        """GetBucketEncryption."""
        record = await self._access.bucket(call.user, call.bucket)
        if record.encryption == BucketEncryption.NONE:
            raise S3Error("ServerSideEncryptionConfigurationNotFoundError", BucketName=call.bucket)
        return xml(written())

    async def put(self, call: Call) -> Answer:
        """PutBucketEncryption."""
        await self._access.bucket(call.user, call.bucket)
        check(await small_body(call, None, self._threads))
        await self._buckets.set_encryption(call.bucket, BucketEncryption.SERVER)
        return Answer(200)

    async def delete(self, call: Call) -> Answer:
        """DeleteBucketEncryption."""
        await self._access.bucket(call.user, call.bucket)
        await self._buckets.set_encryption(call.bucket, BucketEncryption.NONE)
        return Answer(204)


def written() -> bytes:
    """The only configuration that there is."""
    rule = group(
        "Rule",
        group(BY_DEFAULT, text("SSEAlgorithm", AES256)),
        text("BucketKeyEnabled", False),
    )
    return document(ROOT, rule)


def check(body: bytes) -> None:
    """That `body` asks for it. Raises MalformedXML, NotImplemented, InvalidArgument."""
    root = read(body, ROOT)
    root.only("Rule")
    rules = list(root.all("Rule"))
    if len(rules) != 1:
        raise malformed("There must be one Rule.")
    rules[0].only(BY_DEFAULT, "BucketKeyEnabled", "BlockedEncryptionTypes")
    if any(rules[0].all("BlockedEncryptionTypes")):
        raise S3Error("NotImplemented", "BlockedEncryptionTypes is not implemented.")
    key = (rules[0].text_of("BucketKeyEnabled") or "false").strip()
    defaults = list(rules[0].all(BY_DEFAULT))
    if len(defaults) != 1 or key not in ("true", "false"):
        raise malformed(f"There must be one {BY_DEFAULT}, and BucketKeyEnabled true or false.")
    defaults[0].only("SSEAlgorithm", "KMSMasterKeyID")
    method = (defaults[0].text_of("SSEAlgorithm") or "").strip()
    if method in KMS_METHODS:
        raise S3Error(
            "NotImplemented",
            "Server-side encryption with keys of a key management service is not implemented.",
        )
    if method != AES256:
        raise malformed(f"SSEAlgorithm must be {AES256}, aws:kms or aws:kms:dsse.")
    if defaults[0].text_of("KMSMasterKeyID") is not None:
        raise S3Error(
            "InvalidArgument", "a KMSMasterKeyID is not applicable if the default sse algorithm "
            "is not aws:kms"
        )  # fmt: skip
