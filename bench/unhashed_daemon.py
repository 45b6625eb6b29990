"""A target or gateway with the cheap hash of bench/cheap_hash.py; run by bench/ladder.py only.

    python -m unhashed_daemon --config DIR/t1/target.toml

The daemon is the one that `replicast up` runs for a file of that name. `instead_of_daemons()` makes
`up` run this module for both kinds, in the process that calls it and for as long as the block
lasts.
"""

from __future__ import annotations

import os
import runpy
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

from cheap_hash import cheap_hash

from replicast.cli import layout

MODULE = Path(__file__).stem
FOLDER = str(Path(__file__).parent)


@contextmanager
def instead_of_daemons() -> Iterator[None]:
    """Daemons that are started within the block are this module's."""
    paths = [FOLDER, *filter(None, [os.environ.get("PYTHONPATH")])]
    with (
        patch.dict(layout.MODULES, dict.fromkeys(layout.MODULES, MODULE)),
        patch.dict(os.environ, PYTHONPATH=os.pathsep.join(paths)),
    ):
        yield


def main() -> None:
    """Become the daemon."""
    kind = Path(sys.argv[sys.argv.index("--config") + 1]).stem
    with cheap_hash():
        runpy.run_module(layout.MODULES[kind], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
