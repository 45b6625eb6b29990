"""Name rows: the replicated version records of every row that this target keeps or leads."""
