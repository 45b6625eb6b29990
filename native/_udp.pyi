"""Nothing for Python: used by native/_net.pyx alone."""
