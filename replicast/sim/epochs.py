"""One voter epoch decides at a time: who grants leases, in which epoch, by a proof of when.

A grant rests on a no-op that was proposed before the epoch ended: the log of an epoch applies
nothing behind its end, and the next one begins with what stood there. So once a leader of a later
epoch has granted anything, no leader of an earlier one can have a proof that is newer than that.

Fed by watch.py with the grants as they leave; the age of a proof is on the leader's clock, and
given the benefit of its drift.
"""

from __future__ import annotations

from replicast.flexhash.lease import stretched
from replicast.sim.checkers import BAD, OK, UNKNOWN


class Epochs:
    """One per run."""

    def __init__(self) -> None:
        self.problems: list[str] = []
        self._began_ns: dict[int, int] = {}  # by epoch: its first grant

    def granted(self, voter: str, epoch: int, age_ns: int, time_ns: int) -> str | None:
        """`voter` grants as the leader of `epoch`, by a proof of that age."""
        self._began_ns.setdefault(epoch, time_ns)
        proof_ns = time_ns - stretched(age_ns)
        for later, began_ns in self._began_ns.items():
            if later > epoch and proof_ns > began_ns:
                self.problems.append(
                    f"{voter} grants in voter epoch {epoch} by a proof of"
                    f" {(proof_ns - began_ns) / 1e9:.3f} s after epoch {later} had begun"
                )
                return self.problems[-1]
        return None

    def verdict(self) -> tuple[str, list[str]]:
        """Unknown when nobody granted anything."""
        if self.problems:
            return BAD, self.problems
        return (OK, []) if self._began_ns else (UNKNOWN, ["no grant was seen"])
