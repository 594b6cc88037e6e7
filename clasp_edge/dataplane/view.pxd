from libc.stdint cimport uint8_t


cdef class View:
    cdef const uint8_t* data
    cdef size_t size
    cdef Py_buffer _buffer
