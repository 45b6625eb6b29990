"""Are the compiled modules there? A missing one is one line that says how to build it."""

from __future__ import annotations

import importlib
from pathlib import Path

from replicast import native
from replicast.errors import InvalidRequest


def missing_extension(error: ImportError) -> str | None:
    """The name of the compiled module whose absence caused `error`, or None."""
    name = error.name or ""
    return name.rpartition(".")[2] if name.startswith(native.__name__ + ".") else None


def require_native() -> None:
    """Raise InvalidRequest unless every compiled module loads, or none is wanted."""
    if native.PURE:
        return
    for source in sorted(Path(native.__file__).parent.glob("*.pyx")):
        try:
            importlib.import_module(f"{native.__name__}.{source.stem}")
        except ImportError as error:
            raise InvalidRequest(advice(source.stem, error), reason="NOT_BUILT") from None


def advice(module: str, error: ImportError) -> str:
    """The line for people."""
    cause = str(error).removesuffix(f": {native.ADVICE}")
    return f"the compiled module {module} does not load ({cause}): {native.ADVICE}"
