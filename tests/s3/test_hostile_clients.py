"""What is no proper request: the exact error, nothing stored, nothing left of it in the gateway."""

from __future__ import annotations

import base64
import hashlib
import random
import socket
from collections.abc import Iterator

import pytest

from .wire import Gateway, Raw

KIB, MIB = 1 << 10, 1 << 20
TRAILERS = "STREAMING-UNSIGNED-PAYLOAD-TRAILER"


@pytest.fixture
def place(gateway: Gateway, request: pytest.FixtureRequest) -> Iterator[str]:
    """A bucket of the test's own, in which nothing is at the end."""
    bucket = f"/b{random.Random(request.node.name).getrandbits(64):016x}"
    assert gateway.ask("PUT", bucket).status == 200
    yield bucket
    assert gateway.ask("DELETE", bucket).status == 204


def half_closed(raw: Raw) -> None:
    raw.socket.shutdown(socket.SHUT_WR)


# -- lengths ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({}, "MissingContentLength"),
        ({"content-length": str(6 << 30)}, "EntityTooLarge"),
        ({"content-length": "9" * 18}, "EntityTooLarge"),
        ({"content-length": "9" * 30}, "BadRequest"),
        ({"content-length": "-1"}, "BadRequest"),
        ({"content-length": "+5"}, "BadRequest"),
        ({"content-length": "0x5"}, "BadRequest"),
        ({"content-length": "5, 5"}, "BadRequest"),
        ({"content-length": "five"}, "BadRequest"),
        ({"content-length": ""}, "BadRequest"),
        ({"content-length": "5", "transfer-encoding": "chunked"}, "BadRequest"),
        ({"content-length": "5", "Content-length": "5"}, "BadRequest"),
        ({"content-length": "5", "Content-length": "6"}, "BadRequest"),
        ({"transfer-encoding": "gzip, chunked"}, "NotImplemented"),
        ({"transfer-encoding": "chunked, gzip"}, "BadRequest"),
        ({"transfer-encoding": "identity"}, "BadRequest"),
    ],
)
def test_length(gateway: Gateway, place: str, headers: dict[str, str], code: str) -> None:
    refused = gateway.metric("s3_requests", code=code)
    with gateway.connect() as raw:
        raw.send(gateway.head("PUT", f"{place}/k", unsigned=headers))
        assert raw.reply().code == code and raw.closed()
    gateway.wait_metric("s3_requests", refused + 1, code=code)  # counted once the answer has left


def test_length__too_long(gateway: Gateway, place: str) -> None:
    with gateway.connect() as raw:
        raw.send(gateway.head("PUT", f"{place}/k", unsigned={"content-length": "9"}) + b"abc")
        half_closed(raw)
        assert raw.reply().code == "IncompleteBody" and raw.closed()


def test_length__too_short(gateway: Gateway, place: str) -> None:
    """What is too much is taken for another request, which it is not; nothing is done at all."""
    sha256 = "88d4266fd4e6338d13b845fcf289579d209c897823b9217da3e161936f031589"  # of "abcd"
    head = gateway.head("PUT", f"{place}/k", payload=sha256, unsigned={"content-length": "3"})
    with gateway.connect() as raw:
        raw.send(head + b"abcd\r\n\r\n")
        assert raw.reply().code == "BadRequest" and raw.closed()


def test_two_requests_in_one__are_not_taken_apart_in_two_ways(gateway: Gateway, place: str) -> None:
    smuggled = gateway.head("PUT", f"{place}/smuggled", unsigned={"content-length": "0"})
    both = {"content-length": str(5 + len(smuggled)), "transfer-encoding": "chunked"}
    with gateway.connect() as raw:
        raw.send(gateway.head("PUT", f"{place}/k", unsigned=both) + b"0\r\n\r\n" + smuggled)
        assert raw.reply().code == "BadRequest" and raw.closed()


