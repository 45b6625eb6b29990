"""The chosen `Result` and `Section`: native, or the definitions with REPLICAST_PURE=1."""

from typing import TYPE_CHECKING

from replicast.native import PURE, compiled

if TYPE_CHECKING or PURE:
    from replicast.transport.result_pure import Result, Section
else:
    with compiled():
        from replicast.native._result import Result, Section

__all__ = ["Result", "Section"]
