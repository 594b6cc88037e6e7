from libc.stdint cimport uint8_t, uint64_t
from libc.stddef cimport size_t

from clasp_edge.dataplane.adapter cimport Adapter
from clasp_edge.dataplane.outbox cimport Delivery, Sink
from clasp_edge.dataplane.table cimport Entry


cdef class Relay(Adapter):
    cdef public Sink twin           # the other half of the same neighbour, or None
    cdef public int flags           # of the frames of SETs: 0x41 asks for an ACK, 0x01 does not

    cdef object _frame(self, Delivery* delivery)
    cdef object _set_frame(self, const uint8_t* address, size_t address_size, int value_type, const uint8_t* value,
                           size_t value_size, long long ttl)
    cdef long long _lifetime(self, Entry* entry) noexcept
