"""Planted bugs that the checkers must see."""

from __future__ import annotations

from typing import Any

import pytest

from replicast.target.put import StoreChunk, StoreHold

from .checkers import watch_durability
from .target import Target
from .world import Cluster


def test_canary__stored_before_it_is_durable_is_seen() -> None:
    cluster = Cluster()
    watch_durability(cluster)

    def too_early(target: Target, event: StoreChunk, v: int, later: Any) -> None:
        later(0, lambda: target.core.stored(event.token, v, None, cluster.now))

    cluster._store = too_early  # type: ignore[method-assign]
    with pytest.raises(KeyError):
        cluster.result(cluster.put(cluster.data(9000)))


def test_canary__a_hold_that_is_only_promised_is_seen() -> None:
    cluster = Cluster()
    data = cluster.data(9000)
    done = cluster.result(cluster.put(data))
    watch_durability(cluster)
    operation = cluster.put(data)
    events = cluster._target_event

    def forgetful(target: Target, event: Any) -> None:
        if isinstance(event, StoreHold):
            target.core.stored(event.token, event.vdev_index, None, cluster.now)
            cluster.vdevs[event.vdev_index].durable.clear()
        else:
            events(target, event)

    cluster._target_event = forgetful  # type: ignore[method-assign]
    assert done.copies == 3
    with pytest.raises(KeyError):
        cluster.result(operation)
