"""name_prefix() and entry_effects() as everybody imports them: Cython, or Python with REPLICAST_PURE=1."""

from replicast.native import PURE, compiled

if PURE:
    from replicast.target.names.effects_pure import entry_effects, name_prefix
else:
    with compiled():
        from replicast.native._row_effects import entry_effects, name_prefix

__all__ = ["entry_effects", "name_prefix"]
