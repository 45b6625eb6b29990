"""What the voters have acknowledged of users, every gateway holds against the next request."""

from __future__ import annotations

import asyncio
import http.client
import random
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import urlsplit

import pytest

from replicast.cli.control import control
from replicast.cli.users import NewUser, UserAdmin
from replicast.flexhash.commands import UserState
from replicast.formation import load_cluster_file
from replicast.keys import load_cluster_keys
from replicast.sealing import SecretSeal

from ..cluster.conftest import Cluster
from .conftest import client_of, endpoints, refused

ROUNDS = 12


async def administer(cluster: Cluster, work: Callable[[UserAdmin], Awaitable[None]]) -> None:
    """In this process: a program of its own would take long enough for gateways to hear."""
    folder = cluster.data / "admin"
    place = load_cluster_file(folder)
    seal = SecretSeal(place.cluster_id, load_cluster_keys(place.cluster_key))
    async with control(folder) as plane:
        await work(UserAdmin(plane, seal))


class Knocks:
    """Requests of one user, signed and connected before the user may ask."""

    def __init__(self, at: list[str], key_id: str, secret: str) -> None:
        self._asks = []
        for endpoint in at:
            url = client_of(endpoint, key_id, secret).generate_presigned_url("list_buckets")
            connection = http.client.HTTPConnection(urlsplit(url).netloc)
            connection.connect()
            self._asks.append((connection, url.removeprefix(endpoint)))

    def statuses(self) -> list[int]:
        found = []
        for connection, path in self._asks:
            connection.request("GET", path)
            found.append(connection.getresponse().status)
            connection.close()
        return found


def test_users__made_rotated_and_let_in_are_served_at_once(
    s3_cluster: Cluster, request: pytest.FixtureRequest
) -> None:
    rng = random.Random(request.node.name)
    at = endpoints(s3_cluster)

    async def work(admin: UserAdmin) -> None:
        for number in range(ROUNDS):
            name, key_id = f"once{number}", f"ONCE{rng.getrandbits(64):016X}"
            secrets = f"{rng.getrandbits(128):032x}", f"{rng.getrandbits(128):032x}"
            made, rotated, let_in = (
                Knocks(rng.sample(at, len(at)), key_id, secret) for secret in (*secrets, secrets[1])
            )
            await admin.create(NewUser(name=name, key_id=key_id, secret=secrets[0]))
            assert made.statuses() == [200, 200]
            await admin.rotate(name, secrets[1])
            assert rotated.statuses() == [200, 200]
            await admin.set_state(name, UserState.DISABLED)
            await admin.set_state(name, UserState.ACTIVE)
            assert let_in.statuses() == [200, 200]

    asyncio.run(administer(s3_cluster, work))


def test_users__whom_the_voters_do_not_know_is_refused(s3_cluster: Cluster, s3: Any) -> None:
    for endpoint in endpoints(s3_cluster):
        unknown = client_of(endpoint, "NOBODY", "no-secret")
        assert refused(unknown.list_buckets) == ("InvalidAccessKeyId", 403)
