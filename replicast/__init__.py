"""replicast: a storage cluster over UDP Replicast."""

__version__ = "0.1.0"
