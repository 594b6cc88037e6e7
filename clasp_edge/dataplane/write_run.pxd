from libc.stdint cimport uint8_t, uint32_t
from libc.stddef cimport size_t


cdef uint32_t set_content(int value_type, const uint8_t* address_and_value, size_t size) noexcept nogil
cdef uint32_t publish_content(int flags, const uint8_t* address_and_rest, size_t size) noexcept nogil
cdef uint32_t content_at(const uint8_t* p, size_t size) noexcept nogil


cdef class WriteRun:
    cdef bytes known            # what is known of the run's writes: 4 bytes each, 0 = nothing
    cdef Py_ssize_t count       # writes that were announced
    cdef readonly Py_ssize_t at     # of them, how many have come
    cdef Py_ssize_t own         # of them, how many at the beginning are not new, whatever they say
    cdef public object contested    # `contested(at, content)`: whether it is a repetition; None: `known` tells
    cdef uint32_t* came         # content of those that have come, 0 = refused here
    cdef Py_ssize_t room
    cdef uint32_t content       # of the write under way
    cdef bint accepted

    cdef bint repeats(self, uint32_t content) noexcept
    cdef void next(self) noexcept
