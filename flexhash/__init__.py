"""Pure FlexHash table arithmetic, and the Raft state machine that owns generations."""

# One module must not load under two names (target.x and replicast.target.x).
if __name__ != "replicast.flexhash":
    raise ImportError("import replicast.flexhash, not flexhash")  # pragma: no cover
