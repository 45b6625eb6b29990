"""Leases, generations, table service and membership commands, over CURVE channels (DESIGN 6)."""
