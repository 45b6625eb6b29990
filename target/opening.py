"""With which VDEVs a target starts: those of its settings that open.

One whose folder, header or log cannot be read is left out until the next start. To the cluster it
is like a VDEV that failed while its target ran: nobody vouches for it, so the Raft leader declares
it down and other VDEVs lead its rows; what asks for it is refused. Its disk is not touched again.

Fatal stays what says that somebody else is at work there, or that the settings name a wrong disk:
a VDEV that is open elsewhere, of another cluster or of a newer release. And a target of no VDEVs.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence

from replicast.metrics import Counters
from replicast.target.config import VdevPlace
from replicast.target.store.errors import BadVersion, VdevBusy, VdevError, WrongCluster
from replicast.target.store.vdev import Vdev

log = logging.getLogger("replicast.target")

FATAL = (VdevBusy, WrongCluster, BadVersion)

OpenOne = Callable[[VdevPlace], Vdev]


async def open_vdevs(
    places: Sequence[VdevPlace], open_one: OpenOne, counters: Counters
) -> list[Vdev]:
    """All VDEVs that open; raises what is fatal, and the first error when none does."""
    # Recovery reads whole logs: side by side, off the loop.
    tries = await asyncio.gather(*(asyncio.to_thread(_try, open_one, place) for place in places))
    failed = [
        (place, found)
        for place, found in zip(places, tries, strict=True)
        if isinstance(found, Exception)
    ]
    if len(failed) == len(places):
        raise failed[0][1]
    for place, error in failed:
        log.error(
            "the VDEV in %s is left out, the target starts without it: %s; mount or mend its disk "
            "and restart the target, or run `replicast repair` when it is lost",
            place.path,
            error,
        )
    counters.gauge("vdevs_left_out", value=len(failed))
    return [found for found in tries if not isinstance(found, Exception)]


def _try(open_one: OpenOne, place: VdevPlace) -> Vdev | VdevError | OSError:
    try:
        return open_one(place)
    except FATAL:
        raise
    except (VdevError, OSError) as error:
        return error
