"""Responder side: VDEV store, name rows, chunk exchange, the replicast-target daemon."""

# One module must not load under two names (target.x and replicast.target.x).
if __name__ != "replicast.target":
    raise ImportError("import replicast.target, not target")  # pragma: no cover
