"""The `replicast` command: a composition root, it may import everything."""
