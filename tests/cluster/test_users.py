"""Users of the S3 gateways on a real cluster: made, told, changed, kept, and sealed on disk."""

from __future__ import annotations

import asyncio
import json
import shutil
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

from replicast.formation import load_cluster_file
from replicast.gateway.config import InitiatorConfig
from replicast.gateway.open import load_credentials, open_initiator
from replicast.gateway.users import User, UserDirectory
from replicast.metrics import Counters
from replicast.sealing import SecretSeal

from .conftest import POLL_SECONDS, SETTLE_SECONDS, Cluster


def listed(cluster: Cluster, *options: str | Path) -> dict[str, dict[str, Any]]:
    lines = cluster.out(*options, "user", "list", "--json").splitlines()
    return {user["name"]: user for user in map(json.loads, lines)}


def gauge(cluster: Cluster, name: str) -> float:
    address = cluster.daemons()["gw1"].metrics
    with urllib.request.urlopen(f"http://{address}/metrics", timeout=60) as answer:
        lines = answer.read().decode().splitlines()
    return float(next(line for line in lines if line.startswith(f"replicast_{name} ")).split()[1])


async def until(reached: Callable[[], bool]) -> None:
    end = time.monotonic() + SETTLE_SECONDS
    while not reached():
        assert time.monotonic() < end
        await asyncio.sleep(POLL_SECONDS)


async def follow(cluster: Cluster, work: Callable[[UserDirectory], Any]) -> None:
    """`work` beside a gateway of this process, which follows the users."""
    place = load_cluster_file(cluster.data / "client")
    credentials = load_credentials(place)
    counters = Counters()
    users = UserDirectory(SecretSeal(place.cluster_id, credentials.cluster_keys), counters)
    opened = await open_initiator(
        place, InitiatorConfig(), counters, credentials=credentials, on_users=users.adopt
    )
    try:
        await work(users)
    finally:
        await opened.close()


def files_with(cluster: Cluster, secret: str) -> list[Path]:
    return [p for p in cluster.data.rglob("*") if p.is_file() and secret.encode() in p.read_bytes()]


def test_users_are_made_told_changed_and_kept(make_cluster, tmp_path):
    cluster = make_cluster(targets=3)
    cluster.wait_healthy()
    ann = json.loads(cluster.out("user", "create", "ann", "--json"))
    assert len(ann["key_id"]) == 20 and len(ann["secret"]) == 40
    file = tmp_path / "users.toml"
    file.write_text(
        '[[users]]\nname = "bob"\nkey_id = "BOBSKEY"\nsecret = "bobs-own-secret"\n'
        'canonical_id = "b0b"\ndisplay_name = "Bob & Co"\n'
    )
    file.chmod(0o600)
    for said in (b"1 made, 0 there already\n", b"0 made, 1 there already\n"):
        assert cluster.out("user", "load", file) == said
    assert "USER_EXISTS" in cluster.error("user", "create", "ann", code=1)
    assert "NO_SUCH_USER" in cluster.error("user", "disable", "eve", code=1)
    assert "user name" in cluster.error("user", "create", "a b", code=2)
    assert "administrator" in cluster.error(
        "--cluster", cluster.data / "client", "user", "list", code=2
    )

    # Another administrator, who has asked nobody yet, sees the same; nobody sees a secret.
    second = tmp_path / "second"
    shutil.copytree(cluster.data / "admin", second)
    users = listed(cluster, "--cluster", second)
    assert users == listed(cluster) and set(users) == {"admin", "ann", "bob"}
    assert users["ann"] | {"secret": ann["secret"]} == ann | users["ann"]
    assert (users["bob"]["canonical_id"], users["bob"]["display_name"]) == ("b0b", "Bob & Co")
    text = cluster.out("user", "list").decode()
    assert "Bob & Co" in text and ann["key_id"] in text
    assert files_with(cluster, ann["secret"]) == files_with(cluster, "bobs-own-secret") == []

    async def changes(directory: UserDirectory) -> None:
        def known(key_id: str) -> User:
            found = directory.find(key_id)
            assert found is not None
            return found

        assert known(ann["key_id"]).secret == ann["secret"] and known("BOBSKEY").active
        await asyncio.to_thread(cluster.run, "user", "disable", "bob")
        await until(lambda: not known("BOBSKEY").active)
        rotated = await asyncio.to_thread(
            cluster.run, "user", "rotate", "ann", "--secret-stdin", stdin=b"another-secret\n"
        )
        assert b"secret" not in rotated.stdout
        await until(lambda: known(ann["key_id"]).secret == "another-secret")
        # One voter less: still changed. No voter at all: what is known stays known.
        cluster.kill("t1")
        await asyncio.to_thread(cluster.run, "user", "create", "cy", "--key-id", "CYSKEY")
        await until(lambda: directory.find("CYSKEY") is not None)
        cluster.kill("t2", "t3")
        assert known("CYSKEY").active and not known("BOBSKEY").active

    asyncio.run(follow(cluster, changes))
    asyncio.run(until(lambda: gauge(cluster, "users") == 4))

    cluster.down()
    cluster.up()
    cluster.wait_healthy()
    users = listed(cluster)
    assert {name: user["state"] for name, user in users.items()} == {
        "admin": "active", "ann": "active", "bob": "disabled", "cy": "active",
    }  # fmt: skip
    cluster.run("user", "enable", "bob")
    assert listed(cluster)["bob"]["state"] == "active"
    asyncio.run(until(lambda: gauge(cluster, "users_version") == 7))
