"""docs/library.md: its programs print what stands below them, and its promises hold."""

from __future__ import annotations

import io
import os
import re
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from replicast import blocking
from replicast.errors import InvalidRequest, NotFound, Unavailable

ROOT = Path(__file__).parents[2]
DOCUMENT = (ROOT / "docs" / "library.md").read_text()
PROGRAMS = re.findall(r"```python\n(.*?)```\n\n```text\n(.*?)```", DOCUMENT, re.S)
MIB = 1 << 20


@pytest.fixture(scope="module")
def client(cluster) -> Iterator[blocking.Cluster]:
    with blocking.connect(cluster.data) as client:
        client.create_bucket("blocking")
        yield client


def run_program(cluster, path: Path, text: str) -> subprocess.CompletedProcess[str]:
    path.write_text(textwrap.dedent(text))
    return subprocess.run(
        [sys.executable, path], capture_output=True, text=True, env=cluster.environ, check=False
    )


def test_the_programs_of_the_document(cluster, tmp_path):
    assert len(PROGRAMS) == DOCUMENT.count("```python") >= 6
    for number, (text, printed) in enumerate(PROGRAMS):
        done = run_program(cluster, tmp_path / f"p{number}.py", text)
        assert (done.returncode, done.stderr, done.stdout) == (0, "", printed)


def test_the_programs_are_typed(tmp_path):
    """mypy knows what the library gives."""
    for number, (text, _) in enumerate(PROGRAMS):
        (tmp_path / f"p{number}.py").write_text(text)
    (tmp_path / "typed.py").write_text(
        "from replicast import blocking, connect\n"
        "reveal_type(blocking.connect().put('b', 'n', b'').etag)\n"
        "reveal_type(blocking.connect().get('b', 'n'))\n"
        "async def work() -> None:\n"
        "    reveal_type(await (await connect()).versions('b', 'n'))\n"
        "    async for entry in (await connect()).list('b'):\n"
        "        reveal_type(entry.etag)\n"
    )
    options = ("--config-file=", "--check-untyped-defs", "--follow-imports=silent")
    done = subprocess.run(
        [sys.executable, "-m", "mypy", *options, "--cache-dir", tmp_path, *tmp_path.glob("*.py")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    found = re.findall(r'Revealed type is "(.*)"', done.stdout)
    short = [re.sub(r"[\w.]+\.(\w+)", r"\1", text) for text in found]
    assert short == [
        "str",
        "Iterator[bytes | bytearray | memoryview[int]]",
        "list[ObjectInfo]",
        "str",
    ]


# -- blocking -----------------------------------------------------------------------------


@pytest.mark.parametrize("size_bytes", [0, 5, 200_000, 3 * MIB + 1])
def test_put__bytes_files_and_iterables_are_alike(client, data, size_bytes):
    body = data(size_bytes)
    pieces = [body[at : at + 70_001] for at in range(0, size_bytes, 70_001)]
    for source in (body, memoryview(body), io.BytesIO(body), iter(pieces), pieces):
        client.put("blocking", "alike", source)
        assert client.read("blocking", "alike") == body
        assert b"".join(client.get("blocking", "alike")) == body


def test_put__a_block_may_be_used_again_when_the_next_is_asked_for(client, data):
    body = data(4 * MIB)

    def blocks() -> Iterator[memoryview]:
        buffer = bytearray(100_003)
        for at in range(0, len(body), len(buffer)):
            piece = body[at : at + len(buffer)]
            buffer[: len(piece)] = piece
            yield memoryview(buffer)[: len(piece)]

    client.put("blocking", "reused", blocks())
    assert client.read("blocking", "reused") == body


def test_put__a_source_that_raises_stores_nothing(client, data):
    client.put("blocking", "kept", b"old")

    def blocks() -> Iterator[bytes]:
        yield data(3 * MIB)
        raise RuntimeError("the source is broken")

    with pytest.raises(RuntimeError, match="the source is broken"):
        client.put("blocking", "kept", blocks())
    assert client.read("blocking", "kept") == b"old"
    assert len(client.versions("blocking", "kept")) == 1


def test_put__what_is_not_bytes_is_refused(client, tmp_path):
    (tmp_path / "text").write_text("text")
    with open(tmp_path / "text") as text_file:
        for source in ("text", 5, text_file, ["text"]):
            with pytest.raises(InvalidRequest, match="wanted"):
                client.put("blocking", "text", source)
    with pytest.raises(NotFound):
        client.stat("blocking", "text")


def test_put__a_refusal_ends_an_endless_source(client, data):
    block = data(MIB)
    with pytest.raises(NotFound) as error:
        client.put("no-such-bucket", "x", iter(lambda: block, None))
    assert error.value.reason == "NO_SUCH_BUCKET"


def test_get__left_in_the_middle(client, data):
    body = data(12 * MIB)
    client.put("blocking", "left", body)
    for _ in range(3):
        blocks = client.get("blocking", "left")
        assert bytes(next(blocks)) == body[:MIB]
        blocks.close()
    assert client.read("blocking", "left") == body


def test_threads__use_one_connection(client, data):
    bodies = {f"t{number}": data(300_000 + number) for number in range(24)}

    def work(name: str) -> bool:
        client.put("blocking", name, io.BytesIO(bodies[name]))
        return client.read("blocking", name) == bodies[name]

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(work, bodies))
    assert [entry.name for entry in client.list("blocking", "t")] == sorted(bodies)


def test_list__more_than_are_handed_over_at_once(client):
    names = [f"list/{number:04d}" for number in range(600)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda name: client.put("blocking", name, name.encode()), names))
    assert [entry.name for entry in client.list("blocking", "list/")] == names
    first = next(client.list("blocking", "list/", after="list/0123"))
    assert first.name == "list/0124"


