# cython: boundscheck=False, wraparound=False, initializedcheck=False, cdivision=True
"""Fast twin of replicast/flexhash/placement.py, which defines it; same names, same steps.

Works on the caller's arrays without the GIL. Indexes are trusted: build.py
makes every array and sizes them by the largest vdev_index.
"""

import numpy as np

from replicast.native._domains cimport (
    contains, distinct, has_domain, helps, is_double, keeps, mix64,
)

ctypedef unsigned short u16
ctypedef unsigned char u8
ctypedef unsigned long long u64
ctypedef long long i64
ctypedef int i32

cdef enum:
    NO_VDEV = 0xFFFF
    GONE = 0
    STAYING = 2
    DRAWS = 16
    SWEEP_DRAWS = 4
    SWEEP_COUNT = 10
    FIRST_DRAW = 1
    FIRST_SEARCH = 4
    FIRST_SPREAD = 6
    SLACK_SHIFT = 6
    PREFIX_SLACK_SHIFT = 5

cdef u64 ROW_STEP = 0x9E3779B1


cdef class Tickets:
    cdef i64[::1] tree, counts
    cdef i64 size, total

    def __init__(self, slot_count):
        self.size = 1
        while self.size < slot_count:
            self.size *= 2
        self.tree = np.zeros(self.size + 1, dtype=np.int64)
        self.counts = np.zeros(slot_count, dtype=np.int64)
        self.total = 0

    cdef void set(self, i64 slot, i64 count) noexcept nogil:
        cdef i64 change = count - self.counts[slot]
        cdef i64 node = slot + 1
        if change == 0:
            return
        self.counts[slot] = count
        self.total += change
        while node <= self.size:
            self.tree[node] += change
            node += node & -node

    cdef i64 draw(self, i64 ticket) noexcept nogil:
        cdef i64 node = 0, half = self.size
        while half:
            if node + half <= self.size and self.tree[node + half] <= ticket:
                node += half
                ticket -= self.tree[node]
            half >>= 1
        return node


