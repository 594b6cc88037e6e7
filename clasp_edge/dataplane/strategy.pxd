from libc.stdint cimport uint8_t

cdef bint improves(int strategy, int old_type, const uint8_t* old, int new_type, const uint8_t* new) noexcept nogil
