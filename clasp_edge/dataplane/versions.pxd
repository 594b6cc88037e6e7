from libc.stdint cimport uint32_t, uint64_t

from clasp_edge.dataplane.messages cimport Write
from clasp_edge.dataplane.routing cimport Routing
from clasp_edge.dataplane.sink cimport Sink
from clasp_edge.dataplane.table cimport Entry

cdef class Versions(Routing):
    # `referee(address, holder, writer)`: whether it is decided here that `writer` is refused; or None. `holder` has it
    # locked, if anybody has.
    cdef public object referee

    cdef bint _newer(self, Entry* entry, Write* write) noexcept
    cdef bint _decides(self, Entry* entry, Sink origin) noexcept
    cdef bint _changes_another(self, Entry* entry, Write* write) noexcept
    cdef bint _stale(self, Entry* entry, Sink origin, Write* write) noexcept
    cdef bint _late(self, Entry* entry, Sink origin, Write* write) noexcept
    cdef void _lock_told(self, Entry* entry, Sink origin, int flags) noexcept
    cdef void _heard(self, uint64_t hlc) noexcept
    cdef void overrule(self, Entry* entry, uint64_t hlc, uint64_t rank, bint raise_epoch) noexcept
    cdef int _told_flags(self, Entry* entry, Sink origin, Write* write) noexcept
    cdef bint _is_locked_to(self, Entry* entry, Sink origin, Write* write) noexcept
    cdef void _take_lock(self, Entry* entry, Sink origin, Write* write) noexcept