# -- heads --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        (b"GET / HTTP/1.1\nHost: x\n\n", "BadRequest"),
        (b"GET / HTTP/1.1\r\nHost: x\r\nA: b\nC: d\r\n\r\n", "BadRequest"),
        (b"GET / HTTP/1.1\r\nHost: x\r\nA: b\0c\r\n\r\n", "BadRequest"),
        (b"GET / HTTP/1.1\r\nHost: x\r\nA b: c\r\n\r\n", "BadRequest"),
        (b"GET / HTTP/1.1\r\nHost: x\r\nA : c\r\n\r\n", "BadRequest"),
        (b"GET / HTTP/1.1\r\nHost: x\r\n folded: c\r\n\r\n", "BadRequest"),
        (b"GET / HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n", "BadRequest"),
        (b"GET / HTTP/1.1\r\n\r\n", "BadRequest"),
        (b"GET /a\0b HTTP/1.1\r\nHost: x\r\n\r\n", "BadRequest"),
        (b"GET /a b HTTP/1.1\r\nHost: x\r\n\r\n", "BadRequest"),
        (b"GET / HTTP/7.7\r\nHost: x\r\n\r\n", "BadRequest"),
        (b"GET /bucket\r\n\r\n", "AccessDenied"),
        (b"BREW / HTTP/1.1\r\nHost: x\r\n\r\n", "BadRequest"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", "BadRequest"),
        (b"\0" * 100, "BadRequest"),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "BadRequest"),
        (b"PROPFIND / HTTP/1.1\r\nHost: x\r\n\r\n", "MethodNotAllowed"),
        (b"CONNECT x:1 HTTP/1.1\r\nHost: x\r\n\r\n", "InvalidURI"),
        (b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n", "InvalidURI"),
        (b"GET http://other/ HTTP/1.1\r\nHost: x\r\n\r\n", "InvalidURI"),
        (b"GET /bucket/k#fragment HTTP/1.1\r\nHost: x\r\n\r\n", "InvalidURI"),
        (b"GET /bucket/k?a#b HTTP/1.1\r\nHost: x\r\n\r\n", "InvalidURI"),
        (b"GET /bucket/%zz HTTP/1.1\r\nHost: x\r\n\r\n", "InvalidURI"),
        (b"GET /bucket/\xff\xfe HTTP/1.1\r\nHost: x\r\n\r\n", "BadRequest"),
        (b"GET /bucket/%ff%fe HTTP/1.1\r\nHost: x\r\n\r\n", "InvalidURI"),
        (b"GET /bucket/" + b"k" * 40 * KIB + b" HTTP/1.1\r\nHost: x\r\n\r\n", "RequestHeaderSectionTooLarge"),
        (b"GET / HTTP/1.1\r\nHost: x\r\nA: " + b"b" * 40 * KIB + b"\r\n\r\n", "RequestHeaderSectionTooLarge"),
        (b"GET / HTTP/1.1\r\nHost: x\r\n" + b"A: b\r\n" * 7000, "RequestHeaderSectionTooLarge"),
        (b"GET / HTTP/1.1\r\nHost: x\r\n" + b"A: b\r\n" * 300 + b"\r\n", "BadRequest"),
        (b"GET /bucket HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n", "AccessDenied"),
    ],
)  # fmt: skip
def test_head(gateway: Gateway, sent: bytes, code: str) -> None:
    refused = gateway.metric("s3_requests", code=code)
    with gateway.connect() as raw:
        raw.send(sent)
        assert raw.reply().code == code
    gateway.wait_metric("s3_requests", refused + 1, code=code)  # counted once the answer has left


def test_head__that_is_endless(gateway: Gateway) -> None:
    with gateway.connect() as raw:
        raw.send(b"GET / HTTP/1.1\r\nHost: x\r\n")
        with pytest.raises(ConnectionError):
            for number in range(1 << 20):
                raw.send(b"A-%d: %s\r\n" % (number, b"x" * 1000))


def test_http_1_0(gateway: Gateway) -> None:
    with gateway.connect() as raw:
        raw.send(gateway.head("GET", "/").replace(b"HTTP/1.1", b"HTTP/1.0", 1))
        assert raw.reply().status == 200 and raw.closed()


def test_absolute_form(gateway: Gateway) -> None:
    head = gateway.head("GET", "/")
    host = head.partition(b"Host: ")[2].partition(b"\r\n")[0]
    with gateway.connect() as raw:
        raw.send(head.replace(b"GET /", b"GET http://" + host + b"/", 1))
        assert raw.reply().status == 200


def test_pipelined(gateway: Gateway, place: str) -> None:
    wanted = ["/", f"{place}/none", place, "/none-such"]
    with gateway.connect() as raw:
        raw.send(b"".join(gateway.head("GET", target) for target in wanted))
        assert [raw.reply().status for _ in wanted] == [200, 404, 200, 404]


