"""The groups that a node hears: one socket each, handed to the NetThread under a tag.

The kernel allows 20 memberships per socket, hence a socket per group. Negotiating groups
are joined at start and kept; rendezvous groups are joined when a put asks for them and kept
until `rendezvous_max` others were used more recently. A join that the kernel refuses is an
answer (False), not an error: the sender then uses unicast. `on_left` hears the number of each
rendezvous group that made room for another.
"""

from __future__ import annotations

import socket
from collections import OrderedDict
from collections.abc import Callable

from replicast.buggify import buggified
from replicast.machine import Group
from replicast.transport.multicast import RENDEZVOUS, MulticastPlan
from replicast.transport.net import NetThread
from replicast.transport.sockets import PortTaken, open_group

OpenGroup = Callable[[str, int, str], socket.socket]

FIRST_TAG = 1  # 0 is the unicast socket


class Memberships:
    """All groups of one node on one interface."""

    def __init__(
        self,
        net: NetThread,
        plan: MulticastPlan,
        interface: str,
        *,
        rendezvous_max: int = 64,
        on_left: Callable[[int], None] = lambda number: None,
        open_group: OpenGroup = open_group,
    ) -> None:
        self._open_group = open_group
        self._net = net
        self._plan = plan
        self._interface = interface
        self._rendezvous_max = rendezvous_max
        self._on_left = on_left
        self._recent: OrderedDict[int, int] = OrderedDict()  # rendezvous number -> tag
        self._groups: dict[int, Group] = {}
        self._sockets: dict[int, socket.socket] = {}
        self._tag = FIRST_TAG

    def join_negotiating(self) -> bool:
        """Join all negotiating groups for good, at start; False when one failed."""
        return all(self._open(group) is not None for group in self._plan.negotiating_groups())

    def join_rendezvous(self, number: int) -> bool:
        """Join, or mark as used; whether datagrams to the group arrive here from now on."""
        if number in self._recent:
            self._recent.move_to_end(number)
            return True
        if not 0 <= number < self._plan.rendezvous_groups:
            return False  # an initiator with other settings
        tag = self._open(Group(RENDEZVOUS, number))
        if tag is None:
            return False
        self._recent[number] = tag
        if len(self._recent) > buggified("transport/one-group", self._rendezvous_max, 1):
            oldest, oldest_tag = self._recent.popitem(last=False)
            self._close(oldest_tag)
            self._on_left(oldest)
        return True

    def group_of(self, tag: int) -> Group | None:
        """Whose address a datagram with this tag came to; None for unicast."""
        return self._groups.get(tag)

    def __len__(self) -> int:
        return len(self._groups)

    def close(self) -> None:
        """Leave all groups."""
        for tag in list(self._sockets):
            self._close(tag)
        self._recent.clear()

    def _open(self, group: Group) -> int | None:
        try:
            opened = self._open_group(*self._plan.address(group), self._interface)
        except (OSError, PortTaken):
            return None
        tag, self._tag = self._tag, self._tag + 1
        try:
            self._net.add_socket(opened.fileno(), tag)
        except (OSError, ValueError):  # ValueError: more sockets than the thread serves
            opened.close()
            return None
        self._groups[tag], self._sockets[tag] = group, opened
        return tag

    def _close(self, tag: int) -> None:
        self._net.remove_socket(tag)
        self._sockets.pop(tag).close()
        del self._groups[tag]
