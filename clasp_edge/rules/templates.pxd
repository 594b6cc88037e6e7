# C types for templates.py: every address that a rule writes is made by them.

cdef class Captures:
    cdef list _segments
    cdef readonly Py_ssize_t count
    cdef readonly tuple deep


cdef class Template:
    cdef readonly object source
    cdef bint _address
    cdef readonly bint fixed
    cdef list _parts