def test_pipelined__too_much(gateway: Gateway, place: str) -> None:
    """While an answer is not read, no more than so much of what comes behind is kept."""
    data = random.Random(5).randbytes(8 * MIB)
    assert gateway.ask("PUT", f"{place}/k", data).status == 200
    with gateway.connect(SO_RCVBUF=4096) as raw:
        raw.send(gateway.head("GET", f"{place}/k"))
        raw.send(*[gateway.head("GET", "/") for _ in range(1000)])
        assert raw.reply().body == data
        answered = 0
        with pytest.raises(ConnectionError):
            while True:
                answered += raw.reply().status == 200
        assert answered < 1000
    assert gateway.ask("DELETE", f"{place}/k").status == 204


# -- Expect -------------------------------------------------------------------------------


def test_expect(gateway: Gateway, place: str) -> None:
    expecting = {"content-length": "3", "expect": "100-continue"}
    with gateway.connect() as raw:
        raw.send(gateway.head("PUT", f"{place}/k", unsigned=expecting))
        assert raw.reply().status == 100
        assert raw.send(b"abc").reply().status == 200
        assert raw.send(gateway.head("GET", f"{place}/k")).reply().body == b"abc"
    assert gateway.ask("DELETE", f"{place}/k").status == 204


@pytest.mark.parametrize(
    ("spoilt", "code"),
    [
        (lambda head: head.replace(b"Signature=", b"Signature=0"), "SignatureDoesNotMatch"),
        (lambda head: head.replace(b"PUT /b", b"PUT /c"), "SignatureDoesNotMatch"),
        (lambda head: head.replace(b"-Length: 3".lower(), b"-length: 6000000000"), "EntityTooLarge"),
        (lambda head: head.replace(b"\r\n\r\n", b"\r\nContent-MD5: x\r\n\r\n"), "InvalidDigest"),
    ],
)  # fmt: skip
def test_expect__is_not_told_to_go_on(
    gateway: Gateway, place: str, spoilt: object, code: str
) -> None:
    expecting = {"content-length": "3", "expect": "100-continue"}
    head = gateway.head("PUT", f"{place}/k", unsigned=expecting)
    assert callable(spoilt)
    with gateway.connect() as raw:
        raw.send(spoilt(head))
        assert raw.reply().code == code and raw.closed()


def test_expect__before_nothing(gateway: Gateway, place: str) -> None:
    """botocore 1.35 keeps the status of a final answer in place of 100 Continue for the
    answers after it on the connection, reads their status lines as headers, and waits for ever."""
    expecting = {"content-length": "0", "expect": "100-continue"}
    with gateway.connect() as raw:
        raw.send(gateway.head("PUT", f"{place}/k", unsigned=expecting))
        assert raw.reply().status == 100 and raw.reply().status == 200
        raw.send(gateway.head("PUT", f"{place}-not-there/k", unsigned=expecting))
        assert raw.reply().code == "NoSuchBucket" and raw.closed()
    assert gateway.ask("DELETE", f"{place}/k").status == 204


def test_expect__something_else(gateway: Gateway, place: str) -> None:
    odd = {"content-length": "3", "expect": "200-miracle"}
    with gateway.connect() as raw:
        raw.send(gateway.head("PUT", f"{place}/k", unsigned=odd) + b"abc")
        assert raw.reply().status == 200
    assert gateway.ask("DELETE", f"{place}/k").status == 204


def test_refused__and_sends_all_the_same(gateway: Gateway, place: str) -> None:
    """Who writes all before he reads anything hears of it nevertheless."""
    head = gateway.head("PUT", f"{place}/k", unsigned={"content-length": str(8 * MIB)})
    with gateway.connect() as raw:
        raw.send(head.replace(b"Signature=", b"Signature=0"), bytes(8 * MIB))
        assert raw.reply().code == "SignatureDoesNotMatch" and raw.closed()


# -- going away ---------------------------------------------------------------------------


def chunked(gateway: Gateway, target: str, length: int, **unsigned: str) -> bytes:
    """The head of a put in chunks, with a trailer."""
    headers = {
        "x-amz-decoded-content-length": str(length),
        "content-encoding": "aws-chunked",
        "x-amz-trailer": "x-amz-checksum-crc32",
    }
    return gateway.head("PUT", target, headers, payload=TRAILERS, unsigned=unsigned)


