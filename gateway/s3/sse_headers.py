"""The headers of server-side encryption: what a request asks for, and what its answer says.

SSE-C: a key of the customer's own, in the request, needed again for every read. SSE-S3: keys of the
cluster. SSE-KMS is not there. Codes and sentences: S3 API reference ("Protecting data with server-side
encryption"), Ceph's gateway and what ceph/s3-tests ask for; where those and the service differ on the
status of a wrong key (403 or 400), 400.
"""

from __future__ import annotations

import hmac
from base64 import b64decode, b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from hashlib import md5

from replicast.gateway.s3.arguments import invalid_argument
from replicast.gateway.s3.errors import S3Error
from replicast.gateway.s3.head import Head
from replicast.gateway.s3.sse_cipher import KEY_BYTES

METHOD = "x-amz-server-side-encryption"
CUSTOMER = METHOD + "-customer-"
COPY_SOURCE = "x-amz-copy-source-server-side-encryption-customer-"
KMS_HEADERS = (METHOD + "-aws-kms-key-id", METHOD + "-context")
BUCKET_KEY = METHOD + "-bucket-key-enabled"
AES256 = "AES256"
KMS_METHODS = ("aws:kms", "aws:kms:dsse")
_WITH_KEY = "Requests specifying Server Side Encryption with Customer provided keys must "


@dataclass(frozen=True, slots=True)
class CustomerKey:
    """`md5`: of the key, in base64, as the client sent it."""

    key: bytes = field(repr=False)
    md5: str

    @property
    def headers(self) -> dict[str, str]:
        """By which an answer says what was used."""
        return {CUSTOMER + "algorithm": AES256, CUSTOMER + "key-md5": self.md5}


@dataclass(frozen=True, slots=True)
class Wanted:
    """How to keep what a request writes: `customer`'s key, or the cluster's, or as it is."""

    customer: CustomerKey | None = None
    server: bool = False

    @property
    def sealed(self) -> bool:
        """At all."""
        return self.server or self.customer is not None

    @property
    def headers(self) -> dict[str, str]:
        """Of the answer."""
        return answered(self.customer, server=self.server)


def with_hoisted(head: Head, parameters: Mapping[str, str]) -> Head:
    """The head with what stands in the query in place of headers: some signers of URLs move them there,
    and what asks for encryption must not be passed over."""
    hoisted = {
        name.lower(): value
        for name, value in parameters.items()
        if name.lower().startswith((METHOD, COPY_SOURCE))
    }
    return replace(head, headers={**hoisted, **head.headers}) if hoisted else head


def answered(customer: CustomerKey | None, *, server: bool) -> dict[str, str]:
    """The headers of an answer about something that is kept so."""
    if customer is not None:
        return customer.headers
    return {METHOD: AES256} if server else {}


def wanted(head: Head, *, private: bool) -> Wanted:
    """Of PutObject, CopyObject and CreateMultipartUpload. Raises InvalidArgument, InvalidRequest,
    InvalidEncryptionAlgorithmError, NotImplemented.

    `private`: nobody between here and the client can read along.
    """
    method = head.header(METHOD)
    customer = customer_key(head, private=private)
    if method is None:
        _check_no_kms(head, None)
        return Wanted(customer)
    if customer is not None:
        raise invalid_argument(
            METHOD,
            method,
            "Server Side Encryption with Customer provided key is incompatible with the "
            "encryption method specified",
        )
    if method in KMS_METHODS:
        raise S3Error(
            "NotImplemented",
            "Server-side encryption with keys of a key management service is not implemented: "
            "use AES256, or a key of your own.",
            Header=METHOD,
        )
    if method != AES256:
        raise invalid_argument(METHOD, method, "The encryption method specified is not supported")
    _check_no_kms(head, method)
    return Wanted(server=True)


