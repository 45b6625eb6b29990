"""Fault points: declared once, each used where its declaration says, none on outside simulation."""

import ast
import random
import re
from pathlib import Path

import pytest

from replicast import buggify as module
from replicast.buggify import POINTS, buggified, buggify, choosing
from replicast.sim.fault_points import FaultPoints, fault_points, reached

from .test_layout import ROOT, sources


class Always:
    """Takes every point."""

    on = frozenset(point.name for point in POINTS)

    def takes(self, name: str) -> bool:
        return True


def asked() -> list[tuple[str, str]]:
    """(name, file) of each place in the product that asks."""
    found = []
    for path in sources():
        for node in ast.walk(ast.parse(path.read_text())):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name)):
                continue
            if node.func.id in ("buggify", "buggified"):
                name = node.args[0]
                assert isinstance(name, ast.Constant), f"{path}:{node.lineno}: name it here"
                found.append((name.value, str(path.relative_to(ROOT))))
    return found


def some(seed: int) -> FaultPoints:
    return FaultPoints(random.Random(seed))


def test_points__are_those_that_the_product_asks_for() -> None:
    assert sorted(asked()) == sorted((point.name, point.where) for point in POINTS)


def test_points__have_a_row_each_in_the_documentation() -> None:
    text = (ROOT / "docs/simulation.md").read_text()
    rows = re.findall(r"^\| `(\w+/[\w-]+)` \| (.+) \| `([\w/.]+)` \|$", text, re.MULTILINE)
    assert rows == [(point.name, point.what, point.where) for point in POINTS]


def test_points__are_off_outside_simulation() -> None:
    assert module._chooser is None
    assert not any(buggify(point.name) for point in POINTS)
    assert buggified(POINTS[0].name, "normal", "odd") == "normal"


def test_choosing__ends_with_its_block_even_when_that_fails() -> None:
    with pytest.raises(ZeroDivisionError), choosing(Always()):
        assert buggify("store/flush-one") and buggified("store/flush-one", 8, 1) == 1
        raise ZeroDivisionError
    assert not buggify("store/flush-one")


def test_nothing_but_the_simulator_chooses() -> None:
    """No daemon, setting or command can switch a point on."""
    users = [p for p in sources() if re.search(r"\bchoosing\b|_chooser\b", p.read_text())]
    assert [str(p.relative_to(ROOT)) for p in users] == [
        "replicast/buggify.py",
        "replicast/sim/fault_points.py",
        "replicast/sim/run.py",
    ]


def test_no_native_module_asks() -> None:
    assert not [p for p in Path(ROOT / "native").glob("*.pyx") if "buggif" in p.read_text()]


def test_fault_points__are_the_same_for_the_same_seed() -> None:
    one, two, other = (fault_points(seed, True) for seed in (7, 7, 8))
    assert one is not None and two is not None and other is not None
    name = next(iter(one.on))
    assert one.on == two.on != other.on
    assert [one.takes(name) for _ in range(99)] == [two.takes(name) for _ in range(99)]


def test_fault_points__of_a_run_are_some_of_all_or_all() -> None:
    counts = [len(some(seed).on) for seed in range(100)]
    assert 0 < min(counts) < len(POINTS) // 4 and max(counts) == len(POINTS)


def test_fault_points__that_are_on_are_taken_now_and_then() -> None:
    points = next(p for p in map(some, range(100)) if len(p.on) < len(POINTS) // 2)
    frequent = max(points.on, key=lambda name: points.on[name])
    taken = sum(points.takes(frequent) for _ in range(1000))
    assert 0 < taken < 400 and points.taken == {frequent: taken}
    off = next(point.name for point in POINTS if point.name not in points.on)
    assert not any(points.takes(off) for _ in range(100)) and off not in points.taken


def test_fault_points__are_rare_where_they_are_asked_for_all_the_time() -> None:
    limits = {point.name: point.percent_max / 100 for point in POINTS}
    for seed in range(100):
        points = some(seed)
        assert all(chance <= limits[name] for name, chance in points.on.items())


def test_fault_points__by_seed_some_runs_have_none() -> None:
    chosen = [fault_points(seed, None) for seed in range(50)]
    assert None in chosen and any(chosen)
    assert fault_points(1, False) is None


def test_reached__names_those_that_never_were() -> None:
    names = [point.name for point in POINTS]
    assert reached(names) == (len(names), [])
    assert reached(names[1:]) == (len(names) - 1, names[:1])
