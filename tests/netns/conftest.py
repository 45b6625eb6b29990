"""Clusters in network namespaces (namespaces.py), for one test or for all of a module."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from namespaces import GATEWAY_MODULE, Cluster, form, running
from networks import Network, RelayedNetwork, RoutedNetwork

from replicast.formation import Parameters

Make = Callable[..., Cluster]


def _factory(
    stack: ExitStack, new_folder: Callable[[], Path], require: Callable[[str], None]
) -> Make:
    require("netns")

    def make(
        transport: str,
        targets: int = 4,
        vdevs: int = 2,
        gateway: Mapping[str, Any] | None = None,
        relayed: bool = False,
        family: str = "ipv4",
        joined: bool = False,
        link_mtu: int = 0,
        gateway_module: str = GATEWAY_MODULE,
        snooping: bool = False,
    ) -> Cluster:
        if relayed:
            require("tap")
        folder, parameters = new_folder(), Parameters(transport=transport)
        addresses = form(
            folder,
            targets,
            vdevs,
            parameters,
            settings=gateway,
            family=family,
            far=link_mtu > 0,
        )
        network = _network(relayed, link_mtu, joined, snooping)
        stack.callback(_forget, folder)
        return stack.enter_context(running(folder, addresses, network, gateway_module))

    return make


def _network(relayed: bool, link_mtu: int, joined: bool, snooping: bool) -> Any:
    if relayed:
        return RelayedNetwork()
    return RoutedNetwork(link_mtu, joined) if link_mtu else Network(joined, snooping=snooping)


def _forget(folder: Path) -> None:
    """What was stored goes at once, or a run would fill the disk; settings and logs stay."""
    for vdev in folder.glob("*/v*"):
        shutil.rmtree(vdev, ignore_errors=True)


@pytest.fixture
def make_cluster(require: Callable[[str], None], tmp_path: Path) -> Iterator[Make]:
    """make_cluster("multicast") starts one; at most one a test.

    `gateway`: its settings, `gateway_module`: what is run as gateway. `link_mtu`: of the link
    between two routers that it is behind. `snooping`: the bridge knows who has joined a group.
    """
    with ExitStack() as stack:
        yield _factory(stack, lambda: tmp_path, require)


@pytest.fixture(scope="module")
def make_module_cluster(
    require: Callable[[str], None], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Make]:
    """The same for a cluster that the tests of a module share; they must leave it whole."""
    with ExitStack() as stack:
        yield _factory(stack, lambda: tmp_path_factory.mktemp("cluster"), require)
