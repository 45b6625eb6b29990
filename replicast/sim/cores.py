"""Which classes a process is made of: so that a trace can say what ran, and a test compare it.

    cores_of(daemon)    class -> the file that defines it, for all objects of ours
    places_of(daemon)   where they sit: attribute path -> names of the classes found there

Walks attributes and containers of objects from a root on. Stops at the simulator's own (a world
is behind each of them), except at what a daemon reaches through a stand-in.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Iterator, Mapping
from typing import Any

OURS = "replicast."
SIMULATOR = "replicast.sim."
THROUGH = ("replicast.sim.vdev.SimVdev",)  # the store's engine is behind it
ITEMS_MAX = 16  # of a container: its objects are alike
PLAIN = (str, bytes, int, float, bool, type(None), type)


def cores_of(root: object) -> dict[str, str]:
    """Qualified class name -> source file below the package, `(compiled)` behind a native one."""
    kinds = {name_of(item): source_of(type(item)) for _, item in _walk(root)}
    return dict(sorted(kinds.items()))


def places_of(root: object) -> dict[str, set[str]]:
    """Attribute path -> classes; all items of a container are at one place."""
    found: dict[str, set[str]] = {}
    for path, item in _walk(root):
        found.setdefault(path, set()).add(name_of(item))
    return found


def name_of(item: object) -> str:
    """The qualified name of its class."""
    return f"{type(item).__module__}.{type(item).__qualname__}"


def source_of(kind: type) -> str:
    """Where a class comes from, the same on every machine."""
    file = getattr(sys.modules.get(kind.__module__), "__file__", None) or ""
    path = kind.__module__.replace(".", "/")
    return f"{path}.py" if file.endswith(".py") else f"{path} (compiled)"


def _walk(root: object) -> Iterator[tuple[str, object]]:
    """Every object of ours once, with the first path to it."""
    seen: dict[int, object] = {}  # kept alive: an id must not be taken again
    queue: deque[tuple[str, object]] = deque([("", root)])
    while queue:
        path, item = queue.popleft()
        if isinstance(item, PLAIN) or id(item) in seen:
            continue
        seen[id(item)] = item
        name = name_of(item)
        if name.startswith(OURS):
            yield path, item
            if name.startswith(SIMULATOR) and name not in THROUGH:
                continue
            queue.extend((f"{path}.{key}", each) for key, each in _attributes(item))
        queue.extend((path + way, each) for way, each in _items(item))


def _attributes(item: object) -> Iterator[tuple[str, object]]:
    yield from getattr(item, "__dict__", {}).items()
    for kind in type(item).__mro__:
        slots = kind.__dict__.get("__slots__", ())
        for slot in (slots,) if isinstance(slots, str) else slots:
            if hasattr(item, slot):
                yield slot, getattr(item, slot)


def _items(item: Any) -> Iterator[tuple[str, object]]:
    """What containers hold, and bound methods and closures."""
    if isinstance(item, Mapping):
        for pair in list(item.items())[:ITEMS_MAX]:
            yield from (("[key]", pair[0]), ("[]", pair[1]))
    elif isinstance(item, (list, tuple, deque)):
        yield from (("[]", each) for each in list(item)[:ITEMS_MAX])
    elif getattr(item, "__self__", None) is not None:
        yield "()", item.__self__
    for cell in getattr(item, "__closure__", None) or ():
        try:
            yield "()", cell.cell_contents
        except ValueError:
            continue  # not filled yet
