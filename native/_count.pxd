# cython: language_level=3
"""One more of a counter whose key is known: what Counters.count() does (replicast/metrics.py), for hot paths."""


cdef inline int count_one(object counters, tuple key) except -1:
    """`key`: name, and labels, as in Counters.values."""
    cdef dict values = counters.values
    before = values.get(key)
    if before is None:
        counters.count(key[0], *key[1])  # which looks whether there is such a metric
    else:
        values[key] = before + 1
    return 0