def test_deadline__ends_what_takes_longer(client):
    never = threading.Event()

    def blocks() -> Iterator[bytes]:
        yield b"x"
        never.wait(0.3)
        yield b"y"

    with pytest.raises(Unavailable) as error:
        client.with_deadline(0.05).put("blocking", "late", blocks())
    assert (error.value.reason, error.value.uncertain) == ("DEADLINE", True)
    with pytest.raises(NotFound):
        client.stat("blocking", "late")
    client.with_deadline(0.05).with_deadline(None).put("blocking", "late", blocks())
    assert client.with_deadline(30).read("blocking", "late") == b"xy"
    with pytest.raises(InvalidRequest):
        client.with_deadline(0)


def test_close__ends_what_is_in_flight_and_what_comes_after(cluster, data):
    client = blocking.connect(cluster.data)
    given, closed = threading.Event(), threading.Event()

    def blocks() -> Iterator[bytes]:
        yield data(2 * MIB)
        given.set()
        closed.wait(60)
        yield data(2 * MIB)

    with ThreadPoolExecutor(1) as pool:
        putting = pool.submit(client.put, "blocking", "closed", blocks())
        assert given.wait(60)
        for _ in range(2):
            client.close()
        closed.set()
        error = putting.exception(60)
    assert isinstance(error, Unavailable) and error.reason == "CLOSED"
    for call in (client.list_buckets, lambda: next(client.get("blocking", "closed"))):
        with pytest.raises(Unavailable) as refused:
            call()
        assert refused.value.reason == "CLOSED"
    assert not [t for t in threading.enumerate() if t is client._thread._thread]


def test_fork__the_child_is_told_to_connect_again(client):
    child = os.fork()
    if not child:
        try:
            client.list_buckets()
        except Unavailable as error:
            os._exit(0 if error.reason == "FORKED" else 1)
        os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert "blocking" in client.list_buckets()


def test_interrupt__cancels_the_call_and_the_connection_goes_on(cluster, tmp_path, client):
    program = tmp_path / "interrupted.py"
    program.write_text(
        textwrap.dedent("""
        import sys, time
        from replicast import blocking

        def blocks():
            yield bytes(3 << 20)
            print("putting", flush=True)
            while True:
                yield b"x" * 1000

        with blocking.connect() as cluster:
            try:
                cluster.put("blocking", "interrupted", blocks())
            except KeyboardInterrupt:
                print(sum(e.name == "interrupted" for e in cluster.list("blocking")))
        """)
    )
    running = subprocess.Popen(
        [sys.executable, program], stdout=subprocess.PIPE, text=True, env=cluster.environ
    )
    assert running.stdout is not None and running.stdout.readline() == "putting\n"
    running.send_signal(signal.SIGINT)
    assert running.communicate(timeout=60)[0] == "0\n"
    assert running.returncode == 0
