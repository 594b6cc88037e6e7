from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stddef cimport size_t

from clasp_edge.dataplane.sink cimport Delivery, Sink
from clasp_edge.dataplane.state cimport State
from clasp_edge.dataplane.table cimport Entry
from clasp_edge.dataplane.trie cimport Fanout, Target, Trie

cdef enum:
    MAX_FRAME = 65547           # wire.md 1
    MAX_PAYLOAD = 65535


cdef class Routing(State):
    cdef readonly Trie trie
    cdef readonly uint64_t deliveries
    cdef uint64_t serial                    # of the last delivery
    cdef readonly object refusal_text       # of the last BAD_ADDRESS
    cdef public uint32_t links              # to routers that know versions
    cdef uint32_t thinned                   # the entry whose list was looked at last
    cdef uint8_t* scratch                   # HEADROOM, then the frame under construction

    cdef Entry* _route(self, const uint8_t* address, size_t size, uint32_t hash, int* verdict) noexcept
    cdef bint _gate(self, Sink origin, const uint8_t* address, size_t size, Entry* entry) noexcept
    cdef bint _frame(self, Delivery* delivery) noexcept
    cdef Fanout fan(self, Entry* entry)
    cdef Fanout _fan_anew(self, Entry* entry)
    cdef list _filtered(self, list filters, Target* target)
    cdef void _offer(self, list filters, Delivery* delivery, Py_ssize_t address_size) noexcept
    cdef void _thin(self) noexcept
    cdef void _fan_out(self, Entry* entry, Sink excluded, int bit, Delivery* delivery) noexcept
