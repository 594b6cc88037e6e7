from libc.stddef cimport size_t
from libc.stdint cimport uint8_t, uint16_t, uint32_t

cdef int read_properties(const uint8_t* p, size_t size, uint8_t* kept, size_t* kept_size, uint32_t* expiry_s,
                         uint16_t* alias) noexcept nogil
