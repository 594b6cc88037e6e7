from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.stddef cimport size_t

from clasp_edge.dataplane.sink cimport Raw
from clasp_edge.wire.pattern cimport Pattern


cdef class Ring:
    cdef uint8_t* data
    cdef readonly size_t size
    cdef uint64_t begin         # counters that only grow; the place is the counter modulo the size
    cdef uint64_t end

    cdef void append(self, const uint8_t* frame, size_t size, int signal, size_t address_at,
                     size_t address_size) noexcept
    cdef void append_raw(self, const uint8_t* address, size_t address_size, const uint8_t* payload,
                         size_t payload_size) noexcept
    cdef void append_raw_set(self, const uint8_t* address, size_t address_size, const Raw* raw, int flags,
                             uint64_t revision, uint32_t ttl) noexcept
    cdef uint8_t* _place(self, size_t size, int signal, size_t address_at, size_t address_size) noexcept
    cdef void _make_room(self, size_t need) noexcept


cdef class RingSearch:
    cdef Ring ring
    cdef Pattern pattern
    cdef int mask
    cdef Py_ssize_t count
    cdef object scopes
    cdef uint64_t at            # up to here it was looked at
    cdef int doublings          # how often what came was faster than that
    cdef dict kept              # by address, where the newest are; False: it does not match
    cdef list chosen            # where they are, the oldest at the end

    cpdef bint look(self, Py_ssize_t records) except -1
