"""Replication of name rows between targets, over CURVE channels (DESIGN 9)."""
