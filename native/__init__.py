"""Fast twins of pure-Python functions; REPLICAST_PURE=1 turns them all off.

The Python function in the folder that owns the idea is the definition. Each
caller imports the chosen one from that folder, which asks `PURE` below once.
`IMPLEMENTATION` says which is in use: logged at start, a metric label, printed
by bench/ and `replicast status`. There is no silent fallback: with PURE unset
a missing extension is an ImportError that names `make native`.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager

if __name__ != "replicast.native":
    raise ImportError("import replicast.native, not native")  # pragma: no cover

PURE = os.environ.get("REPLICAST_PURE", "") not in ("", "0")
IMPLEMENTATION = "python" if PURE else "cython"

ADVICE = "run `make native`, or set REPLICAST_PURE=1 to run slowly without"


@contextmanager
def compiled() -> Iterator[None]:
    """Around the import of a compiled module: when it is missing, the error says what to do."""
    try:
        yield
    except ImportError as error:
        raise ImportError(f"{error}: {ADVICE}", name=error.name, path=error.path) from None


__all__ = ["ADVICE", "IMPLEMENTATION", "PURE", "compiled"]
