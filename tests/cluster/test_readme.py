"""What README.md shows: its Python example and its commands, run as they stand there."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

import replicast
from replicast.errors import Unavailable

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def cluster(cluster_factory):
    made = cluster_factory()
    yield made
    made.down()
    made.end()


def block(title: str) -> str:
    """The first indented block after a line that begins with `title`."""
    found = re.search(rf"^{re.escape(title)}.*\n\n((?:    .*\n|\n)+)", README, re.M)
    assert found is not None, title
    return textwrap.dedent(found[1])


def test_the_python_example(cluster, tmp_path):
    program = tmp_path / "example.py"
    program.write_text(block("From Python"))
    done = subprocess.run(
        [sys.executable, program], capture_output=True, text=True, env=cluster.environ, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "3\n"  # of the three bytes in its put


def test_library__versions_and_the_end_of_a_connection(cluster, data):
    """What one call answers the next one takes; a closed connection says so at once."""

    async def run() -> None:
        client = await replicast.connect(cluster.data)
        await client.create_bucket("library")
        bodies = [data(1000), data(200_000)]
        infos = [await client.put("library", "v", body) for body in bodies]
        for info, body in zip(infos, bodies, strict=True):
            assert await client.read("library", "v", version=info.version) == body
            assert (await client.stat("library", "v", version=info.version)).etag == info.etag
        assert [v.version for v in await client.versions("library", "v")] == [
            info.version for info in reversed(infos)
        ]
        await client.delete("library", "v", version=infos[1].version)
        assert await client.read("library", "v") == bodies[0]
        under_way = asyncio.ensure_future(client.put("library", "late", data(20 << 20)))
        await asyncio.sleep(0)
        for _ in range(2):
            await client.close()
        for work in (under_way, client.stat("library", "v"), client.put("library", "v", b"x")):
            with pytest.raises(Unavailable) as error:
                await work
            assert error.value.reason == "CLOSED"

    asyncio.run(run())


def test_the_commands(cluster, tmp_path):
    """All but `logs -f`, which goes on for ever."""
    pictures = cluster.home / "Pictures"
    pictures.mkdir(parents=True, exist_ok=True)
    (pictures / "a.jpg").write_bytes(os.urandom(300_000))
    script = [
        line
        for title in ("## Use", "Look after it")
        for line in block(title).splitlines()
        if line.startswith("replicast ") and "logs -f" not in line
    ]
    assert len(script) == 13
    # `bucket create` fails where the Python example has made the bucket.
    script[0] += "  || true"
    done = subprocess.run(
        [
            "sh",
            "-ec",
            f'replicast() {{ "{sys.executable}" -m replicast.cli "$@"; }}\n' + "\n".join(script),
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env=cluster.environ,
        check=False,
    )
    assert done.returncode == 0, (done.stdout, done.stderr)
    assert (tmp_path / "a.jpg").read_bytes() == (pictures / "a.jpg").read_bytes()