CHUNK = b"10000\r\n" + random.Random(4).randbytes(1 << 16) + b"\r\n"
CUT = {
    "head": CHUNK[:0],
    "chunk header": CHUNK[:3],
    "chunk": CHUNK[:40_000],
    "chunk end": CHUNK[:-1],
    "last chunk": CHUNK + b"0\r\n",
    "trailer": CHUNK + b"0\r\nx-amz-checksum-crc32:AAA",
    "end": CHUNK + b"0\r\nx-amz-checksum-crc32:AAAAAA==\r\n",
}


@pytest.mark.parametrize("how", ["close", "reset", "end"])
@pytest.mark.parametrize("where", CUT)
def test_gone__while_it_sends(gateway: Gateway, place: str, where: str, how: str) -> None:
    raw = gateway.connect()
    raw.send(chunked(gateway, f"{place}/k", 1 << 16, **{"content-length": "70000"}) + CUT[where])
    if how == "reset":
        raw.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    elif how == "end":
        half_closed(raw)
        assert raw.reply().code == "IncompleteBody"
    raw.socket.close()
    gateway.settled()


def test_gone__within_a_head(gateway: Gateway, place: str) -> None:
    for cut in (1, 30, -1):
        gateway.connect().send(gateway.head("GET", place)[:cut]).socket.close()
    gateway.settled()


def test_gone__while_it_is_sent_to(gateway: Gateway, place: str) -> None:
    data = random.Random(6).randbytes(8 * MIB)
    assert gateway.ask("PUT", f"{place}/k", data).status == 200
    raw = gateway.connect(SO_RCVBUF=4096).send(gateway.head("GET", f"{place}/k"))
    assert raw.socket.recv(9) == b"HTTP/1.1 "
    raw.socket.close()
    gateway.settled()
    gateway.wait_metric("s3_requests", 1, operation="GetObject", code="gone")
    assert gateway.ask("DELETE", f"{place}/k").status == 204


@pytest.mark.parametrize("framing", [b"zz\r\n", b"5\r\nabc", b"ffffffffffffffffff\r\n", b"\r\n"])
def test_transfer_encoding__broken(gateway: Gateway, place: str, framing: bytes) -> None:
    expecting = {"transfer-encoding": "chunked", "expect": "100-continue"}
    with gateway.connect() as raw:
        raw.send(chunked(gateway, f"{place}/k", 3, **expecting))
        assert raw.reply().status == 100
        raw.send(framing)
        half_closed(raw)
        assert raw.reply().code == "IncompleteBody" and raw.closed()


def test_transfer_encoding__whole(gateway: Gateway, place: str) -> None:
    body = b"3\r\nabc\r\n0\r\nx-amz-checksum-crc32:NSRBwg==\r\n\r\n"
    head = chunked(gateway, f"{place}/k", 3, **{"transfer-encoding": "chunked"})
    with gateway.connect() as raw:
        raw.send(head + b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body))
        assert raw.reply().status == 200
    assert gateway.ask("GET", f"{place}/k").body == b"abc"
    assert gateway.ask("DELETE", f"{place}/k").status == 204


# -- bodies in XML ------------------------------------------------------------------------

BOMB = b"""<!DOCTYPE d [<!ENTITY a "%s"><!ENTITY b "&a;&a;&a;&a;"><!ENTITY c "&b;&b;&b;&b;">]>
<Delete><Object><Key>&c;</Key></Object></Delete>""" % (b"a" * 1000)


@pytest.mark.parametrize(
    "body",
    [
        BOMB,
        b"",
        b"<Delete>",
        b"<Delete><Object><Key>k</Key></Object></Delete><x/>",
        b"<Delete>" + b"<Object>" * 5000,
        b"\xff\xfe<Delete/>",
        b'<?xml version="1.0" encoding="utf-7"?><Delete/>',
        b"<Delete><Object><Key>\0</Key></Object></Delete>",
    ],
)  # fmt: skip
def test_xml(gateway: Gateway, place: str, body: bytes) -> None:
    md5 = base64.b64encode(hashlib.md5(body).digest()).decode()
    reply = gateway.ask("POST", f"{place}?delete=", body, **{"content-md5": md5})
    assert reply.code in ("MalformedXML", "MissingRequestBodyError")


def test_xml__too_long(gateway: Gateway, place: str) -> None:
    md5 = {"content-md5": "1B2M2Y8AsgTpgAmY7PhCfg=="}
    head = gateway.head("POST", f"{place}?delete=", md5, unsigned={"content-length": "3000000"})
    with gateway.connect() as raw:
        raw.send(head)
        assert raw.reply().code == "MaxMessageLengthExceeded" and raw.closed()
