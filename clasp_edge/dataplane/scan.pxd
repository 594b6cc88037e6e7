from libc.stdint cimport uint8_t
from libc.stddef cimport size_t

cdef enum:
    MAX_DEPTH = 64              # wire/limits.py MAX_VALUE_DEPTH; a test compares them

cdef enum Fault:                # negative: why a value could not be read
    TRUNCATED = -1
    UNKNOWN_TYPE = -2
    BAD_UTF8 = -3
    TOO_DEEP = -4

cdef bint utf8_valid(const uint8_t* p, size_t size) noexcept nogil
cdef Py_ssize_t value_size(int type_code, const uint8_t* p, size_t available, int depth) noexcept nogil
