from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.stddef cimport size_t

from clasp_edge.dataplane.messages cimport Published
from clasp_edge.dataplane.params cimport Params
from clasp_edge.dataplane.sink cimport Delivery, Raw, Sink
from clasp_edge.dataplane.table cimport Entry

cdef enum:
    STAGED = 16         # frames of one read that are looked up ahead together


cdef struct Staged:
    const uint8_t* data
    size_t size
    uint32_t hash       # of the address of a SET or PUBLISH
    uint32_t id         # the entry it will need, 0 = unknown


cdef class Plane(Params):
    cdef uint64_t published[8]              # by signal
    cdef Staged staged[STAGED]              # what the one read under way has brought
    cdef int staged_count
    cdef void* staging                      # the peer it is from

    cdef int publish(self, Sink origin, const uint8_t* payload, const Published* message, uint32_t hash) noexcept
    cdef int publish_raw(self, Sink origin, const uint8_t* address, size_t address_size, uint32_t hash,
                         Raw* raw) noexcept
    cdef void _log_event(self, Entry* entry, Delivery* delivery, Sink origin) noexcept
