# C types for table.py: of ten thousand rules, each key is asked for.

cdef class Table:
    cdef readonly object raw
    cdef readonly object path
    cdef public bint sound
    cdef object _report
    cdef list _asked
    cdef tuple _groups
