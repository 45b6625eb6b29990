"""S3 over HTTPS with real daemons: what clients need, streams with trailers, certificates that change."""

from __future__ import annotations

import http.client
import os
import random
import signal
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import SSLError

from replicast.certificates import expiry
from replicast.cli.cert_command import CERTIFICATE_FILE, KEY_FILE, write_self_signed
from replicast.cli.ports import free_ports
from replicast.cli.s3_access import S3Access, load_s3_access

from ..cluster.conftest import Cluster
from .conftest import Client, client_of, refused

HOSTS = ("127.0.0.1", "localhost")
WAIT_SECONDS, POLL_SECONDS = 30.0, 0.05
FAILED = "replicast_s3_handshakes_failed_total"
LOADS = "replicast_s3_certificate_loads_total"


@pytest.fixture(scope="module")
def plain_port() -> int:
    return free_ports("127.0.0.1", 1, random.SystemRandom())[0]


@pytest.fixture(scope="module")
def tls_cluster(cluster_factory: Callable[..., Cluster], plain_port: int) -> Cluster:
    """Serves HTTP too, but takes no keys of customers there."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("REPLICAST_GATEWAY_S3_PORT", str(plain_port))
        patch.setenv("REPLICAST_GATEWAY_S3_SSE_C_OVER_HTTP", "never")
        return cluster_factory(tls=True)


@pytest.fixture(scope="module")
def access(tls_cluster: Cluster) -> S3Access:
    return load_s3_access(tls_cluster.data)


@pytest.fixture(scope="module")
def connect(access: S3Access, monkeypatch_module: pytest.MonkeyPatch) -> Callable[..., Client]:
    """Clients that trust the certificate, as AWS_CA_BUNDLE tells them."""
    monkeypatch_module.setenv("AWS_CA_BUNDLE", access.ca_bundle)

    def make(**more: Any) -> Client:
        return client_of(access.endpoint, access.key_id, access.secret, **more)

    return make


@pytest.fixture(scope="module")
def monkeypatch_module() -> Iterator[pytest.MonkeyPatch]:
    with pytest.MonkeyPatch.context() as patch:
        yield patch


@pytest.fixture(scope="module")
def tls_bucket(connect: Callable[..., Client]) -> str:
    connect().create_bucket(Bucket="encrypted")
    return "encrypted"


def metric(cluster: Cluster, name: str, **labels: str) -> float:
    """Of the gateway."""
    host, _, port = cluster.daemons()["gw1"].metrics.partition(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=WAIT_SECONDS)
    connection.request("GET", "/metrics")
    text = connection.getresponse().read().decode()
    connection.close()
    wanted = ",".join(f'{key}="{value}"' for key, value in labels.items())
    line = f"{name}{{{wanted}}} " if wanted else f"{name} "
    found = [each for each in text.splitlines() if each.startswith(line)]
    return float(found[0].rpartition(" ")[2]) if found else 0.0


def until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + WAIT_SECONDS
    while not true():
        assert time.monotonic() < end
        time.sleep(POLL_SECONDS)


def test_env__names_endpoint_and_certificate(tls_cluster: Cluster, access: S3Access) -> None:
    lines = tls_cluster.out("env", "--s3").decode().splitlines()
    assert f"export AWS_ENDPOINT_URL={access.endpoint}" in lines
    assert access.endpoint.startswith("https://")
    assert f"export AWS_CA_BUNDLE={tls_cluster.data / CERTIFICATE_FILE}" in lines


@pytest.mark.parametrize("size", [0, 1, 70_000, (3 << 20) + 5])
def test_put__streams_with_trailers(
    connect: Callable[..., Client], tls_bucket: str, size: int
) -> None:
    """Over HTTPS SDKs leave the payload unsigned and put its checksum behind it."""
    s3 = connect()
    sent: list[dict[str, Any]] = []
    s3.meta.events.register(
        "before-send.s3.PutObject", lambda request, **_: sent.append(request.headers)
    )
    body = random.Random(size).randbytes(size)
    s3.put_object(Bucket=tls_bucket, Key=f"n{size}", Body=body)
    assert sent[0]["x-amz-content-sha256"] == b"STREAMING-UNSIGNED-PAYLOAD-TRAILER"
    assert sent[0]["x-amz-trailer"] == b"x-amz-checksum-crc32"
    found = s3.get_object(Bucket=tls_bucket, Key=f"n{size}", ChecksumMode="ENABLED")
    assert found["Body"].read() == body
    assert found.get("ContentEncoding") in (None, "")


def test_get__by_presigned_url(
    connect: Callable[..., Client], access: S3Access, tls_bucket: str
) -> None:
    s3 = connect()
    s3.put_object(Bucket=tls_bucket, Key="signed", Body=b"seen")
    url = s3.generate_presigned_url("get_object", Params={"Bucket": tls_bucket, "Key": "signed"})
    assert url.startswith(access.endpoint)
    connection = http.client.HTTPSConnection(
        url.split("/")[2], context=ssl.create_default_context(cafile=access.ca_bundle)
    )
    connection.request("GET", url.removeprefix(access.endpoint))
    assert connection.getresponse().read() == b"seen"
    connection.close()


def test_customer_key__is_taken_over_https_only(
    connect: Callable[..., Client], access: S3Access, plain_port: int, tls_bucket: str
) -> None:
    """Where the settings say so: by default the own host may send it over HTTP too."""
    at = {"Bucket": tls_bucket, "Key": "under a key"}
    key = {"SSECustomerAlgorithm": "AES256", "SSECustomerKey": "c" * 32}
    body = random.Random(7).randbytes(70_000)
    s3 = connect()
    s3.put_object(**at, **key, Body=body)
    assert s3.get_object(**at, **key)["Body"].read() == body
    assert refused(lambda: s3.get_object(**at)) == ("InvalidRequest", 400)
    plain = client_of(f"http://127.0.0.1:{plain_port}", access.key_id, access.secret)
    assert plain.list_objects_v2(Bucket=tls_bucket, Prefix=at["Key"])["KeyCount"] == 1
    assert refused(lambda: plain.get_object(**at, **key)) == ("InvalidRequest", 400)
    other = {**at, "Key": "never"}
    assert refused(lambda: plain.put_object(**other, **key, Body=body)) == ("InvalidRequest", 400)
    assert refused(lambda: s3.get_object(**other, **key)) == ("NoSuchKey", 404)


def test_connect__without_the_certificate_is_refused_by_the_client(
    access: S3Access, connect: Callable[..., Client], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_CA_BUNDLE")
    with pytest.raises(SSLError):
        client_of(access.endpoint, access.key_id, access.secret).list_buckets()


def test_plain_http_on_the_port__gets_no_answer_and_harms_nobody(
    tls_cluster: Cluster, access: S3Access, connect: Callable[..., Client]
) -> None:
    before = metric(tls_cluster, FAILED, why="refused")
    log = tls_cluster.data / "gw1" / "log.jsonl"
    logged = log.read_bytes()
    plain = http.client.HTTPConnection(
        access.endpoint.removeprefix("https://"), timeout=WAIT_SECONDS
    )
    with pytest.raises((ConnectionError, http.client.HTTPException)):
        plain.request("GET", "/")
        plain.getresponse()
    plain.close()
    until(lambda: metric(tls_cluster, FAILED, why="refused") > before)
    assert log.read_bytes() == logged
    connect().list_buckets()


class Load:
    """Clients that put and read, each operation on a fresh connection or on one that it keeps."""

    def __init__(self, connect: Callable[..., Client], bucket: str) -> None:
        self._connect, self._bucket = connect, bucket
        self._stop = threading.Event()
        self.failures: list[BaseException] = []
        self.done = [0, 0]
        self._threads = [
            threading.Thread(target=self._work, args=(number, fresh))
            for number, fresh in enumerate((False, True))
        ]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def more(self, count: int) -> None:
        """Wait until each has done so many more, or one has failed."""
        goal = [done + count for done in self.done]
        until(
            lambda: bool(self.failures) or all(d >= g for d, g in zip(self.done, goal, strict=True))
        )

    def _work(self, number: int, fresh: bool) -> None:
        rng = random.Random(number)
        kept = self._connect()
        try:
            while not self._stop.is_set():
                s3 = self._connect() if fresh else kept
                body = rng.randbytes(rng.choice((100, 100_000, 1 << 20)))
                s3.put_object(Bucket=self._bucket, Key=f"load{number}", Body=body)
                assert (
                    s3.get_object(Bucket=self._bucket, Key=f"load{number}")["Body"].read() == body
                )
                self.done[number] += 1
                if fresh:
                    s3.close()
        except Exception as error:  # noqa: BLE001  # whatever it is, the test says it
            self.failures.append(error)


def test_reload__under_load_no_request_fails(
    tls_cluster: Cluster,
    access: S3Access,
    connect: Callable[..., Client],
    tls_bucket: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """New pairs, found by their files and by SIGHUP; then a broken one, which changes nothing."""
    data = tls_cluster.data
    pid = tls_cluster.daemons()["gw1"].pid()
    assert pid is not None
    trusted = tmp_path / "bundle.pem"
    bundle = (data / CERTIFICATE_FILE).read_text()
    pairs = []
    for number in range(3):
        made = write_self_signed(tmp_path / str(number), HOSTS, 100 + number)
        pairs.append((tmp_path / str(number), made))
        bundle += made.certificate
    trusted.write_text(bundle)
    monkeypatch.setenv("AWS_CA_BUNDLE", str(trusted))
    with Load(connect, tls_bucket) as load:
        load.more(2)
        for number, (folder, made) in enumerate(pairs):
            before = metric(tls_cluster, LOADS, outcome="loaded")
            for name in (KEY_FILE, CERTIFICATE_FILE):
                os.replace(folder / name, data / name)
            if number % 2:
                os.kill(pid, signal.SIGHUP)
            until(lambda seen=before: metric(tls_cluster, LOADS, outcome="loaded") > seen)  # type: ignore[misc]
            assert served(access) == made.certificate
            load.more(2)
        refused = metric(tls_cluster, LOADS, outcome="refused")
        (data / KEY_FILE).write_text("broken")
        os.kill(pid, signal.SIGHUP)
        until(lambda: metric(tls_cluster, LOADS, outcome="refused") > refused)
        load.more(2)
    assert not load.failures, load.failures
    assert served(access) == pairs[-1][1].certificate
    ends = metric(tls_cluster, "replicast_s3_certificate_expires_seconds")
    assert ends == expiry((data / CERTIFICATE_FILE).read_bytes()).timestamp()


def served(access: S3Access) -> str:
    """The certificate that the next connection gets."""
    host, _, port = access.endpoint.removeprefix("https://").partition(":")
    return ssl.get_server_certificate((host, int(port)))


def test_start__with_a_broken_pair_is_one_line_and_with_a_good_one_both_are_served(
    tls_cluster: Cluster,
    access: S3Access,
    connect: Callable[..., Client],
    plain_port: int,
    tls_bucket: str,
) -> None:
    """A gateway that has no certificate to go on with says so; then HTTP beside HTTPS."""
    data = tls_cluster.data
    settings = data / "gw1" / "gateway.toml"
    with settings.open("a") as file:
        file.write(f"s3_port = {plain_port}\n")
    tls_cluster.down()
    (data / KEY_FILE).write_text("broken")
    checked = tls_cluster.run("config", "check", settings, code=2)
    assert b"wrong: HTTPS: " in checked.stderr
    tls_cluster.run("up", "--data", data, "--no-user-file", code=1)
    log = (data / "gw1" / "log.jsonl").read_text().splitlines()
    assert "cannot run: HTTPS: " in log[-1] and KEY_FILE in log[-1]
    write_self_signed(data, HOSTS, replace=True)
    tls_cluster.run("up", "--data", data, "--no-user-file")
    plain = client_of(f"http://127.0.0.1:{plain_port}", access.key_id, access.secret)
    plain.put_object(Bucket=tls_bucket, Key="plain", Body=b"by HTTP")
    assert connect().get_object(Bucket=tls_bucket, Key="plain")["Body"].read() == b"by HTTP"
