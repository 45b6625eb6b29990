"""flexhash/voter_channels.py on loopback: nothing is asked before somebody can hear it."""

from __future__ import annotations

import asyncio
import random
import socket

from replicast.curve import CurveHub
from replicast.flexhash.voter_channels import VoterChannels
from replicast.flexhash.voters import VoterEntry, voter_set
from replicast.keys import AllowList, Identity, Role, make_key_pair
from replicast.metrics import Counters

SERVER, CLIENT = make_key_pair(), make_key_pair()
FRAME = b"\x01" + bytes(24) + b"asked"


def test_connected__waits_for_those_that_can_be() -> None:
    async def test(closed: socket.socket) -> None:
        hub = CurveHub(Counters())
        allowed = AllowList({CLIENT.public: Identity(7, Role.GATEWAY)})
        server = hub.server("control", ("127.0.0.1", 0), SERVER, allowed)
        gone = VoterEntry(1, closed.getsockname(), SERVER.public)
        there = VoterEntry(2, server.address, SERVER.public)
        channels = VoterChannels(hub, CLIENT, voter_set(1, [gone, there]), random.Random(1))
        nobody = VoterChannels(hub, CLIENT, voter_set(1, [gone]), random.Random(1))
        try:
            await channels.connected(any_seconds=60, all_seconds=0)
            for number in (1, 2):
                channels.send(number, FRAME)
            assert (await server.recv()).frame == FRAME
            await nobody.connected(any_seconds=0, all_seconds=60)
        finally:
            await channels.close()
            await nobody.close()
            hub.close()

    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        asyncio.run(asyncio.wait_for(test(closed), 60))
