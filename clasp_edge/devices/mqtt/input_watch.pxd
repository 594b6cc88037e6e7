from cpython.ref cimport PyObject

from clasp_edge.dataplane.core cimport Core


cdef class InputWatch:
    cdef Core core
    cdef int epoll
    cdef PyObject** inputs      # by descriptor; owned references
    cdef int room
    cdef int count

    cdef void _close(self)
    cdef void _write(self) noexcept
