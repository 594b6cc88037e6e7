from libc.stddef cimport size_t

from clasp_edge.dataplane.messages cimport Write
from clasp_edge.dataplane.table cimport Entry
from clasp_edge.dataplane.versions cimport Versions

cdef class Room(Versions):
    cdef inline bint _over(self, size_t more) noexcept:
        """Whether `more` bytes of state would be too many."""
        return self.max_bytes and self.table.bytes + more > self.max_bytes
    cdef bint _lacks(self, size_t more, Entry* spared) noexcept
    cdef bint _lacks_for_growth(self, Entry* entry, Write* write, size_t size, bint unretained) noexcept
    cdef void _make_room(self) noexcept
    cdef void _evict_oldest(self) noexcept
