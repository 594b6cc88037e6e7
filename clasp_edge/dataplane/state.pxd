from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.stddef cimport size_t

from clasp_edge.dataplane.core cimport Core
from clasp_edge.dataplane.entry cimport SNAPSHOT_OVERHEAD
from clasp_edge.dataplane.journal_buffer cimport JournalBuffer
from clasp_edge.dataplane.sink cimport Sink
from clasp_edge.dataplane.table cimport Entry, Table

cdef enum:
    STEPS = 32              # addresses that a scan looks at before the clock is looked at
    STEPS_OF_PARTIAL = 4    # the same for patterns that may take microseconds each


# A version tells of two states of a param which one is the later, and is the same at every router. `hlc`: microseconds
# since 1970 by a clock that never goes back behind what it has heard, odd for a tombstone. `rank`: 16 bits of epoch,
# raised by the owner where it overrules others, then 48 bits that stand for the router that assigned it. Compared by
# epoch, hlc, router. A rank of all ones is none: a value of the past, told once more for those who want them all.
cdef enum:
    EPOCH_SHIFT = 48

cdef extern from *:     # an enum of C holds no more than an int
    """
    #define EPOCH_MASK 0xFFFF000000000000ULL
    #define REPLAYED 0xFFFFFFFFFFFFFFFFULL
    """
    const uint64_t EPOCH_MASK
    const uint64_t REPLAYED

cdef inline bint later(uint64_t hlc, uint64_t rank, uint64_t other_hlc, uint64_t other_rank) noexcept nogil:
    if rank >> EPOCH_SHIFT != other_rank >> EPOCH_SHIFT:
        return rank >> EPOCH_SHIFT > other_rank >> EPOCH_SHIFT
    if hlc != other_hlc:
        return hlc > other_hlc
    return rank > other_rank

cdef inline uint64_t version_hash(uint64_t hlc, uint64_t rank) noexcept nogil:
    """What a param adds to a digest; 0 where there is nothing."""
    cdef uint64_t h
    if hlc == 0:
        return 0
    h = (hlc ^ (rank * <uint64_t>0x9E3779B97F4A7C15)) * <uint64_t>0xD6E8FEB86659FD93
    h = (h ^ (h >> 32)) * <uint64_t>0xD6E8FEB86659FD93
    return h ^ (h >> 32)


cdef class State:
    cdef readonly Core core
    cdef public bint versions               # tombstones are kept, for other routers
    cdef public uint64_t hlc                # of the latest version that was assigned or heard of
    cdef public uint64_t timeline           # since when versions go by the time they go by now; 0: that is not known
    cdef public uint64_t base_us            # what the monotonic clock lacks to the time that versions go by
    cdef public uint64_t tag                # 48 bits that stand for this router
    cdef public uint32_t max_gone
    cdef Table table
    cdef readonly JournalBuffer journal_buffer                   # the journal's, or None
    cdef public object control
    cdef public uint32_t max_params         # 0 = unlimited
    cdef public uint64_t max_bytes          # of addresses and values together, 0 = unlimited
    cdef public bint evict
    cdef public uint32_t param_ttl_s        # 0 = never
    cdef uint64_t armed_ms
    cdef list writer_texts
    cdef uint32_t* writer_uses              # params that name the writer, plus one while it is registered
    cdef uint32_t* writer_locks
    cdef size_t writer_room
    cdef list free_writers
    cdef uint32_t gate_generation           # raised when what the gate remembered about writers no longer holds
    cdef readonly uint64_t evicted
    cdef readonly uint64_t expired

    cdef inline uint64_t next_hlc(self) noexcept:
        """For a version of our own: by the clock, and later than all that was heard of."""
        cdef uint64_t now = (self.core.mono_us + self.base_us) & ~<uint64_t>1
        self.hlc = now if now > self.hlc else (self.hlc | 1) + 1
        return self.hlc

    cdef Entry* live(self, const uint8_t* address, size_t size, uint32_t hash) noexcept
    cdef void _release_writer(self, uint32_t writer) noexcept
    cdef void _unlock(self, Entry* entry) noexcept
    cdef void _forget(self, Entry* entry) noexcept
    cdef void _end(self, Entry* entry) noexcept
    cdef void _bury(self, Entry* entry, uint64_t hlc, uint64_t rank, Sink origin, bint tell, bint told) noexcept
    cdef void tell_links(self, Entry* entry, uint64_t delta, Sink origin, bint tell) noexcept
    cdef void _arm(self) noexcept
    cdef size_t set_image(self, Entry* entry, uint8_t* target) noexcept
    cdef size_t _snapshot_entry(self, Entry* entry, uint8_t* target) noexcept
