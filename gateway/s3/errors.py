"""The errors that S3 clients know: code, HTTP status and sentence, each declared once.

Source: Amazon S3 API reference, "Error responses"; where its list and what the service sends differ,
what ceph/s3-tests and the SDKs expect.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from replicast.errors import ReplicastError


@dataclass(frozen=True, slots=True)
class ErrorCode:
    """One row of the table."""

    name: str
    status: int
    message: str


def _table(*rows: tuple[str, int, str]) -> dict[str, ErrorCode]:
    return {name: ErrorCode(name, status, message) for name, status, message in rows}


CODES = _table(
    ("AccessDenied", 403, "Access Denied"),
    ("AuthorizationHeaderMalformed", 400, "The authorization header is malformed."),
    ("AuthorizationQueryParametersError", 400, "The query string authentication is malformed."),
    ("BadDigest", 400, "The digest that you specified did not match what was received."),
    ("BadRequest", 400, "An error occurred when parsing the HTTP request."),
    ("BucketAlreadyExists", 409, "The requested bucket name is not available."),
    ("BucketAlreadyOwnedByYou", 409, "The bucket exists, and you own it."),
    ("BucketNotEmpty", 409, "The bucket that you tried to delete is not empty."),
    ("ConditionalRequestConflict", 409, "A conflicting operation came in between; try again."),
    ("EntityTooLarge", 400, "The upload exceeds the maximum allowed object size."),
    ("EntityTooSmall", 400, "The upload is smaller than the minimum allowed part size."),
    ("ExpiredToken", 400, "The provided token has expired."),
    ("IllegalVersioningConfigurationException", 400, "The versioning configuration is invalid."),
    ("IncompleteBody", 400, "You did not provide the number of bytes that Content-Length said."),
    ("IncorrectNumberOfFilesInPostRequest", 400, "POST requires exactly one file upload."),
    ("InternalError", 500, "Something went wrong on our side; try again."),
    ("InvalidAccessKeyId", 403, "The access key id that you provided does not exist here."),
    ("InvalidArgument", 400, "Invalid argument."),
    ("InvalidBucketName", 400, "The specified bucket name is not valid."),
    ("InvalidBucketState", 409, "The request is not valid for the current state of the bucket."),
    ("InvalidChunkSizeError", 400, "Only the last chunk may have fewer than 8192 bytes."),
    ("InvalidDigest", 400, "The Content-MD5 or checksum value that you specified is not valid."),
    ("InvalidEncryptionAlgorithmError", 400, "The encryption algorithm is not valid."),
    ("InvalidLocationConstraint", 400, "The specified location constraint is not valid."),
    ("InvalidObjectState", 403, "The operation is not valid for the object's state."),
    ("InvalidPart", 400, "One or more of the specified parts could not be found."),
    ("InvalidPartOrder", 400, "The list of parts was not in ascending order."),
    ("InvalidRange", 416, "The requested range is not satisfiable."),
    ("InvalidRequest", 400, "Invalid request."),
    ("InvalidStorageClass", 400, "The storage class you specified is not valid."),
    ("InvalidTag", 400, "The tag provided was not a valid tag."),
    ("InvalidToken", 400, "The provided token is malformed or otherwise invalid."),
    ("InvalidURI", 400, "Couldn't parse the specified URI."),
    ("KeyTooLongError", 400, "Your key is too long."),
    ("MalformedACLError", 400, "The ACL that you provided is not well formed."),
    ("MalformedTrailerError", 400, "The request contained trailing data that was not well formed."),
    ("MalformedXML", 400, "The XML that you provided is not well formed or not as documented."),
    ("MaxMessageLengthExceeded", 400, "Your request was too large."),
    ("MetadataTooLarge", 400, "Your metadata headers exceed the maximum allowed metadata size."),
    ("MethodNotAllowed", 405, "The specified method is not allowed against this resource."),
    ("MissingContentLength", 411, "You must provide the Content-Length HTTP header."),
    ("MissingRequestBodyError", 400, "Request body is empty."),
    ("MissingSecurityHeader", 400, "Your request is missing a required header."),
    ("NoSuchBucket", 404, "The specified bucket does not exist."),
    ("NoSuchBucketPolicy", 404, "The bucket policy does not exist."),
    ("NoSuchCORSConfiguration", 404, "The CORS configuration does not exist."),
    ("NoSuchKey", 404, "The specified key does not exist."),
    ("NoSuchLifecycleConfiguration", 404, "The lifecycle configuration does not exist."),
    (
        "NoSuchPublicAccessBlockConfiguration",
        404,
        "The public access block configuration was not found.",
    ),
    ("NoSuchTagSet", 404, "There is no tag set associated with the bucket."),
    ("NoSuchUpload", 404, "The specified multipart upload does not exist."),
    ("NoSuchVersion", 404, "The specified version does not exist."),
    ("NoSuchWebsiteConfiguration", 404, "The bucket does not have a website configuration."),
    ("NotImplemented", 501, "What you asked for is not implemented."),
    ("NotModified", 304, "Not modified."),
    (
        "ObjectLockConfigurationNotFoundError",
        404,
        "Object Lock configuration does not exist for this bucket.",
    ),
    ("OperationAborted", 409, "A conflicting operation is in progress against this resource."),
    ("OwnershipControlsNotFoundError", 404, "The bucket ownership controls were not found."),
    (
        "PreconditionFailed",
        412,
        "At least one of the preconditions that you specified did not hold.",
    ),
    ("ReplicationConfigurationNotFoundError", 404, "The replication configuration was not found."),
    ("RequestHeaderSectionTooLarge", 400, "Your request's head exceeds the maximum allowed size."),
    ("RequestTimeTooSkewed", 403, "The request's time differs too much from the server's."),
    ("RequestTimeout", 400, "Your socket connection was neither read from nor written to in time."),
    (
        "ServerSideEncryptionConfigurationNotFoundError",
        404,
        "The server side encryption configuration was not found.",
    ),
    ("ServiceUnavailable", 503, "The service cannot answer now; try again."),
    ("SignatureDoesNotMatch", 403, "The signature that we calculated is not the one you provided."),
    ("SlowDown", 503, "Please reduce your request rate."),
    ("TooManyBuckets", 400, "You have more buckets than are allowed."),
    ("UnexpectedContent", 400, "This request does not support content."),
    ("UserKeyMustBeSpecified", 400, "The POST must contain a field with the name of the object."),
    ("XAmzContentChecksumMismatch", 400, "The checksum that you specified is not the content's."),
    ("XAmzContentSHA256Mismatch", 400, "The x-amz-content-sha256 header is not the body's hash."),
)


class S3Error(ReplicastError):
    """One of the table. `fields`: more elements of the answer's body, such as BucketName; `headers`:
    more headers of the answer."""

    def __init__(self, code: str, message: str = "", **fields: str) -> None:
        self.code = CODES[code]
        self.fields = fields
        self.headers: Mapping[str, str] = {}
        super().__init__(message or self.code.message, reason=code)

    def with_headers(self, headers: Mapping[str, str]) -> Self:
        """The error, with more headers for its answer."""
        self.headers = headers
        return self
