"""Initiator side: chunk exchange, object layer, client API, the replicast-gw daemon."""

# One module must not load under two names (target.x and replicast.target.x).
if __name__ != "replicast.gateway":
    raise ImportError("import replicast.gateway, not gateway")  # pragma: no cover
