from libc.stdint cimport uint64_t

cdef class Delivery:
    cdef readonly object origin
    cdef readonly int signal
    cdef readonly bytes frame
    cdef readonly bytes tail
    cdef readonly uint64_t bundle
    cdef readonly int marks
    cdef public object made         # what it is as a message, and by whose encoding (`outgoing`)
    cdef bytes _address
    cdef tuple _known
    cdef object judged_by           # the newest set of events that it was compared with,
    cdef bint is_one                # and what came of it
    cdef Py_ssize_t waits           # how many lists of what waits it is in

    cdef bytes address_of(self)
    cdef bint is_event(self, events) except -1
