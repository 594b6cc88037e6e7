from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.stddef cimport size_t

from clasp_edge.dataplane.core cimport Core
from clasp_edge.dataplane.messages cimport Write
from clasp_edge.dataplane.past cimport Past
from clasp_edge.dataplane.ring cimport Ring
from clasp_edge.dataplane.sink cimport Raw, Sink
from clasp_edge.dataplane.table cimport Entry

cdef class Params(Past):
    cdef readonly Ring ring
    cdef readonly uint64_t sets
    cdef readonly uint64_t outdated

    cdef int set(self, Sink origin, Write* write, uint64_t* revision) noexcept
    cdef bint _stays_unread(self, Entry* entry, Write* write) noexcept
    cdef int unset(self, Sink origin, const uint8_t* address, size_t address_size, uint32_t hash, Raw* raw) noexcept
    cdef int _set_gone(self, Sink origin, Write* write, Entry* entry) noexcept
    cdef void _clear(self, Sink origin, Entry* entry, uint64_t hlc, uint64_t rank, Raw* raw) noexcept
    cdef void _set_ttl(self, Entry* entry, Write* write, bint unretained, bint shadowed) noexcept
    cdef int _admit(self, Sink origin, Write* write, uint32_t hash, Entry** entry) noexcept
    cdef int _judge(self, uint64_t revision, uint32_t holder, Sink origin, int flags, uint64_t expected) noexcept
    cdef bint _keep_retained(self, Entry* entry) except -1
    cdef int _apply(self, Sink origin, Write* write, Entry** entry) noexcept
    cdef int _weigh(self, Sink origin, Write* write, bint unretained, Entry** found, bint* shadowed, bint* is_merged,
                    bint* is_result) noexcept
    cdef int _not_stored(self, Entry* entry) noexcept
