from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.stddef cimport size_t

from clasp_edge.dataplane.address_index cimport AddressIndex
from clasp_edge.dataplane.entry cimport UNREAD, UNREAD_KEPT, Entry, Kept, Value, entry_address, stored_bytes
from clasp_edge.dataplane.hashing cimport keyed_hash
from clasp_edge.dataplane.sink cimport Raw

cdef enum:
    # Words of Entry.ttl beyond the wire's (wire.md 2.3, SET): no TTL of its own, the server-wide one applies.
    TTL_DEFAULT = 0x7FFFFFFF
    TTL_NEVER = 0
    TTL_ABSOLUTE = 0x80000000

cdef enum:
    STRATEGY_LWW = 0
    STRATEGY_MAX = 1
    STRATEGY_MIN = 2
    STRATEGY_LOCK = 3
    STRATEGY_MERGE = 4

cdef enum:
    ROUTE_PLAIN = 0
    ROUTE_P2P = 1           # publishes go to the control plane (wire.md 4.5)

cdef enum:
    LIST_PARAMS = 0         # ids of the three list heads; entries start at 3
    LIST_ROUTES = 1
    LIST_GONE = 2           # params that were cleared or are over, and whose version is remembered
    FIRST_ID = 3


cdef enum:
    MQTT_EVENT_UNKNOWN = 0  # whether an unretained message to this address is an event: not asked yet
    MQTT_EVENT_NO = 1
    MQTT_EVENT_YES = 2


cdef enum:
    JOURNAL_DIRTY = 1       # changed since its image was last taken
    JOURNAL_KNOWN = 2       # the two below have been found out
    JOURNAL_LOG = 4         # writes are logged
    JOURNAL_STATE = 8       # the param is kept


cdef enum:
    BUCKETS = 1024          # of a digest

cdef uint16_t bucket_of(const uint8_t* address, size_t size) noexcept nogil


cdef struct Slot:
    uint32_t hash
    uint32_t id             # 0 = empty


cdef class Table:
    cdef Slot* slots
    cdef size_t mask                # slots - 1, a power of two less one
    cdef Entry** entries            # by id
    cdef uint32_t* older            # by id: neighbours in the list of params by last write, or of routes by last use
    cdef uint32_t* newer
    cdef uint32_t* heap_position    # by id: place in the expiry heap, 0 = none
    cdef uint32_t* heap             # 1-based binary heap of ids
    cdef uint64_t* heap_key         # by heap place: a deadline not later than the entry's own
    cdef uint32_t heap_size
    cdef uint32_t capacity          # ids allocated for
    cdef uint32_t top               # one past the highest id ever used
    cdef uint32_t free_id           # head of the free ids, chained through `older`
    cdef uint64_t seed
    cdef uint64_t key
    cdef uint64_t seq               # counts every change of a param
    cdef AddressIndex index         # the params in the order of their addresses
    cdef readonly uint32_t params
    cdef readonly uint32_t routes
    cdef readonly uint32_t unretained   # params whose value is no retained MQTT message
    cdef readonly uint32_t gone     # tombstones
    cdef readonly uint64_t route_bytes  # of the addresses that are only published to
    cdef readonly uint64_t bytes    # of addresses, values and what is kept beside them
    cdef uint8_t* reading           # the value of a payload that was read last
    cdef Value read                 # where and what it is
    cdef uint32_t read_id           # of which entry; 0: of none

    cdef inline uint32_t hash_of(self, const uint8_t* address, size_t size) noexcept nogil:
        return <uint32_t>keyed_hash(self.seed, self.key, address, size)

    cdef inline void mark_unretained(self, Entry* entry, bint unretained) noexcept nogil:
        """Note whether the value is no retained MQTT message."""
        if entry.unretained != unretained:
            self.unretained += 1 if unretained else -1
            entry.unretained = unretained

    cdef inline Value stored(self, Entry* entry) noexcept nogil:
        """What is stored of a value: of type UNREAD, a payload; of UNREAD_KEPT, nothing: the payload is in `kept`."""
        cdef Value value
        value.data = stored_bytes(entry)
        value.size = entry.stored_size
        value.type = entry.stored_type
        return value

    cdef inline Value value(self, Entry* entry) noexcept:
        """The param's value. One that came by MQTT and that nobody has asked for is made now."""
        if entry.stored_type >= UNREAD:
            return self._read(entry)
        return self.stored(entry)

    cdef Value _read(self, Entry* entry) noexcept
    cdef Entry* find(self, const uint8_t* address, size_t size, uint32_t hash) noexcept
    cdef Entry* insert(self, const uint8_t* address, size_t size, uint32_t hash) except NULL
    cdef Entry* store(self, Entry* entry, int value_type, const uint8_t* value, uint32_t size) noexcept
    cdef Entry* store_unread(self, Entry* entry, const Raw* raw) noexcept
    cdef bint keep(self, Entry* entry, const Raw* raw) noexcept
    cdef void drop_kept(self, Entry* entry) noexcept
    cdef void remove(self, Entry* entry) noexcept
    cdef int make_param(self, Entry* entry) except -1
    cdef Entry* make_gone(self, Entry* entry) noexcept
    cdef void touch(self, Entry* entry) noexcept
    cdef void expires(self, Entry* entry, uint64_t deadline_ms) noexcept
    cdef Entry* next_expired(self, uint64_t now_ms) noexcept
    cdef uint64_t next_deadline(self) noexcept
    cdef int _grow_ids(self) except -1
    cdef int _grow_slots(self) except -1
    cdef void _link(self, uint32_t head, uint32_t id) noexcept
    cdef void _unlink(self, uint32_t id) noexcept
    cdef void _sift_up(self, uint32_t place) noexcept
    cdef void _sift_down(self, uint32_t place) noexcept
    cdef void _heap_drop(self, uint32_t id) noexcept
