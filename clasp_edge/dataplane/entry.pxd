from libc.stddef cimport size_t
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

cdef enum:
    LARGEST_VALUE = 65535
    # What a param's SNAPSHOT entry takes beside address and value, in a snapshot of its own: type byte, count, two
    # lengths, type, revision, option byte, writer (36 characters), timestamp (wire.md 2.3).
    SNAPSHOT_OVERHEAD = 3 + 2 + 1 + 8 + 1 + 2 + 36 + 8


cdef enum:
    # In Entry.stored_type: the value is what an MQTT payload means (`Table.value`), which stands in its place, or in
    # `kept`.
    UNREAD = 0xFE
    UNREAD_KEPT = 0xFF

# The retained MQTT message of an address, where the value alone would not give its bytes back, or where the value is of
# a later message that was not retained.
cdef struct Kept:
    uint32_t capacity
    uint32_t properties_size
    uint32_t payload_size
    uint8_t data[1]         # properties, then payload


cdef struct Entry:
    uint64_t revision       # 0: no param here, only a cached route for publishes or (with a version) a tombstone
    uint64_t hlc            # the version (state.pxd); 0: none
    uint64_t rank
    uint64_t seq            # the table's change counter at the last write
    uint64_t written_us     # Unix microseconds of the last write
    uint64_t deadline_ms    # monotonic; 0 = never expires
    void* fan               # Fanout of the current or an older generation; owned reference
    uint64_t fan_generation
    Kept* kept              # or NULL; owned
    uint32_t id
    uint32_t hash
    uint32_t writer         # index into the writers' table
    uint32_t lock_holder    # the same, 0 = not locked
    uint32_t gate_writer    # who passed the gate here last
    uint32_t gate_generation
    uint32_t ttl            # the wire's word, or TTL_DEFAULT
    uint32_t stored_size    # the three are the table's alone: what the param's value is, `Table.value` says
    uint32_t capacity       # bytes available for what is stored
    uint16_t address_size
    uint16_t bucket         # of digests: the same for an address at every router
    uint8_t stored_type     # as in wire.md 2.2, UNREAD or UNREAD_KEPT
    uint8_t strategy
    uint8_t route
    uint8_t journal         # bits JOURNAL_...
    uint8_t qos             # MQTT quality of service the retained message was published with
    uint8_t unretained      # the value came as an MQTT message without the retain flag: `kept` alone is retained
    uint8_t mqtt_event      # MQTT_EVENT_...
    uint8_t data[1]         # address, then what is stored: the value without its type byte, or a payload


cdef inline uint8_t* entry_address(Entry* entry) noexcept nogil:
    return &entry.data[0]


cdef inline uint8_t* stored_bytes(Entry* entry) noexcept nogil:
    return &entry.data[0] + entry.address_size


cdef struct Value:
    const uint8_t* data     # after its type byte; good until the next value is asked for, or something is stored
    uint32_t size
    int type                # wire.md 2.2


cdef inline size_t value_room(size_t address_size) noexcept nogil:
    """The largest value that a param with such an address can have, in bytes; the address has at most
    LARGEST_VALUE - SNAPSHOT_OVERHEAD."""
    return LARGEST_VALUE - SNAPSHOT_OVERHEAD - address_size
