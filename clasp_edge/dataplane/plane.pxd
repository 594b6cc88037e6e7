from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.stddef cimport size_t

from clasp_edge.dataplane.outlet cimport Core, Delivery, Outlet, Sink
from clasp_edge.dataplane.ring cimport Ring
from clasp_edge.dataplane.table cimport Entry, Table
from clasp_edge.dataplane.tap cimport Tap
from clasp_edge.dataplane.trie cimport Fanout, Trie

cdef enum Verdict:
    ACCEPTED = 0
    BAD_ADDRESS = 1
    NO_SCOPE = 2
    REVISION_CONFLICT = 3
    LOCK_HELD = 4
    STRATEGY_REJECTED = 5
    AT_CAPACITY = 6
    TOO_LARGE = 7
    CONTROL_PLANE = 8       # not refused: this address is the control plane's business


cdef struct Write:          # a SET, from whatever source
    const uint8_t* address
    size_t address_size
    uint32_t hash           # of the address (Table.hash_of)
    const uint8_t* value    # without the type byte
    size_t value_size
    uint64_t expected       # if flags & 0x80
    uint32_t ttl            # if flags & 0x10
    uint8_t flags           # of the SET message (wire.md 2.3), value type in bits 3-0


cdef class Plane:
    cdef readonly Core core
    cdef readonly Trie trie
    cdef readonly Ring ring
    cdef Table table
    cdef readonly Tap tap                   # the journal's, or None
    cdef public object control
    cdef public uint32_t max_params         # 0 = unlimited
    cdef public bint evict
    cdef public uint32_t param_ttl_s        # 0 = never
    cdef uint64_t armed_ms
    cdef list writer_texts
    cdef uint32_t* writer_uses              # params that name the writer, plus one while it is registered
    cdef uint32_t* writer_locks
    cdef size_t writer_room
    cdef list free_writers
    cdef uint32_t gate_generation
    cdef readonly uint64_t sets
    cdef readonly uint64_t publishes
    cdef readonly uint64_t deliveries
    cdef readonly uint64_t evicted
    cdef readonly uint64_t expired
    cdef readonly object refusal_text       # of the last BAD_ADDRESS
    cdef uint8_t* scratch                   # HEADROOM, then the frame under construction

    cdef int set(self, Sink origin, Write* write, uint64_t* revision) noexcept
    cdef int publish(self, Sink origin, const uint8_t* payload, size_t size, const uint8_t* address,
                     size_t address_size, uint32_t hash, int flags, int loss) noexcept
    cdef Entry* live(self, const uint8_t* address, size_t size, uint32_t hash) noexcept
    cdef int _admit(self, Sink origin, Write* write, uint32_t hash, Entry** entry) noexcept
    cdef void _release_writer(self, uint32_t writer) noexcept
    cdef void _unlock(self, Entry* entry) noexcept
    cdef Entry* _route(self, const uint8_t* address, size_t size, uint32_t hash, int* verdict) noexcept
    cdef bint _gate(self, Sink origin, const uint8_t* address, size_t size, Entry* entry) noexcept
    cdef int _judge(self, uint64_t revision, uint32_t holder, Sink origin, int flags, uint64_t expected) noexcept
    cdef int _apply(self, Sink origin, Write* write, Entry** entry) noexcept
    cdef Fanout fan(self, Entry* entry)
    cdef void _fan_out(self, Entry* entry, Sink excluded, Delivery* delivery) noexcept
    cdef void _forget(self, Entry* entry) noexcept
    cdef void _arm(self) noexcept
    cdef size_t set_image(self, Entry* entry, uint8_t* target) noexcept
    cdef size_t _snapshot_entry(self, Entry* entry, uint8_t* target) noexcept
