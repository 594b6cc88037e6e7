"""The properties of an MQTT PUBLISH (5.0, 3.3.2.3): what a client may send, and of that what is passed on.

Knows no packet around them: what a peer router passes on is checked here as well, for it reaches MQTT clients as it is.
"""

from libc.stdint cimport uint64_t
from libc.string cimport memchr, memmove

from clasp_edge.dataplane.bytes cimport get16, get32
from clasp_edge.dataplane.scan cimport utf8_valid
from clasp_edge.dataplane.sink cimport NO_EXPIRY

# Reason codes (5.0, 2.4).
cdef enum:
    MALFORMED_PACKET = 0x81
    PROTOCOL_ERROR = 0x82
    TOPIC_NAME_INVALID = 0x90
    TOPIC_ALIAS_INVALID = 0x94

# Identifiers (5.0, 2.2.2.2).
cdef enum:
    PAYLOAD_FORMAT = 0x01
    EXPIRY = 0x02
    CONTENT_TYPE = 0x03
    RESPONSE_TOPIC = 0x08
    CORRELATION_DATA = 0x09
    TOPIC_ALIAS = 0x23
    USER_PROPERTY = 0x26
    LAST_IDENTIFIER = 0x2A


cdef int read_properties(const uint8_t* p, size_t size, uint8_t* kept, size_t* kept_size, uint32_t* expiry_s,
                         uint16_t* alias) noexcept nogil:
    """Check the properties of a PUBLISH and gather those that are passed on at `kept` (room for `size` bytes)
    [MQTT-3.3.2-4, -15 to -18]; 0 or a reason. `expiry_s` and `alias` are left alone where there is none."""
    cdef const uint8_t* end = p + size
    cdef uint8_t* target = kept
    cdef uint64_t seen = 0
    cdef size_t length
    cdef size_t first = 0
    cdef int id
    while p < end:
        id = p[0]
        if id > LAST_IDENTIFIER:
            return MALFORMED_PACKET
        if id == PAYLOAD_FORMAT:
            length = 2
        elif id == EXPIRY:
            length = 5
        elif id == TOPIC_ALIAS:
            length = 3
        elif id == CONTENT_TYPE or id == RESPONSE_TOPIC or id == CORRELATION_DATA or id == USER_PROPERTY:
            if end - p < 3:
                return MALFORMED_PACKET
            length = 3 + <size_t>get16(p + 1)
            if id == USER_PROPERTY:
                first = length
                if <size_t>(end - p) < first + 2:
                    return MALFORMED_PACKET
                length += 2 + <size_t>get16(p + first)
        else:
            return PROTOCOL_ERROR           # of another packet, or the server's to set (0x0B)
        if <size_t>(end - p) < length:
            return MALFORMED_PACKET
        if id == USER_PROPERTY:
            if not _text(p + 3, first - 3) or not _text(p + first + 2, length - first - 2):
                return MALFORMED_PACKET
        else:
            if seen & (<uint64_t>1 << id):
                return PROTOCOL_ERROR
            seen |= <uint64_t>1 << id
            if id == PAYLOAD_FORMAT and p[1] > 1:
                return PROTOCOL_ERROR
            if (id == CONTENT_TYPE or id == RESPONSE_TOPIC) and not _text(p + 3, length - 3):
                return MALFORMED_PACKET
            if id == RESPONSE_TOPIC and (
                    memchr(p + 3, 0x23, length - 3) != NULL or memchr(p + 3, 0x2B, length - 3) != NULL):
                return TOPIC_NAME_INVALID   # [MQTT-3.3.2-14]
        if id == EXPIRY:
            expiry_s[0] = get32(p + 1)
            if expiry_s[0] == NO_EXPIRY:
                expiry_s[0] = NO_EXPIRY - 1
        elif id == TOPIC_ALIAS:
            alias[0] = get16(p + 1)
            if alias[0] == 0:
                return TOPIC_ALIAS_INVALID
        else:
            memmove(target, p, length)
            target += length
        p += length
    kept_size[0] = <size_t>(target - kept)
    return 0


cdef bint _text(const uint8_t* p, size_t size) noexcept nogil:
    return utf8_valid(p, size) and (size == 0 or memchr(p, 0, size) == NULL)
