from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.stddef cimport size_t

cdef enum:
    IMAGE_HEADROOM = 16         # for a WebSocket header before a packet
    PACKET_OVERHEAD = 70000     # topic, identifiers and lengths beside payload and properties
    V5 = 5

cdef struct Content:            # a message, wherever its parts lie
    const uint8_t* topic
    size_t topic_size
    const uint8_t* properties   # encoded, without expiry, alias and subscription identifiers
    size_t properties_size
    const uint8_t* payload
    size_t payload_size
    uint32_t expiry_s           # or NO_EXPIRY


cdef struct Stored:             # a message that waits; shared by the sessions it waits for
    uint32_t references
    uint32_t topic_size
    uint32_t properties_size
    uint32_t payload_size
    uint64_t stored_us          # monotonic
    uint32_t expiry_s
    uint8_t data[1]             # topic, properties, payload


cdef inline size_t stored_size(const Stored* stored) noexcept nogil:
    return sizeof(Stored) + stored.topic_size + stored.properties_size + stored.payload_size


cdef Stored* store(const Content* content, uint64_t now_us) noexcept
cdef void unstore(Stored* stored) noexcept
cdef bint content_of(const Stored* stored, uint64_t now_us, Content* content) noexcept

cdef size_t publish_image(uint8_t* target, size_t room, const Content* content, int version, int flags,
                          uint16_t packet_id, uint16_t alias, bint alias_only, const uint8_t* extra,
                          size_t extra_size, size_t* id_at, bint head_only) noexcept
cdef uint8_t* websocket_header(uint8_t* packet, size_t size) noexcept nogil
