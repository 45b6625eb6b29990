"""XML of requests: what is read, what is refused, and that no bomb goes off."""

from __future__ import annotations

import pytest

from replicast.gateway.s3.conditions import DeleteCondition
from replicast.gateway.s3.errors import S3Error
from replicast.gateway.s3.request_bodies import (
    read_completed_parts,
    read_deletes,
    read_location_constraint,
    read_versioning,
)
from replicast.gateway.s3.xml_reader import LONG_BYTES_MAX, SHORT_BYTES_MAX, read

XMLNS = 'xmlns="http://s3.amazonaws.com/doc/2006-03-01/"'


def code(function, *arguments) -> str:
    with pytest.raises(S3Error) as caught:
        function(*arguments)
    return caught.value.code.name


@pytest.mark.parametrize(
    "text",
    [
        "<R><A> x </A></R>",
        f'<?xml version="1.0" encoding="UTF-8"?>\n<R {XMLNS}><A> x </A></R>\n',
        f"<s3:R {XMLNS.replace('xmlns', 'xmlns:s3')}><s3:A> x </s3:A></s3:R>",
        '\ufeff<R xmlns="urn:other"><!-- c --><A b="c"><![CDATA[ x ]]></A><?pi x?></R>',
        "<R><A>&#32;x&#x20;</A></R>",
    ],
)
def test_read__with_and_without_namespaces(text: str) -> None:
    root = read(text.encode(), "R")
    assert [(child.name, child.text) for child in root.children] == [("A", " x ")]


def test_read__a_declared_encoding_chooses_no_codec() -> None:
    assert read(b'<?xml version="1.0" encoding="utf-7"?><R>+ADw-</R>', "R").text == "+ADw-"
    assert read("<R>\u2713</R>".encode("utf-16"), "R").text == "\u2713"  # its mark says so


LAUGHS = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 10))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        "<R>",
        "<R></S>",
        "<S/>",
        "<R/><R/>",
        "<R><A></R></A>",
        "<p:R/>",
        "<R>&#1;</R>",
        "<R>&nbsp;</R>",
        "<R a='1' a='2'/>",
        "<!DOCTYPE R><R/>",
        f'<!DOCTYPE R [<!ENTITY l0 "ha">{LAUGHS}]><R>&l9;</R>',
        '<!DOCTYPE R [<!ENTITY x SYSTEM "file:///etc/passwd">]><R>&x;</R>',
        '<!DOCTYPE R SYSTEM "http://localhost/x.dtd"><R/>',
        '<!DOCTYPE R [<!ENTITY % p SYSTEM "file:///etc/passwd"> %p;]><R/>',
        "<R>" * 17 + "</R>" * 17,
        "<R>" * 30_000,
        '<?xml version="1.0" encoding="utf-7"?><R>+ADw-</S>',
        "<R>\xff</R>",
    ],
)
def test_read__refused(text: str) -> None:
    body = text.encode("latin-1")
    assert code(read, body, "R", LONG_BYTES_MAX) == "MalformedXML"


def test_read__bounds() -> None:
    assert code(read, b"<R/>" + b" " * SHORT_BYTES_MAX, "R") == "MaxMessageLengthExceeded"
    assert code(read, b"<R>" + b"<A/>" * 140_000 + b"</R>", "R", LONG_BYTES_MAX) == "MalformedXML"


def deletes(*objects: str, quiet: str = "") -> bytes:
    return f"<Delete {XMLNS}>{''.join(objects)}{quiet}</Delete>".encode()


def test_read_deletes__all_that_may_be_said() -> None:
    found = read_deletes(
        deletes(
            "<Object><Key> a &amp; b\n</Key></Object>",
            "<Object><VersionId>v1</VersionId><Key>k</Key><ETag>&quot;e&quot;</ETag>"
            "<LastModifiedTime>Sun, 06 Nov 1994 08:49:37 GMT</LastModifiedTime>"
            "<Size>3</Size></Object>",
            quiet="<Quiet>true</Quiet>",
        )
    )
    first, second = found.objects
    assert found.quiet
    assert (first.key, first.version, first.condition) == (" a & b\n", "", DeleteCondition())
    assert (second.key, second.version) == ("k", "v1")
    assert second.condition == DeleteCondition("e", 784111777 * 10**9, 3)
    assert read_deletes(deletes("<Object><Key>k</Key></Object>")).quiet is False


def test_read_deletes__a_thousand_of_the_longest() -> None:
    one = f"<Object><Key>{'✓' * 341}</Key><VersionId>{'v' * 42}</VersionId></Object>"
    assert len(read_deletes(deletes(*[one] * 1000)).objects) == 1000
    assert code(read_deletes, deletes(*["<Object><Key>k</Key></Object>"] * 1001)) == "MalformedXML"


