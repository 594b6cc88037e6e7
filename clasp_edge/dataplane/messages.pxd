"""SET and PUBLISH payloads taken apart (wire.md 2.3): what is not wholly there is a fault, and nothing else is read.

The one reader of both layouts in compiled code: for what clients send, what other routers send, what the log holds and
what is told on. Inline, because it is the hot path.
"""

from libc.stddef cimport size_t
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

from clasp_edge.dataplane.bytes cimport get16
from clasp_edge.dataplane.cursor cimport Cursor, cursor_over, left, read8, read16, read32, read64, take
from clasp_edge.dataplane.scan cimport TRUNCATED, utf8_valid, value_size
from clasp_edge.dataplane.sink cimport BOUNDED, OLDEST_FIRST, Raw

cdef enum:
    PUBLISH = 0x20
    SET = 0x21
    FRAME_HEAD = 4              # bytes before the payload of a frame that we make: magic, flags, size
    FRAME_MAGIC = 0x53
    FRAME_TIMESTAMPED = 0x20    # in a frame's flags
    SET_REVISION = 0x80         # in the flags of a SET
    SET_LOCK = 0x40
    SET_UNLOCK = 0x20
    SET_TTL = 0x10
    PUBLISH_TIMESTAMP = 0x10    # in the flags of a PUBLISH
    PUBLISH_ID = 0x08
    SIGNAL_PARAM = 0            # wire.md 5.1
    SIGNAL_EVENT = 1
    SIGNAL_STREAM = 2
    SIGNAL_GESTURE = 3
    LAST_SIGNAL = 4
    LAST_PHASE = 3
    READ_PHASE_MOVE = 1


cdef struct Write:              # a SET, from whatever source
    const uint8_t* address
    size_t address_size
    uint32_t hash               # of the address (Table.hash_of)
    const uint8_t* value        # without the type byte
    size_t value_size
    uint64_t expected           # if flags & 0x80
    uint32_t ttl                # if flags & 0x10
    Raw* raw                    # as an MQTT client published it, or NULL
    uint8_t flags               # of the SET message (wire.md 2.3), value type in bits 3-0
    size_t size                 # of the payload without what is left over behind it
    bint quiet                  # the same value once more is no news
    uint64_t hlc                # its version, from another router (state.pxd); 0: it gets one here
    uint64_t rank


cdef struct Published:          # a PUBLISH
    const uint8_t* address
    size_t address_size
    const uint8_t* value        # without the type byte; NULL: it has samples, or nothing
    size_t value_size
    int value_type
    size_t size                 # of the payload without what is left over behind it
    int flags                   # unknown signals and phases replaced
    int signal
    int phase
    uint32_t gesture_id
    int loss                    # outbox.Loss


cdef inline int read_set(const uint8_t* payload, size_t size, Write* write) noexcept nogil:
    """0, or a `scan.Fault`. `hash` and `raw` are left to the caller, who has looked at the first byte."""
    cdef Cursor cursor = cursor_over(payload, size)
    cdef const uint8_t* head = take(&cursor, 4)     # type, flags, size of the address
    cdef Py_ssize_t used
    write.value = NULL
    write.value_size = 0
    write.expected = 0
    write.ttl = 0
    write.quiet = False
    write.hlc = write.rank = 0
    if head == NULL:
        return TRUNCATED
    write.flags = head[1]
    write.address_size = get16(head + 2)
    write.address = take(&cursor, write.address_size)
    if write.address == NULL:
        return TRUNCATED
    used = value_size(write.flags & 0x0F, cursor.at, left(&cursor), 0)
    if used < 0:
        return <int>used
    write.value = take(&cursor, <size_t>used)
    write.value_size = <size_t>used
    if write.flags & SET_REVISION and not read64(&cursor, &write.expected):
        return TRUNCATED
    if write.flags & SET_TTL and not read32(&cursor, &write.ttl):
        return TRUNCATED
    write.size = <size_t>(cursor.at - payload)
    return 0