cdef class Placement:
    cdef u16[:, ::1] members, holder_cells
    cdef u8[::1] kinds
    cdef i32[::1] host_numbers, zone_numbers, slots, needy_slots
    cdef i64[::1] quotas, load, held, inner_load
    cdef u8[::1] is_needy, is_over, outside
    cdef Tickets lacking, needy
    cdef i64 row_count, width, holder_width, slot_count, slots_size, needy_size
    cdef i64 zones_wanted, hosts_wanted, prefix_size, prefix_zones
    cdef i64 drain_max, over_count
    cdef u64 draw_count
    cdef i32* hosts
    cdef i32* zones

    def __init__(self, members, holders, kinds, hosts, zones, quotas, copies, drain_max):
        self.members = members
        self.holder_cells = holders
        self.kinds = kinds
        self.host_numbers = hosts
        self.zone_numbers = zones
        self.quotas = quotas
        self.row_count, self.width = members.shape
        self.holder_width = holders.shape[1]
        self.slot_count = len(kinds)
        staying = np.flatnonzero(kinds == STAYING).astype(np.int32)
        self.slots = staying
        self.slots_size = len(staying)
        host_count = len(np.unique(hosts[staying]))
        zone_count = len(np.unique(zones[staying]))
        self.zones_wanted = min(self.width, zone_count)
        self.hosts_wanted = min(self.width, host_count)
        self.prefix_size = min(copies, self.hosts_wanted)
        self.prefix_zones = min(self.prefix_size, zone_count)
        self.load = np.zeros(self.slot_count, dtype=np.int64)
        self.inner_load = np.zeros(self.slot_count, dtype=np.int64)
        self.held = np.zeros(self.row_count, dtype=np.int64)
        self.is_needy = np.zeros(self.slot_count, dtype=np.uint8)
        self.is_over = np.zeros(self.slot_count, dtype=np.uint8)
        self.outside = np.zeros(self.slot_count, dtype=np.uint8)
        self.needy_slots = np.zeros(self.slot_count, dtype=np.int32)
        self.lacking = Tickets(self.slot_count)
        self.needy = Tickets(self.slot_count)
        self.drain_max = drain_max
        self.hosts = &self.host_numbers[0]
        self.zones = &self.zone_numbers[0]

    cdef void run(self, i64[::1] prefix_quotas, i64[::1] lead_quotas, bint fresh) noexcept nogil:
        cdef i64 row
        self.clean()
        self.fill()
        self.refine(FIRST_DRAW)
        self.refine(FIRST_SEARCH)
        self.balance()
        for row in range(self.row_count):
            self.mend_prefix(&self.members[row, 0])
        self.exchange(self.prefix_size, self.width, prefix_quotas, True)
        if fresh:
            self.exchange(1, self.prefix_size, lead_quotas, False)

    # -- loads and draws ----------------------------------------------------------------------

    cdef void add_load(self, i64 slot, i64 change) noexcept nogil:
        cdef i64 lack
        self.load[slot] += change
        if self.kinds[slot] != STAYING:
            return
        lack = self.quotas[slot] - self.load[slot]
        if lack < 0:
            lack = 0
        self.lacking.set(slot, lack)
        if self.is_needy[slot]:
            self.needy.set(slot, lack)
        if self.is_over[slot] and self.load[slot] <= self.quotas[slot]:
            self.is_over[slot] = False
            self.over_count -= 1

    cdef u64 random(self, i64 row) noexcept nogil:
        self.draw_count += 1
        return mix64((self.draw_count << 16) ^ <u64>row)

    cdef bint holds(self, i64 row, i64 slot) noexcept nogil:
        return contains(&self.holder_cells[row, 0], self.holder_width, slot)

    cdef bint may_leave(self, i64 row, i64 slot) noexcept nogil:
        return not self.holds(row, slot) or self.held[row] < self.drain_max

    cdef void put(self, i64 row, i64 position, i64 slot) noexcept nogil:
        cdef i64 old = self.members[row, position]
        self.members[row, position] = <u16>slot
        if old != NO_VDEV:
            self.held[row] += self.holds(row, old)
            self.add_load(old, -1)
        if slot != NO_VDEV:
            self.held[row] -= self.holds(row, slot)
            self.add_load(slot, 1)

    # -- 1. clean -----------------------------------------------------------------------------

    cdef void clean(self) noexcept nogil:
        cdef i64 row, at, slot
        for row in range(self.row_count):
            for at in range(self.holder_width):
                slot = self.holder_cells[row, at]
                if slot != NO_VDEV and not contains(&self.members[row, 0], self.width, slot):
                    self.held[row] += 1
            for at in range(self.width):
                slot = self.members[row, at]
                if slot != NO_VDEV:
                    self.load[slot] += 1
        for at in range(self.slots_size):
            self.add_load(self.slots[at], 0)
        for row in range(self.row_count):
            for at in range(self.width):
                slot = self.members[row, at]
                if slot == NO_VDEV or self.kinds[slot] == STAYING:
                    continue
                if self.kinds[slot] == GONE or self.may_leave(row, slot):
                    self.put(row, at, NO_VDEV)

    # -- 2. fill ------------------------------------------------------------------------------

    cdef void fill(self) noexcept nogil:
        cdef i64 row, position, slot
        for row in range(self.row_count):
            for position in range(self.width):
                if self.members[row, position] == NO_VDEV:
                    slot = self.choose(row)
                    if slot != NO_VDEV:
                        self.put(row, position, slot)
            self.mend(row)

    cdef void mend(self, i64 row) noexcept nogil:
        cdef i64 number
        cdef i32* domains
        cdef u16* line = &self.members[row, 0]
        for number in range(2 * self.width):
            if distinct(line, self.width, self.zones) < self.zones_wanted:
                domains = self.zones
            elif distinct(line, self.width, self.hosts) < self.hosts_wanted:
                domains = self.hosts
            else:
                return
            if not self.replace_double(row, domains):
                return

    cdef bint replace_double(self, i64 row, i32* domains) noexcept nogil:
        cdef u16* line = &self.members[row, 0]
        cdef i64 position, old, new
        for position in range(self.width - 1, -1, -1):
            old = line[position]
            if old == NO_VDEV or not self.may_leave(row, old):
                continue
            if not is_double(line, self.width, position, domains):
                continue
            line[position] = NO_VDEV
            new = self.choose(row)
            line[position] = <u16>old
            if new != NO_VDEV and not has_domain(line, self.width, domains[new], domains):
                self.put(row, position, new)
                return True
        return False

    cdef i64 choose(self, i64 row) noexcept nogil:
        cdef u16* line = &self.members[row, 0]
        cdef bint new_zone = distinct(line, self.width, self.zones) < self.zones_wanted
        cdef bint new_host = distinct(line, self.width, self.hosts) < self.hosts_wanted
        cdef i64 at, slot
        for at in range(self.holder_width):
            slot = self.holder_cells[row, at]
            if slot == NO_VDEV or self.kinds[slot] != STAYING:
                continue
            if self.load[slot] < self.quotas[slot] and self.fits(line, slot, new_zone, new_host):
                return slot
        for at in range(DRAWS):
            if self.lacking.total == 0:
                break
            slot = self.lacking.draw(<i64>(self.random(row) % <u64>self.lacking.total))
            if self.fits(line, slot, new_zone, new_host):
                return slot
        return self.least_loaded(row, new_zone, new_host)

    cdef bint fits(self, u16* line, i64 slot, bint new_zone, bint new_host) noexcept nogil:
        if contains(line, self.width, slot):
            return False
        if new_zone and has_domain(line, self.width, self.zones[slot], self.zones):
            return False
        return not (new_host and has_domain(line, self.width, self.hosts[slot], self.hosts))

    cdef i64 least_loaded(self, i64 row, bint new_zone, bint new_host) noexcept nogil:
        cdef u16* line = &self.members[row, 0]
        cdef i64 best = NO_VDEV, best_lack = 0, number, at, slot, lack
        cdef u64 start = self.random(row)
        if self.slots_size == 0:
            return NO_VDEV
        at = <i64>(start % <u64>self.slots_size)
        for number in range(self.slots_size):
            slot = self.slots[at]
            at += 1
            if at == self.slots_size:
                at = 0
            lack = self.quotas[slot] - self.load[slot]
            if best != NO_VDEV and lack <= best_lack:
                continue
            if self.fits(line, slot, new_zone, new_host):
                best = slot
                best_lack = lack
        return best

    cdef void refine(self, i64 number) noexcept nogil:
        cdef i64 row, position, slot, new
        for row in range(self.row_count):
            for position in range(self.width):
                if self.lacking.total == 0:
                    return
                slot = self.members[row, position]
                if slot == NO_VDEV or self.load[slot] <= self.quotas[slot]:
                    continue
                if self.holds(row, slot):
                    continue
                new = self.partner(row, position, number, True)
                if new != NO_VDEV:
                    self.put(row, position, new)

    # -- 3. balance ---------------------------------------------------------------------------

    cdef void balance(self) noexcept nogil:
        cdef i64 number, moved
        self.flag()
        for number in range(SWEEP_COUNT):
            moved = self.sweep(number)
            if self.is_settled() or (number >= FIRST_SPREAD and moved == 0):
                return

    cdef void flag(self) noexcept nogil:
        cdef i64 at, slot, quota, load, slack
        for at in range(self.slots_size):
            slot = self.slots[at]
            quota = self.quotas[slot]
            load = self.load[slot]
            slack = max(1, quota >> SLACK_SHIFT)
            if load < quota - slack:
                self.is_needy[slot] = True
                self.needy.set(slot, quota - load)
                self.needy_slots[self.needy_size] = <i32>slot
                self.needy_size += 1
            elif load > quota + slack:
                self.is_over[slot] = True
                self.over_count += 1

    cdef bint is_settled(self) noexcept nogil:
        return self.needy.total == 0 and self.over_count == 0

    cdef i64 sweep(self, i64 number) noexcept nogil:
        cdef i64 moved = 0, step, row, position, slot, new
        for step in range(self.row_count):
            row = <i64>((<u64>step * ROW_STEP) & <u64>(self.row_count - 1))
            for position in range(self.width - 1, -1, -1):
                if self.is_settled():
                    return moved
                slot = self.members[row, position]
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

    cdef i64 partner(
        self, i64 row, i64 position, i64 number, bint to_any
    ) noexcept nogil:
        cdef bint spread = number >= FIRST_SPREAD
        cdef i64 at, slot, total, candidates
        for at in range(self.holder_width):
            slot = self.holder_cells[row, at]
            if slot != NO_VDEV and self.takes(row, position, slot, spread, to_any):
                return slot
        if number < FIRST_DRAW:
            return NO_VDEV
        for at in range(SWEEP_DRAWS):
            total = self.lacking.total if to_any else self.needy.total
            if total == 0:
                break
            if to_any:
                slot = self.lacking.draw(<i64>(self.random(row) % <u64>total))
            else:
                slot = self.needy.draw(<i64>(self.random(row) % <u64>total))
            if self.takes(row, position, slot, spread, to_any):
                return slot
        if number >= FIRST_SEARCH:
            candidates = self.slots_size if to_any else self.needy_size
            for at in range(candidates):
                slot = self.slots[at] if to_any else self.needy_slots[at]
                if self.takes(row, position, slot, spread, to_any):
                    return slot
        return NO_VDEV

    cdef bint takes(
        self, i64 row, i64 position, i64 slot, bint spread, bint to_any
    ) noexcept nogil:
        cdef u16* line = &self.members[row, 0]
        cdef i64 old = line[position]
        cdef i64 excess, lack
        if self.kinds[slot] != STAYING or not (to_any or self.is_needy[slot]):
            return False
        excess = self.load[old] - self.quotas[old]
        lack = self.quotas[slot] - self.load[slot]
        if not helps(excess, lack, spread) or contains(line, self.width, slot):
            return False
        return keeps(line, self.width, position, slot, self.zones) and keeps(
            line, self.width, position, slot, self.hosts
        )

    # -- 4. and 5. prefix, lead ---------------------------------------------------------------

    cdef void mend_prefix(self, u16* line) noexcept nogil:
        cdef u16 kept[64]
        cdef i64 size = 0, at, slot, inner, outer = self.prefix_size
        for at in range(self.width):
            if size >= self.prefix_zones:
                break
            slot = line[at]
            if slot == NO_VDEV or self.kinds[slot] != STAYING:
                continue
            if not has_domain(kept, size, self.zones[slot], self.zones):
                kept[size] = <u16>slot
                size += 1
        for at in range(self.width):
            if size >= self.prefix_size:
                break
            slot = line[at]
            if slot == NO_VDEV or self.kinds[slot] != STAYING:
                continue
            if not has_domain(kept, size, self.hosts[slot], self.hosts):
                kept[size] = <u16>slot
                size += 1
        if size < self.prefix_size:
            return
        for inner in range(self.prefix_size):
            if contains(kept, size, line[inner]):
                continue
            while not contains(kept, size, line[outer]):
                outer += 1
            slot = line[inner]
            line[inner] = line[outer]
            line[outer] = <u16>slot
            outer += 1

    cdef void exchange(
        self, i64 inner, i64 outer, i64[::1] quotas, bint guarded
    ) noexcept nogil:
        cdef i64 sweep_number, number, row, at, other, slot
        cdef u16* line
        self.count_inner(inner)
        for sweep_number in range(SWEEP_COUNT):
            if not self.find_outside(quotas):
                return
            for number in range(self.row_count):
                row = <i64>((<u64>number * ROW_STEP) & <u64>(self.row_count - 1))
                line = &self.members[row, 0]
                for at in range(inner):
                    for other in range(inner, outer):
                        if not self.should_exchange(
                            line[at], line[other], quotas, sweep_number >= FIRST_SPREAD
                        ):
                            continue
                        if guarded and not self.keeps_inner(line, inner, at, line[other]):
                            continue
                        self.inner_load[line[at]] -= 1
                        self.inner_load[line[other]] += 1
                        slot = line[at]
                        line[at] = line[other]
                        line[other] = <u16>slot

    cdef void count_inner(self, i64 inner) noexcept nogil:
        cdef i64 row, at
        for at in range(self.slot_count):
            self.inner_load[at] = 0
        for row in range(self.row_count):
            for at in range(inner):
                if self.members[row, at] != NO_VDEV:
                    self.inner_load[self.members[row, at]] += 1

    cdef bint find_outside(self, i64[::1] quotas) noexcept nogil:
        cdef i64 slot, distance
        cdef bint any_outside = False
        for slot in range(self.slot_count):
            distance = self.inner_load[slot] - quotas[slot]
            if distance < 0:
                distance = -distance
            self.outside[slot] = self.kinds[slot] == STAYING and distance > max(
                1, quotas[slot] >> PREFIX_SLACK_SHIFT
            )
            if self.outside[slot]:
                any_outside = True
        return any_outside

    cdef bint should_exchange(
        self, i64 old, i64 new, i64[::1] quotas, bint spread
    ) noexcept nogil:
        cdef i64 excess, lack
        if old == NO_VDEV or new == NO_VDEV or self.kinds[new] != STAYING:
            return False
        if not (self.outside[old] or self.outside[new]):
            return False
        excess = self.inner_load[old] - quotas[old]
        lack = quotas[new] - self.inner_load[new]
        return helps(excess, lack, spread)

    cdef bint keeps_inner(self, u16* line, i64 inner, i64 position, i64 slot) noexcept nogil:
        return keeps(line, inner, position, slot, self.zones) and keeps(
            line, inner, position, slot, self.hosts
        )


def place_cells(
    members, holders, kinds, hosts, zones, quotas, prefix_quotas, lead_quotas,
    copies, drain_max, fresh,
):
    """Rearrange `members` in place."""
    cdef Placement placement = Placement(
        members, holders, kinds, hosts, zones, quotas, copies, drain_max
    )
    cdef i64[::1] prefix = prefix_quotas
    cdef i64[::1] lead = lead_quotas
    cdef bint first = fresh
    with nogil:
        placement.run(prefix, lead, first)
