from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.stddef cimport size_t

from clasp_edge.dataplane.outbox cimport Core, Sink
from clasp_edge.dataplane.table cimport Entry, Table
from clasp_edge.dataplane.journal_buffer cimport JournalBuffer

cdef enum:
    # What a param's SNAPSHOT entry takes beside address and value, in a snapshot of its own: type byte, count, two
    # lengths, type, revision, option byte, writer (36 characters), timestamp (wire.md 2.3).
    SNAPSHOT_OVERHEAD = 3 + 2 + 1 + 8 + 1 + 2 + 36 + 8


cdef enum:
    STEPS = 32              # addresses that a scan looks at before the clock is looked at
    STEPS_OF_PARTIAL = 4    # the same for patterns that may take microseconds each


cdef class State:
    cdef readonly Core core
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

    cdef Entry* live(self, const uint8_t* address, size_t size, uint32_t hash) noexcept
    cdef void _release_writer(self, uint32_t writer) noexcept
    cdef void _unlock(self, Entry* entry) noexcept
    cdef void _forget(self, Entry* entry) noexcept
    cdef void _arm(self) noexcept
    cdef size_t set_image(self, Entry* entry, uint8_t* target) noexcept
    cdef size_t _snapshot_entry(self, Entry* entry, uint8_t* target) noexcept