def customer_of_other_request(head: Head, *, private: bool) -> CustomerKey | None:
    """Of requests that choose no method: reads, parts, completions. As customer_key()."""
    method = head.header(METHOD)
    if method is not None:
        raise invalid_argument(
            METHOD, method, f"{METHOD} header is not supported for this operation."
        )
    _check_no_kms(head, None)
    return customer_key(head, private=private)


def customer_key(head: Head, prefix: str = CUSTOMER, *, private: bool) -> CustomerKey | None:
    """The key in a request, None without one; `prefix`: or COPY_SOURCE. Raises InvalidArgument,
    InvalidRequest, InvalidEncryptionAlgorithmError."""
    algorithm, key, digest = (
        head.header(prefix + name) for name in ("algorithm", "key", "key-md5")
    )
    if algorithm is key is digest is None:
        return None
    if algorithm is None:
        raise _invalid(prefix, _WITH_KEY + "provide a valid encryption algorithm.")
    if algorithm != AES256:
        raise S3Error(
            "InvalidEncryptionAlgorithmError",
            "The encryption request that you specified is not valid. The valid value is AES256.",
            ArgumentName=prefix + "algorithm",
            ArgumentValue=algorithm[:64],
        )
    if not private:
        raise S3Error("InvalidRequest", _WITH_KEY + "be made over a secure connection.")
    raw = _decoded(key)
    if not raw:
        raise _invalid(prefix, _WITH_KEY + "provide an appropriate secret key.")
    if digest is None:
        raise _invalid(prefix, _WITH_KEY + "provide the client calculated MD5 of the secret key.")
    expected = b64encode(md5(raw, usedforsecurity=False).digest())
    if not hmac.compare_digest(expected, digest.encode(errors="replace")):
        raise _invalid(
            prefix, "The calculated MD5 hash of the key did not match the hash that was provided."
        )
    if len(raw) != KEY_BYTES:
        raise _invalid(prefix, "The secret key was invalid for the specified algorithm.")
    return CustomerKey(raw, digest)


def key_is_missing() -> S3Error:
    """Of a read of what is under a customer's key."""
    return S3Error(
        "InvalidRequest",
        "The object was stored using a form of Server Side Encryption. The correct parameters "
        "must be provided to retrieve the object.",
    )


def key_is_not_applicable() -> S3Error:
    """Of a read with a customer's key, of what is under none."""
    return S3Error("InvalidRequest", "The encryption parameters are not applicable to this object.")


def key_of_upload_is_missing() -> S3Error:
    """Of a part without the key that its upload is under."""
    return S3Error(
        "InvalidRequest",
        "The multipart upload initiate requested encryption. Subsequent part requests must "
        "include the appropriate encryption parameters.",
    )


def key_of_upload_is_not_applicable() -> S3Error:
    """Of a part with a key, of an upload under none."""
    return S3Error(
        "InvalidRequest",
        "The multipart upload initiate did not request encryption. Please resend the request "
        "without sending encryption parameters.",
    )


def key_is_another() -> S3Error:
    """A customer's key that does not open the thing."""
    return S3Error(
        "InvalidRequest",
        "The provided encryption parameters did not match the ones used originally.",
    )


def _check_no_kms(head: Head, method: str | None) -> None:
    for name in KMS_HEADERS:
        value = head.header(name)
        if value is not None:
            raise invalid_argument(
                name,
                value,
                "Server Side Encryption with AWS KMS managed key requires HTTP header "
                f"{METHOD} : aws:kms",
            )
    if (head.header(BUCKET_KEY) or "false").lower() != "false":
        raise invalid_argument(BUCKET_KEY, head.header(BUCKET_KEY) or "", "Needs aws:kms.")


def _decoded(text: str | None) -> bytes:
    try:
        return b64decode((text or "").encode(errors="replace"), validate=True)
    except ValueError:
        return b""


def _invalid(prefix: str, message: str) -> S3Error:
    # The value is left out: it may be a key.
    return S3Error("InvalidArgument", message, ArgumentName=prefix.removesuffix("-customer-"))
