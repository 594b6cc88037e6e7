from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.stddef cimport size_t

from clasp_edge.dataplane.messages cimport Published, Write
from clasp_edge.dataplane.outbox cimport Core, Delivery, Raw, Sink
from clasp_edge.dataplane.ring cimport Ring
from clasp_edge.dataplane.state cimport State
from clasp_edge.dataplane.table cimport Entry
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
    OUTDATED = 9            # not refused: what is here is as late or later
    FROM_FUTURE = 10        # a version that no clock which is right can have made


cdef enum:
    STAGED = 16         # frames of one read that are looked up ahead together


cdef struct Staged:
    const uint8_t* data
    size_t size
    uint32_t hash       # of the address of a SET or PUBLISH
    uint32_t id         # the entry it will need, 0 = unknown


cdef class Plane(State):
    cdef readonly Trie trie
    cdef readonly Ring ring
    cdef readonly uint64_t sets
    cdef uint64_t published[8]              # by signal
    cdef readonly uint64_t deliveries
    cdef uint64_t serial                    # of the last delivery
    cdef readonly object refusal_text       # of the last BAD_ADDRESS
    cdef Staged staged[STAGED]              # what the one read under way has brought
    cdef int staged_count
    cdef void* staging                      # the peer it is from
    # `referee(address, holder, writer)`: whether it is decided here that `writer` is refused; or None. `holder` has it
    # locked, if anybody has.
    cdef public object referee
    cdef public uint32_t links              # to routers that know versions
    cdef readonly uint64_t outdated
    cdef uint8_t* scratch                   # HEADROOM, then the frame under construction

    cdef int set(self, Sink origin, Write* write, uint64_t* revision) noexcept
    cdef int publish(self, Sink origin, const uint8_t* payload, const Published* message, uint32_t hash) noexcept
    cdef int publish_raw(self, Sink origin, const uint8_t* address, size_t address_size, uint32_t hash,
                         Raw* raw) noexcept
    cdef int unset(self, Sink origin, const uint8_t* address, size_t address_size, uint32_t hash, Raw* raw) noexcept
    cdef int _set_gone(self, Sink origin, Write* write, Entry* entry) noexcept
    cdef int _replay(self, Sink origin, Write* write, Entry* entry) noexcept
    cdef void _clear(self, Sink origin, Entry* entry, uint64_t hlc, uint64_t rank, Raw* raw) noexcept
    cdef bint _newer(self, Entry* entry, Write* write) noexcept
    cdef bint _decides(self, Entry* entry, Sink origin) noexcept
    cdef bint _stale(self, Entry* entry, Sink origin, Write* write) noexcept
    cdef bint _late(self, Entry* entry, Sink origin, Write* write) noexcept
    cdef void _lock_told(self, Entry* entry, Sink origin, int flags) noexcept
    cdef void _heard(self, uint64_t hlc) noexcept
    cdef void overrule(self, Entry* entry, uint64_t hlc, uint64_t rank, bint raise_epoch) noexcept
    cdef void _set_ttl(self, Entry* entry, Write* write, bint unretained, bint shadowed) noexcept
    cdef bint _frame(self, Delivery* delivery) noexcept
    cdef int _admit(self, Sink origin, Write* write, uint32_t hash, Entry** entry) noexcept
    cdef Entry* _route(self, const uint8_t* address, size_t size, uint32_t hash, int* verdict) noexcept
    cdef bint _gate(self, Sink origin, const uint8_t* address, size_t size, Entry* entry) noexcept
    cdef int _judge(self, uint64_t revision, uint32_t holder, Sink origin, int flags, uint64_t expected) noexcept
    cdef bint improves(self, int strategy, int old_type, bytes old, int new_type, bytes new) noexcept
    cdef bint _over(self, size_t more) noexcept
    cdef void _evict_oldest(self) noexcept
    cdef bint _keep_retained(self, Entry* entry) except -1
    cdef int _apply(self, Sink origin, Write* write, Entry** entry) noexcept
    cdef Fanout fan(self, Entry* entry)
    cdef void _fan_out(self, Entry* entry, Sink excluded, int bit, Delivery* delivery) noexcept
