"""How much state there may be, and what goes where there is more: tombstones, then what was written least recently.

With eviction off nothing that has a value goes: who wants to write hears that there is no room. Knows sizes, and
nothing of what they are the sizes of.
"""

from libc.stdint cimport uint32_t

from clasp_edge.dataplane.mqtt_message cimport bytes_beside
from clasp_edge.dataplane.table cimport LIST_GONE, LIST_PARAMS

cdef enum:
    GONE_AT_ONCE = 1024         # tombstones that are forgotten to make room for one value


cdef class Room(Versions):
    """The bounds of one router's state."""

    cdef bint _lacks(self, size_t more, Entry* spared) noexcept:
        """Whether `more` bytes of state would be too many, also without the oldest tombstones. Params are worth more
        than those. `spared` stays: it is being written to."""
        cdef int _forgotten
        cdef uint32_t oldest
        for _forgotten in range(GONE_AT_ONCE):
            if not self._over(more):
                return False
            oldest = self.table.newer[LIST_GONE]
            if spared != NULL and oldest == spared.id:
                oldest = self.table.newer[oldest]
            if oldest == LIST_GONE:
                return True
            self._forget(self.table.entries[oldest])
        return self._over(more)

    cdef void _make_room(self) noexcept:
        """What is remembered of cleared params goes before the least recently written param does."""
        if self._lacks(0, NULL):
            self._evict_oldest()

    cdef void _evict_oldest(self) noexcept:
        self.evicted += 1
        self._forget(self.table.entries[self.table.newer[LIST_PARAMS]])

    cdef bint _lacks_for_growth(self, Entry* entry, Write* write, size_t size, bint unretained) noexcept:
        """Whether a write with a value of `size` bytes makes the param grow beyond what there is room for."""
        cdef size_t beside = bytes_beside(write)
        cdef size_t more = size - entry.capacity if size > entry.capacity else 0
        cdef size_t kept = entry.kept.capacity if entry.kept != NULL else 0
        if unretained and entry.revision and entry.kept == NULL and not entry.unretained:
            more += self.table.value(entry).size    # what was retained is kept, as text
        elif beside > kept:
            more += beside - kept
        return more and self._lacks(more, entry)

    def lacks_room(self, size_t more):
        """Whether `more` bytes of state would be too many, also without the tombstones. If not, the oldest of these go
        for them: as many as the writes one by one would have go."""
        cdef uint32_t oldest = self.table.newer[LIST_GONE]
        cdef size_t left = self.table.bytes
        if not self._over(more):
            return False
        while oldest != LIST_GONE and left + more > self.max_bytes:
            left -= sizeof(Entry) + self.table.entries[oldest].address_size + self.table.entries[oldest].capacity
            oldest = self.table.newer[oldest]
        if left + more > self.max_bytes:
            return True
        while self.table.gone and self._lacks(more, NULL):
            pass
        return False

    def keep_within(self, uint32_t at_once):
        """Have the least recently written params, at most `at_once`, make room where the others' share has grown."""
        cdef uint32_t _evicted
        for _evicted in range(at_once):
            if not (self._over(0) and self.table.params > 1 and self.evict):
                return
            self._make_room()