@pytest.mark.parametrize(
    ("objects", "name"),
    [
        ("", "MalformedXML"),
        ("<Object/>", "MalformedXML"),
        ("<Object><Key/></Object>", "MalformedXML"),
        ("<Object><Key>a</Key><Key>b</Key></Object>", "MalformedXML"),
        ("<Object><Key>a</Key><Other/></Object>", "MalformedXML"),
        ("<Objects><Key>a</Key></Objects>", "MalformedXML"),
        ("<Object><Key>a</Key></Object><Quiet>perhaps</Quiet>", "MalformedXML"),
        ("<Object><Key>a</Key><Size>x</Size></Object>", "InvalidArgument"),
        (f"<Object><Key>{'a' * 1025}</Key></Object>", "KeyTooLongError"),
    ],
)
def test_read_deletes__refused(objects: str, name: str) -> None:
    assert code(read_deletes, deletes(objects)) == name


def parts(*numbers: object) -> bytes:
    each = (f"<Part><PartNumber>{n}</PartNumber><ETag>e{n}</ETag></Part>" for n in numbers)
    return f"<CompleteMultipartUpload>{''.join(each)}</CompleteMultipartUpload>".encode()


def test_read_completed_parts__etags_and_checksums() -> None:
    found = read_completed_parts(
        f"<CompleteMultipartUpload {XMLNS}><Part><ETag>&quot;e1&quot;</ETag>"
        "<ChecksumCRC32>AAAAAA==</ChecksumCRC32><PartNumber> 1 </PartNumber></Part>"
        "<Part><PartNumber>10000</PartNumber><ETag>e2</ETag></Part>"
        "</CompleteMultipartUpload>".encode()
    )
    assert [(p.number, p.etag, dict(p.checksums)) for p in found] == [
        (1, "e1", {"ChecksumCRC32": "AAAAAA=="}),
        (10_000, "e2", {}),
    ]
    assert len(read_completed_parts(parts(*range(1, 10_001)))) == 10_000
    twice = parts(1, 2).replace(b"<PartNumber>2", b"<PartNumber>1")
    assert [(p.number, p.etag) for p in read_completed_parts(twice)] == [(1, "e2")]


@pytest.mark.parametrize(
    ("body", "name"),
    [
        (b"", "MalformedXML"),
        (parts(), "MalformedXML"),
        (parts("x"), "MalformedXML"),
        (parts(""), "MalformedXML"),
        (parts(2, 1), "InvalidPartOrder"),
        (parts(0), "InvalidArgument"),
        (parts(-1), "InvalidArgument"),
        (parts(10_001), "InvalidArgument"),
        (parts("9" * 5000), "InvalidArgument"),
        (parts(1).replace(b"ETag", b"Etag"), "MalformedXML"),
        (parts(1).replace(b"PartNumber", b"ETag"), "MalformedXML"),
        (parts(1).replace(b"<Part>", b"<Part><ETag>x</ETag>"), "MalformedXML"),
        (parts(1).replace(b"Part>", b"Parts>"), "MalformedXML"),
        (b"<CompleteMultipartUpload>", "MalformedXML"),
    ],
)
def test_read_completed_parts__refused(body: bytes, name: str) -> None:
    assert code(read_completed_parts, body) == name


def test_read_location_constraint__forms() -> None:
    wrap = "<CreateBucketConfiguration>{}</CreateBucketConfiguration>".format
    assert read_location_constraint(b"") == ""
    assert read_location_constraint(b" \n") == ""
    assert read_location_constraint(wrap("").encode()) == ""
    constrained = wrap("<LocationConstraint>eu-west-1</LocationConstraint>").encode()
    assert read_location_constraint(constrained) == "eu-west-1"
    for name in ("Location", "Bucket", "Tags"):
        assert code(read_location_constraint, wrap(f"<{name}/>").encode()) == "NotImplemented"
    assert code(read_location_constraint, wrap("<X/>").encode()) == "MalformedXML"
    assert code(read_location_constraint, b"<Other/>") == "MalformedXML"


@pytest.mark.parametrize(
    ("content", "outcome"),
    [
        ("<Status>Enabled</Status>", True),
        ("<Status>Suspended</Status><MfaDelete>Disabled</MfaDelete>", False),
        ("", "IllegalVersioningConfigurationException"),
        ("<Status>enabled</Status>", "MalformedXML"),
        ("<Status>Disabled</Status>", "MalformedXML"),
        ("<Status>Enabled</Status><Status>Enabled</Status>", "MalformedXML"),
        ("<Status>Enabled</Status><MfaDelete>Enabled</MfaDelete>", "NotImplemented"),
        ("<Status>Enabled</Status><MfaDelete>x</MfaDelete>", "MalformedXML"),
    ],
)
def test_read_versioning__status(content: str, outcome: bool | str) -> None:
    body = f"<VersioningConfiguration {XMLNS}>{content}</VersioningConfiguration>".encode()
    if isinstance(outcome, str):
        assert code(read_versioning, body) == outcome
    else:
        assert read_versioning(body).enabled is outcome
