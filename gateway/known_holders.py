"""Which VDEVs an initiator believes to hold a chunk: from its own puts and reads, and from names.

A version's manifest is canonical and says nothing of places; beside it in its row stands who held its
chunks when it was put (NAME_PUT.holders), and NAME_GET gives that back. So a chunk is asked for at once
at one of its holders, through whichever gateway it is read, where it would otherwise have to be looked
for in its row first (DESIGN 7: "or first the VDEVs that the gateway remembers").

Only hints: a chunk that has moved since is looked for, and what was found is remembered.
Limits: CHUNKS_MAX chunks, those that were not needed for longest go first.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable

from replicast.buggify import buggify
from replicast.wire.documents import Reference
from replicast.wire.name_messages import HOLDERS_MAX, HolderLists

CHUNKS_MAX = 20_000


class KnownHolders:
    """Those of one initiator."""

    def __init__(self) -> None:
        self._of: OrderedDict[bytes, tuple[int, ...]] = OrderedDict()

    def __len__(self) -> int:
        """Chunks of which something is believed."""
        return len(self._of)

    def of(self, chid: bytes) -> tuple[int, ...]:
        """VDEVs that are likely to hold the chunk; none: it has to be looked for."""
        found = self._of.get(chid)
        if found is None:
            return ()
        self._of.move_to_end(chid)
        return found

    def put(self, chid: bytes, vdevs: tuple[int, ...]) -> None:
        """They do hold it: they have just said so, or sent it."""
        if buggify("gateway/remember-nothing"):
            return
        self._of[chid] = vdevs
        self._of.move_to_end(chid)
        if len(self._of) > CHUNKS_MAX:
            self._of.popitem(last=False)

    def forget(self, chid: bytes) -> None:
        """It could not be read."""
        self._of.pop(chid, None)

    def of_all(self, chids: Iterable[bytes]) -> HolderLists:
        """For the name of an object of these chunks; empty when nothing is known of any."""
        known = tuple(self._of.get(chid, ())[:HOLDERS_MAX] for chid in chids)
        return known if any(known) else ()

    def learn(self, references: tuple[Reference, ...], holders: HolderLists) -> None:
        """What a name says of its chunks; what was seen here is newer."""
        for reference, vdevs in zip(references, holders, strict=False):
            if vdevs and reference.chid not in self._of:
                self.put(reference.chid, vdevs)
