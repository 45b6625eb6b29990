"""Move cells between VDEVs: the definition of placement algorithm 1.

Takes the group of every row as it was and what each VDEV may hold now, and
changes as few cells as it can. In this order:

    1. clean     gone VDEVs lose their cells; leaving ones too, while the row may list them
    2. fill      each hole gets a VDEV drawn by lack of cells; rows that break the
                 failure-domain rule are mended
    3. balance   VDEVs outside the band around their quota give or take cells
    4. prefix    the first `copies` cells become distinct domains, and balanced, by exchange
                 within rows: no chunk moves
    5. lead      (first build only) the first cell is balanced by exchange within the prefix

The rule: a row has as many zones as possible, then as many hosts; so has its prefix.
Integers only, no state but the arrays, "random" draws are mix64 of row and
attempt: same input, same output, everywhere. native/_flexhash.pyx is the fast
twin; tests hold the two together. Nothing here loops more than a fixed number of passes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from replicast.flexhash.entries import NO_VDEV
from replicast.flexhash.tickets import Tickets, mix64

Cells = npt.NDArray[np.uint16]

GONE, LEAVING, STAYING = 0, 1, 2

ROW_STEP = 0x9E3779B1  # odd: walking rows by it meets each row once
DRAWS = 16  # random draws before a search through all
SWEEP_DRAWS = 4
SWEEP_COUNT = 10
FIRST_DRAW = 1  # the sweep before only brings VDEVs back to rows whose chunks they hold
FIRST_SEARCH = 4
FIRST_SPREAD = 6
SLACK_SHIFT = 6  # the band around a quota is 1/64 of it
PREFIX_SLACK_SHIFT = 5


@dataclass(slots=True)
class Problem:
    """All that placement reads and writes; VDEVs are numbered densely by slot.

    `members`, `holders` and `held` have one line per row. A holder is a VDEV
    that may keep chunks of the row (former members and draining ones); `held`
    counts those outside the group, never above `drain_max` by choice of ours.
    """

    members: list[list[int]]
    holders: list[list[int]]
    kinds: Sequence[int]
    hosts: Sequence[int]
    zones: Sequence[int]
    quotas: Sequence[int]
    prefix_quotas: Sequence[int]
    lead_quotas: Sequence[int]
    copies: int
    drain_max: int
    fresh: bool


def helps(excess: int, lack: int, spread: bool) -> bool:
    """Whether a cell should move from one with this excess to one with this lack."""
    if spread:
        return excess + lack >= 2
    return excess > 0 and lack > 0


class Placement:
    """One run over one problem."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self.rows = problem.members
        self.row_count = len(problem.members)
        self.width = len(problem.members[0])
        self.kinds = problem.kinds
        self.hosts = problem.hosts
        self.zones = problem.zones
        self.quotas = problem.quotas
        self.slots = [slot for slot, kind in enumerate(problem.kinds) if kind == STAYING]
        hosts = len({problem.hosts[slot] for slot in self.slots})
        zones = len({problem.zones[slot] for slot in self.slots})
        self.zones_wanted = min(self.width, zones)
        self.hosts_wanted = min(self.width, hosts)
        self.prefix_size = min(problem.copies, self.hosts_wanted)
        self.prefix_zones = min(self.prefix_size, zones)
        slot_count = len(problem.kinds)
        self.load = [0] * slot_count
        self.lacking = Tickets(slot_count)  # what each is below its quota
        self.needy = Tickets(slot_count)  # the same, of those that fell below the band
        self.is_needy = [False] * slot_count
        self.is_over = [False] * slot_count
        self.needy_slots: list[int] = []
        self.over_count = 0
        self.held = [0] * self.row_count
        self.draw_count = 0
        self.inner_load: list[int] = []

    def run(self) -> None:
        self.clean()
        self.fill()
        self.refine()
        self.balance()
        for line in self.rows:
            self.mend_prefix(line)
        self.exchange(self.prefix_size, self.width, self.problem.prefix_quotas, True)
        if self.problem.fresh:
            self.exchange(1, self.prefix_size, self.problem.lead_quotas, False)

    # -- loads and draws ----------------------------------------------------------------------

    def add_load(self, slot: int, change: int) -> None:
        self.load[slot] += change
        if self.kinds[slot] != STAYING:
            return
        lack = max(0, self.quotas[slot] - self.load[slot])
        self.lacking.set(slot, lack)
        if self.is_needy[slot]:
            self.needy.set(slot, lack)
        if self.is_over[slot] and self.load[slot] <= self.quotas[slot]:
            self.is_over[slot] = False
            self.over_count -= 1

    def random(self, row: int) -> int:
        """The next number of a sequence that depends on nothing but the steps so far."""
        self.draw_count += 1
        return mix64(self.draw_count << 16 ^ row)

    def may_leave(self, row: int, slot: int) -> bool:
        """A row lists few draining VDEVs; a full list keeps its members until some are empty."""
        return slot not in self.problem.holders[row] or self.held[row] < self.problem.drain_max

    def put(self, row: int, position: int, slot: int) -> None:
        """Give a cell to `slot` (NO_VDEV: to nobody) and count loads and holders."""
        holders = self.problem.holders[row]
        old = self.rows[row][position]
        self.rows[row][position] = slot
        if old != NO_VDEV:
            self.held[row] += old in holders
            self.add_load(old, -1)
        if slot != NO_VDEV:
            self.held[row] -= slot in holders
            self.add_load(slot, 1)

    # -- 1. clean -----------------------------------------------------------------------------

    def clean(self) -> None:
        """Count loads, then take out who may not stay."""
        for row, line in enumerate(self.rows):
            self.held[row] = sum(1 for slot in self.problem.holders[row] if slot not in line)
            for slot in line:
                if slot != NO_VDEV:
                    self.load[slot] += 1
        for slot in self.slots:
            self.add_load(slot, 0)
        for row, line in enumerate(self.rows):
            for position, slot in enumerate(line):
                if slot == NO_VDEV or self.kinds[slot] == STAYING:
                    continue
                if self.kinds[slot] == GONE or self.may_leave(row, slot):
                    self.put(row, position, NO_VDEV)

    # -- 2. fill ------------------------------------------------------------------------------

    def fill(self) -> None:
        for row, line in enumerate(self.rows):
            for position in range(self.width):
                if line[position] == NO_VDEV:
                    slot = self.choose(row)
                    if slot != NO_VDEV:
                        self.put(row, position, slot)
            self.mend(row)

    def mend(self, row: int) -> None:
        """Replace members of doubled domains until the row has the zones and hosts it can."""
        for _ in range(2 * self.width):
            if self.distinct(row, self.zones) < self.zones_wanted:
                domains = self.zones
            elif self.distinct(row, self.hosts) < self.hosts_wanted:
                domains = self.hosts
            else:
                return
            if not self.replace_double(row, domains):
                return

    def distinct(self, row: int, domains: Sequence[int]) -> int:
        return len({domains[slot] for slot in self.rows[row] if slot != NO_VDEV})

    def replace_double(self, row: int, domains: Sequence[int]) -> bool:
        """Replace the last member whose domain occurs twice by one of a new domain."""
        line = self.rows[row]
        for position in range(self.width - 1, -1, -1):
            old = line[position]
            if old == NO_VDEV or not self.may_leave(row, old):
                continue
            if not self.is_double(line, position, domains):
                continue
            new = self.choose_instead(row, position)
            if new != NO_VDEV and not self.has_domain(line, domains[new], domains):
                self.put(row, position, new)
                return True
        return False

    def choose_instead(self, row: int, position: int) -> int:
        """choose() for a cell that is still taken."""
        line = self.rows[row]
        old = line[position]
        line[position] = NO_VDEV
        new = self.choose(row)
        line[position] = old
        return new

    def has_domain(self, line: Sequence[int], domain: int, domains: Sequence[int]) -> bool:
        return any(slot != NO_VDEV and domains[slot] == domain for slot in line)

    def is_double(self, line: Sequence[int], position: int, domains: Sequence[int]) -> bool:
        """Whether another cell of the line has the domain of this one."""
        domain = domains[line[position]]
        return any(
            slot != NO_VDEV and domains[slot] == domain and other != position
            for other, slot in enumerate(line)
        )

    def choose(self, row: int) -> int:
        """A VDEV for a hole: of a new zone if one is missing, else of a new host, else any."""
        new_zone = self.distinct(row, self.zones) < self.zones_wanted
        new_host = self.distinct(row, self.hosts) < self.hosts_wanted
        for slot in self.problem.holders[row]:
            lacks = self.kinds[slot] == STAYING and self.load[slot] < self.quotas[slot]
            if lacks and self.fits(row, slot, new_zone, new_host):
                return slot
        for _ in range(DRAWS):
            if self.lacking.total == 0:
                break
            slot = self.lacking.draw(self.random(row) % self.lacking.total)
            if self.fits(row, slot, new_zone, new_host):
                return slot
        return self.least_loaded(row, new_zone, new_host)

    def fits(self, row: int, slot: int, new_zone: bool, new_host: bool) -> bool:
        line = self.rows[row]
        if slot in line:
            return False
        if new_zone and self.has_domain(line, self.zones[slot], self.zones):
            return False
        return not (new_host and self.has_domain(line, self.hosts[slot], self.hosts))

    def least_loaded(self, row: int, new_zone: bool, new_host: bool) -> int:
        """The fitting VDEV that lacks most against its quota; NO_VDEV when none fits."""
        best, best_lack = NO_VDEV, 0
        count = len(self.slots)
        start = self.random(row)
        for number in range(count):
            slot = self.slots[(start + number) % count]
            lack = self.quotas[slot] - self.load[slot]
            if best != NO_VDEV and lack <= best_lack:
                continue
            if self.fits(row, slot, new_zone, new_host):
                best, best_lack = slot, lack
        return best

    def refine(self) -> None:
        """Pass cells given out just now on to VDEVs that lack some: no chunk is there yet."""
        for number in (FIRST_DRAW, FIRST_SEARCH):
            for row in range(self.row_count):
                for position in range(self.width):
                    if self.lacking.total == 0:
                        return
                    slot = self.rows[row][position]
                    if slot == NO_VDEV or slot in self.problem.holders[row]:
                        continue
                    if self.load[slot] <= self.quotas[slot]:
                        continue
                    new = self.partner(row, position, number, True)
                    if new != NO_VDEV:
                        self.put(row, position, new)

    # -- 3. balance ---------------------------------------------------------------------------

    def balance(self) -> None:
        """Sweep until nobody is outside the band: home first, then draws, search, spreading."""
        self.flag()
        for number in range(SWEEP_COUNT):
            moved = self.sweep(number)
            if self.is_settled() or (number >= FIRST_SPREAD and moved == 0):
                return

    def flag(self) -> None:
        for slot in self.slots:
            quota, load = self.quotas[slot], self.load[slot]
            slack = max(1, quota >> SLACK_SHIFT)
            if load < quota - slack:
                self.is_needy[slot] = True
                self.needy.set(slot, quota - load)
                self.needy_slots.append(slot)
            elif load > quota + slack:
                self.is_over[slot] = True
                self.over_count += 1

    def is_settled(self) -> bool:
        return self.needy.total == 0 and self.over_count == 0

    def sweep(self, number: int) -> int:
        """Meet each cell once, its last positions first (names do not move there)."""
        moved = 0
        for step in range(self.row_count):
            row = step * ROW_STEP & self.row_count - 1
            for position in range(self.width - 1, -1, -1):
                if self.is_settled():
                    return moved
                slot = self.rows[row][position]
                if slot == NO_VDEV or self.kinds[slot] != STAYING:
                    continue
                if number < FIRST_SPREAD and self.load[slot] <= self.quotas[slot]:
                    continue
                if not self.may_leave(row, slot):
                    continue
                new = self.partner(row, position, number, self.is_over[slot])
                if new != NO_VDEV:
                    self.put(row, position, new)
                    moved += 1
        return moved

    def partner(self, row: int, position: int, number: int, to_any: bool) -> int:
        """Who may take this cell: anyone lacking, or only the needy."""
        spread = number >= FIRST_SPREAD
        for slot in self.problem.holders[row]:
            if self.takes(row, position, slot, spread, to_any):
                return slot
        if number < FIRST_DRAW:
            return NO_VDEV
        tickets = self.lacking if to_any else self.needy
        for _ in range(SWEEP_DRAWS):
            if tickets.total == 0:
                break
            slot = tickets.draw(self.random(row) % tickets.total)
            if self.takes(row, position, slot, spread, to_any):
                return slot
        if number >= FIRST_SEARCH:
            for slot in self.slots if to_any else self.needy_slots:
                if self.takes(row, position, slot, spread, to_any):
                    return slot
        return NO_VDEV

    def takes(self, row: int, position: int, slot: int, spread: bool, to_any: bool) -> bool:
        """Whether the cell should go to `slot`, and the row keeps its zones and hosts.

        Spreading also passes a lack on to another VDEV when that evens out the two.
        """
        line = self.rows[row]
        old = line[position]
        if self.kinds[slot] != STAYING or not (to_any or self.is_needy[slot]):
            return False
        excess = self.load[old] - self.quotas[old]
        lack = self.quotas[slot] - self.load[slot]
        if not helps(excess, lack, spread) or slot in line:
            return False
        return self.keeps(line, position, slot, self.zones) and self.keeps(
            line, position, slot, self.hosts
        )

    def keeps(self, line: Sequence[int], position: int, slot: int, domains: Sequence[int]) -> bool:
        """Whether the line has no fewer domains with `slot` in this position."""
        domain = domains[slot]
        if domain == domains[line[position]] or not self.has_domain(line, domain, domains):
            return True
        return self.is_double(line, position, domains)

    # -- 4. and 5. prefix, lead ---------------------------------------------------------------

    def mend_prefix(self, line: list[int]) -> None:
        """Exchange within the row until its prefix has all the zones and hosts it can."""
        kept: list[int] = []
        for wanted, domains in (
            (self.prefix_zones, self.zones),
            (self.prefix_size, self.hosts),
        ):
            for slot in line:
                if len(kept) >= wanted:
                    break
                if slot == NO_VDEV or self.kinds[slot] != STAYING:
                    continue
                if not self.has_domain(kept, domains[slot], domains):
                    kept.append(slot)
        if len(kept) < self.prefix_size:
            return
        free = [at for at in range(self.prefix_size) if line[at] not in kept]
        come = [at for at in range(self.prefix_size, self.width) if line[at] in kept]
        for inner, outer in zip(free, come, strict=True):
            line[inner], line[outer] = line[outer], line[inner]

    def exchange(self, inner: int, outer: int, quotas: Sequence[int], guarded: bool) -> None:
        """Balance who sits in line[:inner], by exchange with line[inner:outer].

        `guarded` keeps the domains of the inner cells distinct.
        """
        self.inner_load = [0] * len(self.kinds)
        for line in self.rows:
            for slot in line[:inner]:
                if slot != NO_VDEV:
                    self.inner_load[slot] += 1
        for sweep_number in range(SWEEP_COUNT):
            outside = [self.is_outside(slot, quotas[slot]) for slot in range(len(self.kinds))]
            if not any(outside):
                return
            spread = sweep_number >= FIRST_SPREAD
            for number in range(self.row_count):
                line = self.rows[number * ROW_STEP & self.row_count - 1]
                for at in range(inner):
                    for other in range(inner, outer):
                        if not self.should_exchange(line[at], line[other], quotas, outside, spread):
                            continue
                        if guarded and not self.keeps_inner(line[:inner], at, line[other]):
                            continue
                        self.inner_load[line[at]] -= 1
                        self.inner_load[line[other]] += 1
                        line[at], line[other] = line[other], line[at]

    def is_outside(self, slot: int, quota: int) -> bool:
        slack = max(1, quota >> PREFIX_SLACK_SHIFT)
        return self.kinds[slot] == STAYING and abs(self.inner_load[slot] - quota) > slack

    def should_exchange(
        self, old: int, new: int, quotas: Sequence[int], outside: Sequence[bool], spread: bool
    ) -> bool:
        """Whether it helps one that is outside its band and harms nobody."""
        if old == NO_VDEV or new == NO_VDEV or self.kinds[new] != STAYING:
            return False
        if not (outside[old] or outside[new]):
            return False
        excess = self.inner_load[old] - quotas[old]
        lack = quotas[new] - self.inner_load[new]
        return helps(excess, lack, spread)

    def keeps_inner(self, inner: Sequence[int], position: int, slot: int) -> bool:
        return self.keeps(inner, position, slot, self.zones) and self.keeps(
            inner, position, slot, self.hosts
        )


def place_cells(
    members: Cells,
    holders: Cells,
    kinds: npt.NDArray[np.uint8],
    hosts: npt.NDArray[np.int32],
    zones: npt.NDArray[np.int32],
    quotas: npt.NDArray[np.int64],
    prefix_quotas: npt.NDArray[np.int64],
    lead_quotas: npt.NDArray[np.int64],
    copies: int,
    drain_max: int,
    fresh: bool,
) -> None:
    """Rearrange `members` in place; what the native twin offers under the same name."""
    problem = Problem(
        members=members.tolist(),
        holders=[[s for s in line if s != NO_VDEV] for line in holders.tolist()],
        kinds=kinds.tolist(),
        hosts=hosts.tolist(),
        zones=zones.tolist(),
        quotas=quotas.tolist(),
        prefix_quotas=prefix_quotas.tolist(),
        lead_quotas=lead_quotas.tolist(),
        copies=copies,
        drain_max=drain_max,
        fresh=fresh,
    )
    Placement(problem).run()
    members[:] = problem.members
