"""Answers parse, by two parsers that are not ours, to what was put in."""

from __future__ import annotations

from urllib.parse import unquote
from xml.etree import ElementTree

import botocore.session
from botocore.parsers import create_parser
from hypothesis import given
from hypothesis import strategies as st

from replicast.gateway.s3 import answers, listings, uploads
from replicast.gateway.s3.answers import Owner
from replicast.gateway.s3.errors import CODES, S3Error
from replicast.gateway.s3.paging import (  # fmt: skip
    ListPage,
    ListPageV2,
    PartsPage,
    Scope,
    UploadsPage,
    VersionsPage,
)
from replicast.gateway.s3.request_bodies import read_completed_parts, read_deletes
from replicast.gateway.s3.xml_writer import NAMESPACE

MODEL = botocore.session.get_session().get_service_model("s3")
# What XML 1.0 carries; with encoding-type=url names may be anything.
PLAIN = st.text(
    st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\ufffe\uffff") | st.sampled_from("\t\n\r"),
    max_size=20,
)  # fmt: skip
NAMES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)
TIMES_NS = st.integers(0, 4_000_000_000_000_000_000)
OWNERS = st.builds(Owner, PLAIN, PLAIN)
HEXES = st.text(st.sampled_from("0123456789abcdef-"), min_size=1, max_size=40)
ENTRIES = st.builds(
    listings.ObjectEntry,
    NAMES,
    TIMES_NS,
    HEXES,
    st.integers(0, 2**63),
    st.none() | OWNERS,
)
URL_SCOPES = st.builds(Scope, st.just("bucket"), NAMES, NAMES, st.just(True))


def parsed(operation: str, body: bytes) -> dict:
    shape = MODEL.operation_model(operation).output_shape
    answer = {"status_code": 200, "headers": {}, "body": body}
    return create_parser("rest-xml").parse(answer, shape)


def owner(given_owner: Owner) -> dict[str, str]:
    return {"ID": given_owner.id, "DisplayName": given_owner.name}


@given(URL_SCOPES, NAMES, st.lists(ENTRIES, max_size=4), st.lists(NAMES, max_size=3), st.booleans())
def test_listings__any_name_with_encoding_type_url(scope, marker, entries, prefixes, more) -> None:
    last = marker if more else ""
    found = listings.Listed(entries, prefixes, last)
    v1 = parsed("ListObjects", listings.objects(ListPage(scope, marker, 10), found))
    v2_page = ListPageV2(scope, None, marker, 10, True)
    v2 = parsed("ListObjectsV2", listings.objects_v2(v2_page, found))
    for read in (v1, v2):
        assert [unquote(each["Key"]) for each in read.get("Contents", [])] == [
            each.key for each in entries
        ]
        assert [each["Size"] for each in read.get("Contents", [])] == [
            each.size_bytes for each in entries
        ]
        assert [each.get("Owner") for each in read.get("Contents", [])] == [
            None if each.owner is None else owner(each.owner) for each in entries
        ]
        assert [unquote(each["Prefix"]) for each in read.get("CommonPrefixes", [])] == prefixes
        assert unquote(read["Prefix"]) == scope.prefix
        assert unquote(read["Delimiter"]) == scope.delimiter
        assert read["IsTruncated"] is more
    assert unquote(v1["Marker"]) == unquote(v2["StartAfter"]) == marker
    assert unquote(v1.get("NextMarker", "")) == last
    assert ("NextContinuationToken" in v2) is more
    assert v2["KeyCount"] == len(entries) + len(prefixes)


@given(URL_SCOPES, st.lists(st.tuples(ENTRIES, HEXES, st.booleans(), st.booleans(), OWNERS), max_size=5))  # fmt: skip
def test_versions__any_name_with_encoding_type_url(scope, drawn) -> None:
    entries = [
        listings.MarkerEntry(entry.key, version, latest, entry.modified_ns, of)
        if marker
        else listings.VersionEntry(entry, version, latest)
        for entry, version, latest, marker, of in drawn
    ]
    page = VersionsPage(scope, "", "", 10)
    read = parsed(
        "ListObjectVersions", listings.versions(page, listings.ListedVersions(entries, []))
    )
    versions = [each for each in entries if isinstance(each, listings.VersionEntry)]
    markers = [each for each in entries if isinstance(each, listings.MarkerEntry)]
    assert [(unquote(v["Key"]), v["VersionId"], v["IsLatest"]) for v in read.get("Versions", [])] == [
        (each.entry.key, each.version, each.latest) for each in versions
    ]  # fmt: skip
    assert [(unquote(m["Key"]), m["Owner"]) for m in read.get("DeleteMarkers", [])] == [
        (each.key, owner(each.owner)) for each in markers
    ]


