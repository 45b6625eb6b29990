"""replicast: a storage cluster over UDP Replicast.

async with await replicast.connect() as cluster: ...   (replicast/embed.py)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from replicast.embed import Cluster, connect

__all__ = ["Cluster", "__version__", "connect"]


def __getattr__(name: str) -> Any:
    # Imported when asked for, so that a daemon or a tool pays only for what it uses.
    if name in ("Cluster", "connect"):
        from replicast import embed

        return getattr(embed, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
