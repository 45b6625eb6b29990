"""Who may watch a process: nobody in production, checkers in the simulator.

A witness is handed in by the Runtime and told of facts as they happen, decoded already. It
answers nothing and changes nothing, so a daemon is the same with one and without.
"""

from __future__ import annotations

from typing import Protocol

from replicast.flexhash.table import Table
from replicast.machine import Incoming, Outgoing


class Witness(Protocol):
    """One per start of a process."""

    def adopting(self, table: Table) -> None:
        """A table is about to be acted by: one just offered, or at the start the stored one."""

    def heard(self, incoming: Incoming) -> None:
        """An authenticated message over UDP, before anything is done about it."""

    def said(self, outgoing: Outgoing) -> None:
        """A message over UDP leaves."""
