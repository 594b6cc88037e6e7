"""The bytes of an outgoing PUBLISH, and messages that have to wait (MQTT 5.0, 3.3; 3.1.1, 3.3).

Knows no session: what a message is sent with (quality, alias, identifiers) is the caller's business.
"""

from libc.stdlib cimport free, malloc
from libc.string cimport memcpy

from clasp_edge.dataplane.bytes cimport put16, put32, put64
from clasp_edge.dataplane.sink cimport NO_EXPIRY
from clasp_edge.devices.mqtt.varint cimport put_varint, varint_size


cdef size_t publish_image(uint8_t* target, size_t room, const Content* content, int version, int flags,
                          uint16_t packet_id, uint16_t alias, bint alias_only, const uint8_t* extra, size_t extra_size,
                          size_t* id_at, bint head_only) noexcept:
    """Write a PUBLISH packet; returns its size, 0 if it is larger than `room`. `flags` are the lower bits of its
    first byte; `packet_id` 0 leaves it out; `id_at` gets where it is. `head_only`: all but the payload is written, and
    the size is that of what is written."""
    cdef size_t topic_size = 0 if alias_only else content.topic_size
    cdef size_t properties_size = 0
    cdef size_t remaining = 2 + topic_size + content.payload_size + (2 if packet_id else 0)
    cdef uint8_t* p = target
    if version == V5:
        properties_size = content.properties_size + extra_size
        if content.expiry_s != NO_EXPIRY:
            properties_size += 5
        if alias:
            properties_size += 3
        remaining += varint_size(properties_size) + properties_size
    if remaining + 5 > room:
        return 0
    p[0] = 0x30 | <uint8_t>flags
    p = put_varint(p + 1, remaining)
    put16(p, <uint16_t>topic_size)
    memcpy(p + 2, content.topic, topic_size)
    p += 2 + topic_size
    if packet_id:
        id_at[0] = p - target
        put16(p, packet_id)
        p += 2
    if version == V5:
        p = put_varint(p, properties_size)
        if content.expiry_s != NO_EXPIRY:
            p[0] = 0x02
            put32(p + 1, content.expiry_s)
            p += 5
        if alias:
            p[0] = 0x23
            put16(p + 1, alias)
            p += 3
        if content.properties_size:
            memcpy(p, content.properties, content.properties_size)
        p += content.properties_size
        if extra_size:
            memcpy(p, extra, extra_size)
            p += extra_size
    if head_only:
        return p - target
    if content.payload_size:
        memcpy(p, content.payload, content.payload_size)
    return p + content.payload_size - target


cdef uint8_t* websocket_header(uint8_t* packet, size_t size) noexcept nogil:
    """Put the header of a binary WebSocket message before the packet; returns where it starts."""
    cdef uint8_t* start
    if size < 126:
        start = packet - 2
        start[1] = <uint8_t>size
    elif size < 65536:
        start = packet - 4
        start[1] = 126
        put16(start + 2, <uint16_t>size)
    else:
        start = packet - 10
        start[1] = 127
        put64(start + 2, size)
    start[0] = 0x82
    return start


cdef Stored* store(const Content* content, uint64_t now_us) noexcept:
    """A copy that outlives the read buffer, with one reference; NULL without memory."""
    cdef Stored* stored = <Stored*>malloc(sizeof(Stored) + content.topic_size + content.properties_size
                                          + content.payload_size)
    cdef uint8_t* p
    if stored == NULL:
        return NULL
    stored.references = 1
    stored.topic_size = <uint32_t>content.topic_size
    stored.properties_size = <uint32_t>content.properties_size
    stored.payload_size = <uint32_t>content.payload_size
    stored.stored_us = now_us
    stored.expiry_s = content.expiry_s
    p = &stored.data[0]
    memcpy(p, content.topic, content.topic_size)
    p += content.topic_size
    if content.properties_size:
        memcpy(p, content.properties, content.properties_size)
    p += content.properties_size
    if content.payload_size:
        memcpy(p, content.payload, content.payload_size)
    return stored


cdef void unstore(Stored* stored) noexcept:
    stored.references -= 1
    if stored.references == 0:
        free(stored)


cdef bint content_of(const Stored* stored, uint64_t now_us, Content* content) noexcept:
    """The message as it is now; False when its time is over [MQTT-3.3.2-5]."""
    cdef uint64_t waited_s
    content.topic = &stored.data[0]
    content.topic_size = stored.topic_size
    content.properties = content.topic + stored.topic_size
    content.properties_size = stored.properties_size
    content.payload = content.properties + stored.properties_size
    content.payload_size = stored.payload_size
    content.expiry_s = stored.expiry_s
    if stored.expiry_s != NO_EXPIRY:
        waited_s = (now_us - stored.stored_us) // 1000000
        if waited_s >= stored.expiry_s:
            return False
        content.expiry_s -= <uint32_t>waited_s          # [MQTT-3.3.2-6]
    return True
