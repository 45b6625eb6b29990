"""Answers against the order of elements of the S3 reference, and as botocore reads them."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import botocore.session
import pytest
from botocore.parsers import create_parser

from replicast.gateway.s3 import answers, listings, uploads
from replicast.gateway.s3.answers import Checksums, Owner
from replicast.gateway.s3.errors import CODES, S3Error
from replicast.gateway.s3.paging import (
    PartsPage,
    Scope,
    list_page,
    list_page_v2,
    uploads_page,
    versions_page,
)
from replicast.gateway.s3.xml_writer import NAMESPACE, escaped, text

MODEL = botocore.session.get_session().get_service_model("s3")
ME = Owner("id-1", "Name & Co")
AT_NS = 784111777_987_654_321
URL = {"encoding-type": "url"}


def parsed(operation: str, body: bytes) -> dict:
    """As boto3 would give it, without the metadata of the answer."""
    shape = MODEL.operation_model(operation).output_shape
    found = create_parser("rest-xml").parse(
        {"status_code": 200, "headers": {}, "body": body}, shape
    )
    found.pop("ResponseMetadata")
    return found


def outline(body: bytes) -> str:
    """Names of elements in order, without namespaces: a(b c(d))."""

    def of(element: ElementTree.Element) -> str:
        name = element.tag.removeprefix("{" + NAMESPACE + "}")
        inner = " ".join(of(child) for child in element)
        return f"{name}({inner})" if inner else name

    return of(ElementTree.fromstring(body))


def entry(key: str, **more) -> listings.ObjectEntry:
    return listings.ObjectEntry(key, AT_NS, "e" * 32, 5, **more)


def test_all_buckets__as_documented() -> None:
    buckets = [answers.BucketEntry("one", AT_NS), answers.BucketEntry("two", AT_NS, "here")]
    body = answers.all_buckets(ME, buckets, token="t", prefix="p")
    assert outline(body) == (
        "ListAllMyBucketsResult(Owner(ID DisplayName) Buckets(Bucket(Name CreationDate) "
        "Bucket(Name CreationDate BucketRegion)) ContinuationToken Prefix)"
    )
    found = parsed("ListBuckets", body)
    assert found["Owner"] == {"ID": "id-1", "DisplayName": "Name & Co"}
    assert [each["Name"] for each in found["Buckets"]] == ["one", "two"]
    assert found["Buckets"][0]["CreationDate"].isoformat() == "1994-11-06T08:49:37.987000+00:00"
    assert parsed("ListBuckets", answers.all_buckets(ME, []))["Buckets"] == []


def test_objects__v1() -> None:
    page = list_page("b", {"delimiter": "/", "marker": "a", "max-keys": "2"})
    found = listings.Listed([entry("k & k", owner=ME)], ["x/"], "x/")
    body = listings.objects(page, found)
    assert outline(body) == (
        "ListBucketResult(Name Prefix Marker NextMarker MaxKeys Delimiter IsTruncated "
        "Contents(Key LastModified ETag Size Owner(ID DisplayName) StorageClass) "
        "CommonPrefixes(Prefix))"
    )
    read = parsed("ListObjects", body)
    assert read["Contents"][0]["Key"] == "k & k"
    assert read["Contents"][0]["ETag"] == f'"{"e" * 32}"'
    assert (read["NextMarker"], read["MaxKeys"], read["IsTruncated"]) == ("x/", 2, True)
    assert read["CommonPrefixes"] == [{"Prefix": "x/"}]
    whole = parsed("ListObjects", listings.objects(list_page("b", {}), listings.Listed([], [])))
    assert whole == {
        "Name": "b",
        "Prefix": "",
        "Marker": "",
        "MaxKeys": 1000,
        "IsTruncated": False,
    }


def test_objects__v1_without_a_delimiter_has_no_next_marker() -> None:
    body = listings.objects(list_page("b", {}), listings.Listed([entry("k")], [], "k"))
    assert b"<IsTruncated>true" in body and b"NextMarker" not in body


def test_objects__encoding_type_url_as_s3_tests_has_it() -> None:
    given = {"delimiter": "/", "prefix": "a b", "marker": "ü", **URL}
    found = listings.Listed([entry("asdf+b")], ["foo+1/", "quux ab/"], "quux ab/")
    read = parsed("ListObjects", listings.objects(list_page("b", given), found))
    assert [each["Key"] for each in read["Contents"]] == ["asdf%2Bb"]
    assert [each["Prefix"] for each in read["CommonPrefixes"]] == ["foo%2B1/", "quux%20ab/"]
    assert (read["Delimiter"], read["Prefix"]) == ("/", "a b")
    assert (read["Marker"], read["NextMarker"]) == ("%C3%BC", "quux%20ab/")
    assert read["EncodingType"] == "url"


def test_objects_v2__as_documented() -> None:
    given = {"delimiter": "/", "start-after": "a", "continuation-token": "", **URL}
    page = list_page_v2("b", given)
    summed = entry("k", algorithms=("CRC32", "SHA256"), checksum_type="FULL_OBJECT")
    body = listings.objects_v2(page, listings.Listed([summed], ["x/"], "x/"))
    assert outline(body) == (
        "ListBucketResult(Name Prefix ContinuationToken NextContinuationToken StartAfter KeyCount "
        "MaxKeys Delimiter EncodingType IsTruncated "
        "Contents(Key LastModified ETag ChecksumAlgorithm ChecksumAlgorithm ChecksumType Size "
        "StorageClass) CommonPrefixes(Prefix))"
    )
    read = parsed("ListObjectsV2", body)
    assert (read["KeyCount"], read["StartAfter"], read["ContinuationToken"]) == (2, "a", "")
    assert read["Contents"][0]["ChecksumAlgorithm"] == ["CRC32", "SHA256"]
    following = {**given, "continuation-token": read["NextContinuationToken"]}
    assert list_page_v2("b", following).after.startswith("x/")
    last = parsed(
        "ListObjectsV2", listings.objects_v2(list_page_v2("b", {}), listings.Listed([], []))
    )
    assert set(last) == {"Name", "Prefix", "KeyCount", "MaxKeys", "IsTruncated"}


def test_versions__versions_and_markers_in_order() -> None:
    page = versions_page("b", {"key-marker": "a", "version-id-marker": "v0", **URL})
    found = listings.ListedVersions(
        [
            listings.MarkerEntry("k+", "v2", True, AT_NS, ME),
            listings.VersionEntry(entry("k+", owner=ME), "v1", False),
        ],
        ["x/"],
        "k+",
        "v1",
    )
    body = listings.versions(page, found)
    assert outline(body) == (
        "ListVersionsResult(Name Prefix KeyMarker VersionIdMarker NextKeyMarker "
        "NextVersionIdMarker MaxKeys EncodingType IsTruncated "
        "DeleteMarker(Key VersionId IsLatest LastModified Owner(ID DisplayName)) "
        "Version(Key VersionId IsLatest LastModified ETag Size Owner(ID DisplayName) StorageClass) "
        "CommonPrefixes(Prefix))"
    )
    read = parsed("ListObjectVersions", body)
    assert read["Versions"][0]["Key"] == "k%2B"
    assert read["DeleteMarkers"][0]["IsLatest"] is True
    assert (read["NextKeyMarker"], read["NextVersionIdMarker"]) == ("k%2B", "v1")


def test_uploads__listed() -> None:
    one = uploads.Upload("k", "u1", ME, ME, AT_NS, algorithm="CRC32", checksum_type="COMPOSITE")
    page = uploads_page("b", {"key-marker": "a", "upload-id-marker": "u0", "delimiter": "/"})
    body = uploads.uploads(page, uploads.ListedUploads([one], ["x/"], "k", "u1"))
    assert outline(body) == (
        "ListMultipartUploadsResult(Bucket KeyMarker UploadIdMarker NextKeyMarker "
        "NextUploadIdMarker Delimiter Prefix MaxUploads IsTruncated "
        "Upload(Key UploadId Initiator(ID DisplayName) Owner(ID DisplayName) StorageClass "
        "Initiated ChecksumAlgorithm ChecksumType) CommonPrefixes(Prefix))"
    )
    read = parsed("ListMultipartUploads", body)
    assert read["Uploads"][0]["Initiator"] == {"ID": "id-1", "DisplayName": "Name & Co"}
    assert (read["NextKeyMarker"], read["NextUploadIdMarker"]) == ("k", "u1")
    assert "Uploads" not in parsed(
        "ListMultipartUploads", uploads.uploads(page, uploads.ListedUploads([]))
    )


def test_uploads__parts() -> None:
    one = uploads.Upload("k", "u1", ME, ME, AT_NS, algorithm="SHA1", checksum_type="COMPOSITE")
    found = [uploads.Part(3, AT_NS, "e3", 7, Checksums({"ChecksumSHA1": "AA="}))]
    body = uploads.parts("b", one, PartsPage(2, 1), found, truncated=True)
    assert outline(body) == (
        "ListPartsResult(Bucket Key UploadId Initiator(ID DisplayName) Owner(ID DisplayName) "
        "StorageClass PartNumberMarker NextPartNumberMarker MaxParts IsTruncated "
        "ChecksumAlgorithm ChecksumType Part(PartNumber LastModified ETag Size ChecksumSHA1))"
    )
    read = parsed("ListParts", body)
    assert (read["PartNumberMarker"], read["NextPartNumberMarker"]) == (2, 3)
    assert read["Parts"][0]["ETag"] == '"e3"' and read["Parts"][0]["Size"] == 7
    assert b"<NextPartNumberMarker>0<" in uploads.parts(
        "b", one, PartsPage(0, 9), [], truncated=False
    )


def test_uploads__begun_and_completed() -> None:
    assert parsed("CreateMultipartUpload", uploads.initiated("b", "k<", "u")) == {
        "Bucket": "b",
        "Key": "k<",
        "UploadId": "u",
    }
    sums = Checksums({"ChecksumCRC64NVME": "AA="}, "FULL_OBJECT")
    body = uploads.completed("http://h/b/k", "b", "k", "e-2", sums)
    assert outline(body) == (
        "CompleteMultipartUploadResult(Location Bucket Key ETag ChecksumCRC64NVME ChecksumType)"
    )
    read = parsed("CompleteMultipartUpload", body)
    assert (read["ETag"], read["Location"]) == ('"e-2"', "http://h/b/k")


def test_copies__results() -> None:
    sums = Checksums({"ChecksumCRC32": "AA="}, "FULL_OBJECT")
    assert outline(answers.copied_object("e", AT_NS, sums)) == (
        "CopyObjectResult(LastModified ETag ChecksumCRC32 ChecksumType)"
    )
    assert outline(answers.copied_part("e", AT_NS, sums)) == (
        "CopyPartResult(LastModified ETag ChecksumCRC32)"
    )
    read = parsed("CopyObject", answers.copied_object("e", AT_NS))
    assert read["CopyObjectResult"]["ETag"] == '"e"'
    assert parsed("UploadPartCopy", answers.copied_part("e", AT_NS))["CopyPartResult"]


def test_deletes__results() -> None:
    results = [
        answers.Deleted("a"),
        answers.Deleted("b", marker="m"),
        answers.Deleted("c", version="m2", marker="m2"),
        answers.NotDeleted("d", "v", S3Error("AccessDenied")),
    ]
    read = parsed("DeleteObjects", answers.deletes(results))
    assert read["Deleted"] == [
        {"Key": "a"},
        {"Key": "b", "DeleteMarker": True, "DeleteMarkerVersionId": "m"},
        {"Key": "c", "VersionId": "m2", "DeleteMarker": True, "DeleteMarkerVersionId": "m2"},
    ]
    assert read["Errors"] == [
        {"Key": "d", "VersionId": "v", "Code": "AccessDenied", "Message": "Access Denied"}
    ]
    assert outline(answers.deletes(results, quiet=True)) == (
        "DeleteResult(Error(Key VersionId Code Message))"
    )


@pytest.mark.parametrize(("enabled", "status"), [(None, None), (True, "Enabled"), (False, "Suspended")])  # fmt: skip
def test_buckets__versioning_and_location(enabled: bool | None, status: str | None) -> None:
    assert parsed("GetBucketVersioning", answers.versioning(enabled)).get("Status") == status
    assert answers.location("eu-west-1").endswith(b">eu-west-1</LocationConstraint>")
    assert answers.location("us-east-1").endswith(b"></LocationConstraint>")


def test_attributes__what_was_asked() -> None:
    page = answers.AttributeParts(
        6, 3, 1, True, (answers.AttributePart(4, 5, Checksums({"ChecksumSHA256": "AA="})),)
    )
    sums = Checksums({"ChecksumSHA256": "BB="}, "COMPOSITE")
    body = answers.attributes(answers.Attributes("e-6", sums, page, "STANDARD", 30))
    assert outline(body) == (
        "GetObjectAttributesResponse(ETag Checksum(ChecksumSHA256 ChecksumType) "
        "ObjectParts(PartsCount PartNumberMarker NextPartNumberMarker MaxParts IsTruncated "
        "Part(PartNumber Size ChecksumSHA256)) StorageClass ObjectSize)"
    )
    read = parsed("GetObjectAttributes", body)
    assert (read["ETag"], read["ObjectSize"]) == ("e-6", 30)
    assert read["ObjectParts"]["TotalPartsCount"] == 6
    assert read["ObjectParts"]["Parts"][0]["ChecksumSHA256"] == "AA="
    assert outline(answers.attributes(answers.Attributes(size_bytes=0))) == (
        "GetObjectAttributesResponse(ObjectSize)"
    )
    bare = answers.Attributes("e", Checksums())
    assert outline(answers.attributes(bare)) == "GetObjectAttributesResponse(ETag)"


@pytest.mark.parametrize("name", sorted(CODES))
def test_error__every_code_as_botocore_reads_it(name: str) -> None:
    failed = S3Error(name, BucketName="a&b", ArgumentValue="\x00\x1b\ud800")
    body = answers.error(S3Error(name, BucketName="a&b"), "/b/k?x=<1>", "r-1", "h-1")
    assert outline(body) == "Error(Code Message BucketName Resource RequestId HostId)"
    shape = MODEL.operation_model("PutObject").output_shape
    answer = {"status_code": 400, "headers": {}, "body": body}
    read = create_parser("rest-xml").parse(answer, shape)
    assert read["Error"]["Code"] == name
    assert read["Error"]["Message"] == CODES[name].message
    assert read["Error"]["Resource"] == "/b/k?x=<1>"
    assert b"xmlns" not in answers.error(failed, "/", "r")


def test_escaped__what_xml_cannot_carry() -> None:
    assert escaped("a\x01\r\n\t\ufffe<\"&'>") == ("a&#x1;&#xd;\n\t&#xfffe;&lt;&quot;&amp;'&gt;")
    assert text("A", None) == "" and text("A", "") == "<A></A>"
    every = "".join(map(chr, range(0x20, 0xD800))) + "\r\n\t"
    assert ElementTree.fromstring(text("A", every)).text == every
    assert not re.search("[\x00-\x08\x0b-\x1f]", escaped("".join(map(chr, range(0x20)))))


def test_scope__is_what_it_says() -> None:
    assert (
        Scope("b", "p", "/", True) == list_page("b", {"prefix": "p", "delimiter": "/", **URL}).scope
    )


def test_error__can_be_read_whatever_was_sent() -> None:
    error = S3Error("InvalidArgument", "a\x00b", ArgumentValue="\ud800\x1f\uffff<\r\n&")
    root = ElementTree.fromstring(answers.error(error, "/b/\x0b", "1"))
    assert root.findtext("Message") == "a\ufffdb" and root.findtext("Resource") == "/b/\ufffd"
    assert root.findtext("ArgumentValue") == "\ufffd\ufffd\ufffd<\r\n&"
