"""Every operation that S3 knows, by what a request must look like; each declared once.

Source: Amazon S3 API reference and the service model of botocore; where it lists an old and a new
name for the same request, the new one.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Level(Enum):
    """What a path names; the values are what MethodNotAllowed calls it."""

    SERVICE = "SERVICE"
    BUCKET = "BUCKET"
    OBJECT = "OBJECT"


@dataclass(frozen=True, slots=True)
class Operation:
    """`subresource`: the query name that tells it from others, "" for none; `needs`: further query
    names (or name=value), headers where they begin with x-amz-; `ready`: it is served here."""

    name: str
    method: str
    level: Level
    subresource: str
    needs: tuple[str, ...]
    ready: bool


def _rows(
    ready: bool, *rows: tuple[str, str, Level, str, *tuple[str, ...]]
) -> tuple[Operation, ...]:
    return tuple(
        Operation(name, method, level, subresource, tuple(needs), ready)
        for name, method, level, subresource, *needs in rows
    )


SERVICE, BUCKET, OBJECT = Level.SERVICE, Level.BUCKET, Level.OBJECT

# Of rows that fit, the first is meant: those with more needs come first.
OPERATIONS = _rows(
    True,
    ("ListBuckets", "GET", SERVICE, ""),
    ("CreateBucket", "PUT", BUCKET, ""),
    ("DeleteBucket", "DELETE", BUCKET, ""),
    ("HeadBucket", "HEAD", BUCKET, ""),
    ("GetBucketLocation", "GET", BUCKET, "location"),
    ("GetBucketVersioning", "GET", BUCKET, "versioning"),
    ("PutBucketVersioning", "PUT", BUCKET, "versioning"),
    ("GetBucketEncryption", "GET", BUCKET, "encryption"),
    ("PutBucketEncryption", "PUT", BUCKET, "encryption"),
    ("DeleteBucketEncryption", "DELETE", BUCKET, "encryption"),
    ("ListObjectsV2", "GET", BUCKET, "", "list-type=2"),
    ("ListObjects", "GET", BUCKET, ""),
    ("ListObjectVersions", "GET", BUCKET, "versions"),
    ("ListMultipartUploads", "GET", BUCKET, "uploads"),
    ("DeleteObjects", "POST", BUCKET, "delete"),
    ("CreateMultipartUpload", "POST", OBJECT, "uploads"),
    ("UploadPartCopy", "PUT", OBJECT, "", "uploadId", "partNumber", "x-amz-copy-source"),
    ("UploadPart", "PUT", OBJECT, "", "uploadId", "partNumber"),
    ("ListParts", "GET", OBJECT, "", "uploadId"),
    ("CompleteMultipartUpload", "POST", OBJECT, "", "uploadId"),
    ("AbortMultipartUpload", "DELETE", OBJECT, "", "uploadId"),
    ("CopyObject", "PUT", OBJECT, "", "x-amz-copy-source"),
    ("PutObject", "PUT", OBJECT, ""),
    ("GetObject", "GET", OBJECT, ""),
    ("HeadObject", "HEAD", OBJECT, ""),
    ("DeleteObject", "DELETE", OBJECT, ""),
    ("GetObjectAttributes", "GET", OBJECT, "attributes"),
    ("GetBucketAccelerateConfiguration", "GET", BUCKET, "accelerate"),
    ("GetBucketAcl", "GET", BUCKET, "acl"),
    ("PutBucketAcl", "PUT", BUCKET, "acl"),
    ("GetBucketCors", "GET", BUCKET, "cors"),
    ("DeleteBucketCors", "DELETE", BUCKET, "cors"),
    ("GetBucketLifecycleConfiguration", "GET", BUCKET, "lifecycle"),
    ("DeleteBucketLifecycle", "DELETE", BUCKET, "lifecycle"),
    ("GetBucketLogging", "GET", BUCKET, "logging"),
    ("GetBucketNotificationConfiguration", "GET", BUCKET, "notification"),
    ("GetObjectLockConfiguration", "GET", BUCKET, "object-lock"),
    ("GetBucketOwnershipControls", "GET", BUCKET, "ownershipControls"),
    ("DeleteBucketOwnershipControls", "DELETE", BUCKET, "ownershipControls"),
    ("GetBucketPolicy", "GET", BUCKET, "policy"),
    ("DeleteBucketPolicy", "DELETE", BUCKET, "policy"),
    ("GetBucketPolicyStatus", "GET", BUCKET, "policyStatus"),
    ("GetPublicAccessBlock", "GET", BUCKET, "publicAccessBlock"),
    ("DeletePublicAccessBlock", "DELETE", BUCKET, "publicAccessBlock"),
    ("GetBucketReplication", "GET", BUCKET, "replication"),
    ("DeleteBucketReplication", "DELETE", BUCKET, "replication"),
    ("GetBucketRequestPayment", "GET", BUCKET, "requestPayment"),
    ("GetBucketTagging", "GET", BUCKET, "tagging"),
    ("DeleteBucketTagging", "DELETE", BUCKET, "tagging"),
    ("GetBucketWebsite", "GET", BUCKET, "website"),
    ("DeleteBucketWebsite", "DELETE", BUCKET, "website"),
    ("GetObjectAcl", "GET", OBJECT, "acl"),
    ("PutObjectAcl", "PUT", OBJECT, "acl"),
    ("GetObjectLegalHold", "GET", OBJECT, "legal-hold"),
    ("GetObjectRetention", "GET", OBJECT, "retention"),
    ("GetObjectTagging", "GET", OBJECT, "tagging"),
    ("DeleteObjectTagging", "DELETE", OBJECT, "tagging"),
) + _rows(
    False,
    ("PostObject", "POST", BUCKET, ""),
    ("PreflightBucket", "OPTIONS", BUCKET, ""),
    ("PreflightObject", "OPTIONS", OBJECT, ""),
    ("CreateSession", "GET", BUCKET, "session"),
    ("GetBucketAbac", "GET", BUCKET, "abac"),
    ("PutBucketAbac", "PUT", BUCKET, "abac"),
    ("PutBucketAccelerateConfiguration", "PUT", BUCKET, "accelerate"),
    ("GetBucketAnalyticsConfiguration", "GET", BUCKET, "analytics", "id"),
    ("ListBucketAnalyticsConfigurations", "GET", BUCKET, "analytics"),
    ("PutBucketAnalyticsConfiguration", "PUT", BUCKET, "analytics"),
    ("DeleteBucketAnalyticsConfiguration", "DELETE", BUCKET, "analytics"),
    ("PutBucketCors", "PUT", BUCKET, "cors"),
    ("GetBucketIntelligentTieringConfiguration", "GET", BUCKET, "intelligent-tiering", "id"),
    ("ListBucketIntelligentTieringConfigurations", "GET", BUCKET, "intelligent-tiering"),
    ("PutBucketIntelligentTieringConfiguration", "PUT", BUCKET, "intelligent-tiering"),
    ("DeleteBucketIntelligentTieringConfiguration", "DELETE", BUCKET, "intelligent-tiering"),
    ("GetBucketInventoryConfiguration", "GET", BUCKET, "inventory", "id"),
    ("ListBucketInventoryConfigurations", "GET", BUCKET, "inventory"),
    ("PutBucketInventoryConfiguration", "PUT", BUCKET, "inventory"),
    ("DeleteBucketInventoryConfiguration", "DELETE", BUCKET, "inventory"),
    ("PutBucketLifecycleConfiguration", "PUT", BUCKET, "lifecycle"),
    ("PutBucketLogging", "PUT", BUCKET, "logging"),
    ("UpdateBucketMetadataAnnotationTableConfiguration", "PUT", BUCKET, "metadataAnnotationTable"),
    ("GetBucketMetadataConfiguration", "GET", BUCKET, "metadataConfiguration"),
    ("CreateBucketMetadataConfiguration", "POST", BUCKET, "metadataConfiguration"),
    ("DeleteBucketMetadataConfiguration", "DELETE", BUCKET, "metadataConfiguration"),
    ("UpdateBucketMetadataInventoryTableConfiguration", "PUT", BUCKET, "metadataInventoryTable"),
    ("UpdateBucketMetadataJournalTableConfiguration", "PUT", BUCKET, "metadataJournalTable"),
    ("GetBucketMetadataTableConfiguration", "GET", BUCKET, "metadataTable"),
    ("CreateBucketMetadataTableConfiguration", "POST", BUCKET, "metadataTable"),
    ("DeleteBucketMetadataTableConfiguration", "DELETE", BUCKET, "metadataTable"),
    ("GetBucketMetricsConfiguration", "GET", BUCKET, "metrics", "id"),
    ("ListBucketMetricsConfigurations", "GET", BUCKET, "metrics"),
    ("PutBucketMetricsConfiguration", "PUT", BUCKET, "metrics"),
    ("DeleteBucketMetricsConfiguration", "DELETE", BUCKET, "metrics"),
    ("PutBucketNotificationConfiguration", "PUT", BUCKET, "notification"),
    ("PutObjectLockConfiguration", "PUT", BUCKET, "object-lock"),
    ("PutBucketOwnershipControls", "PUT", BUCKET, "ownershipControls"),
    ("PutBucketPolicy", "PUT", BUCKET, "policy"),
    ("PutPublicAccessBlock", "PUT", BUCKET, "publicAccessBlock"),
    ("PutBucketReplication", "PUT", BUCKET, "replication"),
    ("PutBucketRequestPayment", "PUT", BUCKET, "requestPayment"),
    ("PutBucketTagging", "PUT", BUCKET, "tagging"),
    ("PutBucketWebsite", "PUT", BUCKET, "website"),
    ("GetObjectAnnotation", "GET", OBJECT, "annotation", "annotationName"),
    ("ListObjectAnnotations", "GET", OBJECT, "annotation"),
    ("PutObjectAnnotation", "PUT", OBJECT, "annotation"),
    ("DeleteObjectAnnotation", "DELETE", OBJECT, "annotation"),
    ("UpdateObjectEncryption", "PUT", OBJECT, "encryption"),
    ("PutObjectLegalHold", "PUT", OBJECT, "legal-hold"),
    ("RenameObject", "PUT", OBJECT, "renameObject"),
    ("RestoreObject", "POST", OBJECT, "restore"),
    ("PutObjectRetention", "PUT", OBJECT, "retention"),
    ("SelectObjectContent", "POST", OBJECT, "select"),
    ("PutObjectTagging", "PUT", OBJECT, "tagging"),
    ("GetObjectTorrent", "GET", OBJECT, "torrent"),
)
