"""How many cells each VDEV should get, by weight and within the failure-domain rule.

Proportional shares ("water filling") over the tree zones -> hosts -> VDEVs: a
node gets level * weight, clamped to what the rule forces on it or allows it.
For groups of `size` cells in each of `row_count` rows the rule says: as many
distinct zones as there are (up to size), then as many distinct hosts, and a
VDEV at most once in a row. So with zones to spare no zone may exceed row_count
cells, otherwise each zone must reach it; the same for hosts.

Integers only. Ties go to the earlier node, so the order of the input decides.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from types import MappingProxyType

LEVEL_BITS = 32  # fraction bits of a level; weights have at most 32 bits
ANSWERS_MAX = 12  # a table asks three times


@dataclass(slots=True)
class Node:
    """A VDEV (index >= 0, no children), a host, a zone or the whole cluster."""

    lower: int
    upper: int
    weight: int = 0
    index: int = -1
    children: list[Node] = field(default_factory=list)

    def demand(self, level: int) -> int:
        """What this node takes at a level of the water; grows with it."""
        if self.index >= 0:
            wanted = level * self.weight >> LEVEL_BITS
        else:
            wanted = 0
            for child in self.children:
                wanted += child.demand(level)
        if wanted < self.lower:  # plain: the search for a level asks each node fifty times
            return self.lower
        return self.upper if wanted > self.upper else wanted


def cell_quotas(
    vdevs: Iterable[tuple[int, int, int, int]], row_count: int, size: int
) -> Mapping[int, int]:
    """Cells per VDEV index, summing to row_count * min(size, VDEVs).

    `vdevs` are (index, weight, host number, zone number) of those that may hold cells. Most
    tables are built of the same VDEVs as the last one, so the last answers are kept.
    """
    return _quotas(tuple(vdevs), row_count, size)


@lru_cache(maxsize=ANSWERS_MAX)
def _quotas(
    vdevs: tuple[tuple[int, int, int, int], ...], row_count: int, size: int
) -> Mapping[int, int]:
    by_zone: dict[int, dict[int, list[Node]]] = {}
    for index, weight, host, zone in vdevs:
        leaf = Node(0, row_count, weight, index)
        by_zone.setdefault(zone, {}).setdefault(host, []).append(leaf)
    root = _tree(by_zone, row_count, size)
    vdev_count = sum(len(host.children) for zone in root.children for host in zone.children)
    quotas: dict[int, int] = {}
    _share(root, row_count * min(size, vdev_count), 0, quotas)
    return MappingProxyType(quotas)


def _tree(by_zone: dict[int, dict[int, list[Node]]], row_count: int, size: int) -> Node:
    """Put the bounds of the rule on zones and hosts."""
    host_count = sum(len(hosts) for hosts in by_zone.values())
    zone_bounds = _bounds(len(by_zone), row_count, size)
    host_bounds = _bounds(host_count, row_count, size)
    root = Node(0, row_count * size)
    for hosts in by_zone.values():
        zone = Node(*zone_bounds)
        zone.children = [Node(*host_bounds, children=leaves) for leaves in hosts.values()]
        root.children.append(zone)
    return root


def _bounds(domain_count: int, row_count: int, size: int) -> tuple[int, int]:
    if domain_count > size:
        return 0, row_count
    if domain_count == size:
        return row_count, row_count
    return row_count, row_count * size


def _share(node: Node, amount: int, hint: int, quotas: dict[int, int]) -> None:
    """Give `amount` cells to a node and on to its children, each at the same level."""
    if node.index >= 0:
        quotas[node.index] = amount
        return
    level = _level(node, amount, hint)
    parts = [child.demand(level) for child in node.children]
    missing = amount - sum(parts)
    for number, child in enumerate(node.children):
        if missing <= 0:
            break
        more = min(child.demand(level + 1) - parts[number], missing)
        parts[number] += more
        missing -= more
    for child, part in zip(node.children, parts, strict=True):
        _share(child, part, level, quotas)


def _level(node: Node, amount: int, hint: int) -> int:
    """The highest level at which the children together take at most `amount`."""

    def fits(level: int) -> bool:
        taken = 0
        for child in node.children:
            taken += child.demand(level)
        return taken <= amount

    low, high = 0, amount + 1 << LEVEL_BITS
    if fits(hint):
        low = hint
        if not fits(hint + 1):
            return hint
    while low + 1 < high:
        middle = (low + high) // 2
        if fits(middle):
            low = middle
        else:
            high = middle
    return low
