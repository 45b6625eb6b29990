"""Timers: the newest wish of each key counts, once."""

import random

from replicast.gateway.timers import Timers


def test_timers__rescheduled_and_forgotten_keys_fire_once_at_their_newest_time():
    timers, rng, wishes = Timers(), random.Random(3), {}
    for _ in range(2000):
        key = rng.randrange(40).to_bytes(2, "big")
        due_ns = rng.choice([None, rng.randrange(1000)])
        timers.schedule(key, due_ns)
        wishes.pop(key, None) if due_ns is None else wishes.update({key: due_ns})
    gone = next(iter(wishes))
    timers.forget(gone)
    del wishes[gone]
    assert timers.deadline_ns() == min(wishes.values())
    fired = []
    for now_ns in range(1000):
        while (key := timers.take_due(now_ns)) is not None:
            assert wishes[key] == now_ns
            fired.append(key)
    assert sorted(fired) == sorted(wishes) and timers.deadline_ns() is None


def test_timers__a_key_may_be_scheduled_again_from_its_own_call():
    timers = Timers()
    timers.schedule(b"a", 5)
    assert timers.take_due(4) is None
    assert timers.take_due(5) == b"a"
    timers.schedule(b"a", 5)
    assert timers.take_due(9) == b"a" and timers.take_due(9) is None
