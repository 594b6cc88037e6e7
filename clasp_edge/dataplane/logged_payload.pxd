from libc.stddef cimport size_t
from libc.stdint cimport uint8_t, uint32_t, uint64_t

from clasp_edge.dataplane.sink cimport Raw


cdef struct Logged:             # a frame of the log in which a payload stands for its value
    const uint8_t* address
    size_t address_size
    const uint8_t* payload
    size_t payload_size
    uint64_t revision
    uint32_t ttl                # if flags & 0x10
    uint8_t flags               # of the SET
    bint is_set                 # else it is an event


cdef bint fits_log(const Raw* raw, size_t address_size, bint* exact) noexcept nogil
cdef size_t logged_size(const Logged* logged) noexcept nogil
cdef void put_logged(uint8_t* frame, const Logged* logged) noexcept nogil
cdef bint is_unread(const uint8_t* behind, size_t size) noexcept nogil
cdef bint read_logged(const uint8_t* frame, size_t size, Logged* logged) noexcept nogil
cdef size_t put_meant(uint8_t* frame, const Logged* logged) noexcept