UPLOADS = st.builds(uploads.Upload, PLAIN, HEXES, OWNERS, OWNERS, TIMES_NS)
PARTS = st.builds(uploads.Part, st.integers(1, 10_000), TIMES_NS, HEXES, st.integers(0, 2**40))


@given(st.lists(UPLOADS, max_size=4), st.lists(PARTS, max_size=4), UPLOADS)
def test_uploads__plain_names(listed, parts, one) -> None:
    page = UploadsPage(Scope("bucket"), "", "", 10)
    read = parsed("ListMultipartUploads", uploads.uploads(page, uploads.ListedUploads(listed)))
    assert [(u["Key"], u["UploadId"], u["Owner"], u["Initiator"]) for u in read.get("Uploads", [])] == [
        (each.key, each.id, owner(each.owner), owner(each.initiator)) for each in listed
    ]  # fmt: skip
    body = uploads.parts("bucket", one, PartsPage(0, 10), parts, truncated=False)
    read = parsed("ListParts", body)
    assert [(p["PartNumber"], p["ETag"], p["Size"]) for p in read.get("Parts", [])] == [
        (each.number, f'"{each.etag}"', each.size_bytes) for each in parts
    ]
    assert read["Key"] == one.key
    begun = parsed("CreateMultipartUpload", uploads.initiated("bucket", one.key, one.id))
    assert (begun["Key"], begun["UploadId"]) == (one.key, one.id)


@given(st.lists(st.tuples(PLAIN, st.none() | HEXES), max_size=5), st.booleans())
def test_deletes__plain_names(keys, quiet) -> None:
    results = [
        answers.Deleted(key) if version is None else answers.NotDeleted(key, version, S3Error("SlowDown"))
        for key, version in keys
    ]  # fmt: skip
    read = parsed("DeleteObjects", answers.deletes(results, quiet=quiet))
    deleted = [key for key, version in keys if version is None]
    assert [each["Key"] for each in read.get("Deleted", [])] == ([] if quiet else deleted)
    assert [(each["Key"], each["VersionId"]) for each in read.get("Errors", [])] == [
        (key, version) for key, version in keys if version is not None
    ]


@given(st.sampled_from(sorted(CODES)), PLAIN, PLAIN, st.text(max_size=20))
def test_error__any_text(code: str, message: str, resource: str, value: str) -> None:
    body = answers.error(S3Error(code, message), resource, "r")
    root = ElementTree.fromstring(body)
    assert root.findtext("Code") == code
    assert root.findtext("Message") == (message or CODES[code].message)
    assert root.findtext("Resource") == resource
    answers.error(S3Error(code, ArgumentValue=value), value, value).decode()


@given(st.lists(st.tuples(NAMES, st.none() | HEXES), min_size=1, max_size=5), st.booleans())
def test_read_deletes__what_another_writer_wrote(drawn, quiet) -> None:
    keys = [(k, v) for k, v in drawn if all(c in "\t\n" or " " <= c < "\ufffe" for c in k)]
    root = ElementTree.Element(f"{{{NAMESPACE}}}Delete")
    for key, version in keys:
        each = ElementTree.SubElement(root, f"{{{NAMESPACE}}}Object")
        ElementTree.SubElement(each, f"{{{NAMESPACE}}}Key").text = key
        if version is not None:
            ElementTree.SubElement(each, f"{{{NAMESPACE}}}VersionId").text = version
    ElementTree.SubElement(root, f"{{{NAMESPACE}}}Quiet").text = str(quiet).lower()
    if keys:
        found = read_deletes(ElementTree.tostring(root))
        assert [(each.key, each.version) for each in found.objects] == [
            (key, version or "") for key, version in keys
        ]
        assert found.quiet is quiet


@given(st.sets(st.integers(1, 10_000), min_size=1, max_size=20), HEXES)
def test_read_completed_parts__what_another_writer_wrote(numbers: set[int], etag: str) -> None:
    root = ElementTree.Element("CompleteMultipartUpload")
    for number in sorted(numbers):
        each = ElementTree.SubElement(root, "Part")
        ElementTree.SubElement(each, "ETag").text = f'"{etag}"'
        ElementTree.SubElement(each, "PartNumber").text = str(number)
    found = read_completed_parts(ElementTree.tostring(root))
    assert [(each.number, each.etag) for each in found] == [(n, etag) for n in sorted(numbers)]