cdef inline bint read_version(const uint8_t* payload, size_t size, Write* write) noexcept nogil:
    """After `read_set`: the version behind the SET of a router that knows them. False where there is none. The revision
    that such a SET has is the hlc of the state that it is a change of, and of no other; lock and unlock say whether
    somebody has the param locked there."""
    cdef Cursor cursor = cursor_over(payload, size)
    if take(&cursor, write.size) == NULL or not read64(&cursor, &write.rank) or not read64(&cursor, &write.hlc):
        write.hlc = write.rank = 0
        return False
    return True


cdef inline int read_publish(const uint8_t* payload, size_t size, Published* message) noexcept nogil:
    """0, or a `scan.Fault`. The caller has looked at the first byte. Signals and phases that nobody knows read as event
    and start; the rate is recognised by being there, and fewer bytes than it has are left over (wire.md 2.3)."""
    cdef Cursor cursor = cursor_over(payload, size)
    cdef const uint8_t* head = take(&cursor, 4)     # type, flags, size of the address
    cdef uint16_t count
    cdef uint8_t flags, indicator, value_type
    cdef Py_ssize_t used
    message.size = 0
    message.signal = 0
    if head == NULL:
        return TRUNCATED
    flags = head[1]
    message.address_size = get16(head + 2)
    message.address = take(&cursor, message.address_size)
    if message.address == NULL:
        return TRUNCATED
    message.value = NULL
    message.value_size = 0
    message.value_type = 0
    message.gesture_id = 0
    if not read8(&cursor, &indicator):
        return TRUNCATED
    if indicator == 1:
        if not read8(&cursor, &value_type):
            return TRUNCATED
        used = value_size(value_type, cursor.at, left(&cursor), 0)
        if used < 0:
            return <int>used
        message.value_type = value_type
        message.value = take(&cursor, <size_t>used)
        message.value_size = <size_t>used
    elif indicator == 2:
        if not read16(&cursor, &count) or take(&cursor, 8 * <size_t>count) == NULL:
            return TRUNCATED
    if flags & PUBLISH_TIMESTAMP and take(&cursor, 8) == NULL:
        return TRUNCATED
    if flags & PUBLISH_ID and not read32(&cursor, &message.gesture_id):
        return TRUNCATED
    take(&cursor, 4)
    message.size = <size_t>(cursor.at - payload)
    message.signal = flags >> 5 if flags >> 5 <= LAST_SIGNAL else SIGNAL_EVENT
    message.phase = flags & 0x07 if flags & 0x07 <= LAST_PHASE else 0
    message.flags = (message.signal << 5) | (flags & 0x18) | message.phase
    message.loss = BOUNDED
    if message.signal == SIGNAL_STREAM or (
            message.signal == SIGNAL_GESTURE and message.phase == READ_PHASE_MOVE):
        message.loss = OLDEST_FIRST
    return 0


cdef inline const uint8_t* framed_payload(const uint8_t* frame, size_t room, size_t* size) noexcept nogil:
    """The payload of a frame as this router makes them, without a timestamp, that lies in the first bytes of `room`;
    NULL where there is none. What comes after it is not looked at."""
    cdef Cursor cursor = cursor_over(frame, room)
    cdef const uint8_t* head = take(&cursor, FRAME_HEAD)
    if head == NULL or head[0] != FRAME_MAGIC or head[1] & FRAME_TIMESTAMPED:
        return NULL
    size[0] = get16(head + 2)
    return take(&cursor, size[0]) if size[0] else NULL


cdef inline bint is_logged(const uint8_t* frame, size_t room, int signal, size_t* size) noexcept nogil:
    """Whether a frame that can be a record's lies in the first bytes of `room`: of a SET where the signal is that of
    params, else of a PUBLISH of that signal, and of nothing else. `size` gets the frame's.

    A record is read by many, who tell it to clients, to other routers, to MQTT sessions: what is not so is nobody's."""
    cdef size_t payload_size
    cdef const uint8_t* payload = framed_payload(frame, room, &payload_size)
    cdef Write write
    cdef Published message
    if payload == NULL:
        return False
    size[0] = FRAME_HEAD + payload_size
    if signal == 0:
        return (payload[0] == SET and read_set(payload, payload_size, &write) == 0
                and utf8_valid(write.address, write.address_size))
    return (payload[0] == PUBLISH and read_publish(payload, payload_size, &message) == 0 and message.signal == signal
            and utf8_valid(message.address, message.address_size))
