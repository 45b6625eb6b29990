"""For _voice.pyx: a body behind room for its header."""

from cpython.object cimport PyObject

cdef PyObject *encode_behind(object message, Py_ssize_t head_bytes) except NULL
