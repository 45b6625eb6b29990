"""A target or gateway with stages of its work left out; run by ladder.py and multicast_pairs.py only.

    REPLICAST_BENCH_WITHOUT=disk,hash python -m partial_daemon --config DIR/t1/target.toml

The daemon is the one that `replicast up` runs for a file of that name. `without("disk")` has this module run in
place of both kinds, by whatever starts daemons in the process that calls it, for as long as the block
lasts; "hash" is left out in that process, too.
"""

from __future__ import annotations

import os
import runpy
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from unittest.mock import patch

from cheap_hash import cheap_hash
from no_disk import no_disk

from replicast.cli import layout

MODULE = Path(__file__).stem
FOLDER = str(Path(__file__).parent)
STAGES = {"disk": no_disk, "hash": cheap_hash}
WITHOUT = "REPLICAST_BENCH_WITHOUT"


@contextmanager
def without(*stages: str) -> Iterator[None]:
    """Daemons that are started within the block leave these out."""
    paths = [FOLDER, *filter(None, [os.environ.get("PYTHONPATH")])]
    environ = {"PYTHONPATH": os.pathsep.join(paths), WITHOUT: ",".join(stages)}
    with ExitStack() as stack:
        if "hash" in stages:
            stack.enter_context(cheap_hash())
        if stages:
            modules = dict.fromkeys(layout.MODULES, MODULE)
            stack.enter_context(patch.dict(layout.MODULES, modules))
            stack.enter_context(patch.dict(os.environ, environ))
        yield


def main() -> None:
    """Become the daemon."""
    kind = Path(sys.argv[sys.argv.index("--config") + 1]).stem
    with ExitStack() as stack:
        for stage in os.environ[WITHOUT].split(","):
            stack.enter_context(STAGES[stage]())
        runpy.run_module(layout.MODULES[kind], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
