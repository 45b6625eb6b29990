"""Three real targets and a real client in this process, to compare the simulated ones with.

    places = asyncio.run(real_places(folder))      of a target, of the client (sim/cores.py)

The composition of production: Runtime SYSTEM, loopback sockets, files below `folder`.
"""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

from replicast.auth.keyring import KeyRing
from replicast.cli.ports import free_ports
from replicast.disks import RealDisk
from replicast.embed import Cluster
from replicast.flexhash.voter_file import VoterFile
from replicast.flexhash.voters import formed_voters
from replicast.formation import ClusterFile, Formation, Member, Parameters, choose_voters
from replicast.gateway.config import InitiatorConfig
from replicast.gateway.open import Credentials, OpenedInitiator, open_initiator
from replicast.keys import KeyPair, Role, make_cluster_keys, make_key_pair
from replicast.metrics import Counters
from replicast.sim.cores import places_of
from replicast.target.config import TargetConfig, VdevPlace
from replicast.target.daemon import TargetDaemon
from replicast.target.membership import Membership
from replicast.target.store.format import format_vdev
from replicast.units import GIB, KIB, MIB

HOST = "127.0.0.1"
PORTS = ("udp", "peer", "control", "raft", "metrics")
TARGETS, ROWS = 3, 64
CHUNK_BYTES = 64 * KIB
Places = dict[str, set[str]]


async def exercise(client: Cluster) -> None:
    """A little of everything, so that what is made at first use is there."""
    await client.create_bucket("sim")
    await client.put("sim", "large", bytes(5 * CHUNK_BYTES))
    await client.put("sim", "small", b"inline")
    assert await client.read("sim", "large") == bytes(5 * CHUNK_BYTES)


async def real_places(folder: Path) -> tuple[Places, Places]:
    """Start, exercise, look, stop."""
    rng = random.Random(1)
    ports = free_ports(HOST, TARGETS * len(PORTS), rng)
    keys, pairs = make_cluster_keys(), [make_key_pair() for _ in range(TARGETS + 1)]
    members = [_target(number, pairs[number], ports) for number in range(TARGETS)]
    client = Member(
        node_id=1001, role=Role.GATEWAY, name="c1", host="c1", zone="z",
        public_key=pairs[-1].public,
    )  # fmt: skip
    formation = Formation(
        cluster_id=rng.randbytes(16),
        segment_id=1,
        voter_epoch=1,
        parameters=Parameters(
            transport="unicast",
            chunk_size_bytes=CHUNK_BYTES,
            row_count=ROWS,
            group_size=5,
            copies=3,
            min_copies=2,
        ),
        voters=choose_voters(members),
        members=(*members, client),
    )
    ring = KeyRing(formation.cluster_id, keys.current, keys.keys)
    daemons = [
        _daemon(folder / member.name, formation, member, pair, ring)
        for member, pair in zip(members, pairs, strict=False)
    ]
    running = [asyncio.ensure_future(daemon.run()) for daemon in daemons]
    try:
        opened = await _open(formation, client, Credentials(pairs[-1], keys))
        async with Cluster(opened) as cluster:
            await exercise(cluster)
            return places_of(daemons[0]), places_of(opened)
    finally:
        for daemon in daemons:
            daemon._stopping.set()
        await asyncio.gather(*running)


def _target(number: int, pair: KeyPair, ports: list[int]) -> Member:
    mine = ports[number * len(PORTS) :]
    return Member(
        node_id=number + 1,
        role=Role.TARGET,
        name=f"t{number + 1}",
        host=f"h{number + 1}",
        zone="z",
        public_key=pair.public,
        vdev_count=1,
        **{what: (HOST, mine[at]) for at, what in enumerate(PORTS)},
    )


def _daemon(
    directory: Path, formation: Formation, member: Member, pair: KeyPair, ring: KeyRing
) -> TargetDaemon:
    directory.mkdir()
    voters = formed_voters(formation.voter_epoch, formation.voter_members())
    VoterFile(RealDisk(), directory, formation.cluster_id).save(voters)
    place = VdevPlace(directory / "v0", capacity_bytes=2 * GIB)
    format_vdev(RealDisk(), place.path, formation.cluster_id, None, random.Random(member.node_id))
    config = TargetConfig(directory=str(directory), vdevs="", buffer_bytes=16 * MIB)
    return TargetDaemon(config, [place], Membership(directory, formation, member, pair, ring))


async def _open(formation: Formation, me: Member, credentials: Credentials) -> OpenedInitiator:
    parameters = formation.parameters
    cluster = ClusterFile(
        cluster_id=formation.cluster_id,
        segment_id=formation.segment_id,
        node_id=me.node_id,
        role=me.role,
        transport=parameters.transport,
        content_hash=parameters.content_hash,
        chunk_size_bytes=parameters.chunk_size_bytes,
        multicast_port=parameters.multicast_port,
        node_key=Path(),
        cluster_key=Path(),
        directory=Path("/none"),
        voters=formation.voter_members(),
    )
    config = InitiatorConfig(buffer_bytes=16 * MIB, negotiate_above_bytes=8 * KIB)
    return await open_initiator(cluster, config, Counters(), credentials=credentials)
