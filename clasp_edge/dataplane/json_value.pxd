from libc.stdint cimport uint8_t
from libc.stddef cimport size_t

cdef enum:
    JSON_UNSETTLED = -1         # no JSON, or some that is left to others
    JSON_TOO_LARGE = -2         # its value would take more than there is room; whether the rest is JSON is not known
    JSON_NONE = -3              # certainly no JSON

cdef Py_ssize_t json_value(const uint8_t* json, size_t size, uint8_t* target, size_t room, int* type) noexcept
