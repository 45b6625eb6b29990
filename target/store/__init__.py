"""The VDEV store: one log per VDEV, and views of it (DESIGN 8)."""
