from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

cdef struct Kept:           # the bytes an MQTT client published, where the value alone would not give them back
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
    uint32_t value_size     # without its type byte
    uint32_t capacity       # bytes available for the value
    uint16_t address_size
    uint16_t bucket         # of digests: the same for an address at every router
    uint8_t value_type
    uint8_t strategy
    uint8_t route
    uint8_t journal         # bits JOURNAL_...
    uint8_t qos             # MQTT quality of service the value was published with
    uint8_t data[1]         # address, then value


cdef inline uint8_t* entry_address(Entry* entry) noexcept nogil:
    return &entry.data[0]


cdef inline uint8_t* entry_value(Entry* entry) noexcept nogil:
    return &entry.data[0] + entry.address_size
