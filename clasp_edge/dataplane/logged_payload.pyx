"""What the log has of an MQTT message whose value nobody wanted: a frame in which the payload stands, as bytes.

Who reads the log makes of it the frame that would have been told, with the value that the payload means. Knows the
frames; where they lie, and how it is said that one is such a frame (`LOG_UNREAD`), is the affair of blocks.
"""

from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.string cimport memcpy

from clasp_edge.dataplane.blocks cimport LOG_UNREAD, LogRaw
from clasp_edge.dataplane.bytes cimport get16, put16, put32, put64
from clasp_edge.dataplane.entry cimport LARGEST_VALUE, SNAPSHOT_OVERHEAD, value_room
from clasp_edge.dataplane.messages cimport (
    PUBLISH,
    SET,
    SET_TTL,
    SIGNAL_EVENT,
    Published,
    Write,
    framed_payload,
    read_publish,
    read_set,
)
from clasp_edge.dataplane.payload cimport Typed, fit_payload, is_certain, put_event, put_set
from clasp_edge.dataplane.value_types cimport T_BYTES

cdef enum:
    SET_FIXED = 18              # bytes beside address, payload and ttl: two heads, size of the bytes, revision
    EVENT_FIXED = 12
    EVENT_ROOM = 65539          # of a whole frame, as of any event that came by MQTT
    FRAME_ROOM = 65600


cdef bint fits_log(const Raw* raw, size_t address_size, bint* exact) noexcept nogil:
    """Whether a message can stand in the log with its payload alone: whoever reads it will find a value. `exact` gets
    whether that gives the payload back."""
    if address_size + SNAPSHOT_OVERHEAD + 16 > LARGEST_VALUE:
        return False
    return (raw.payload_size + 2 <= value_room(address_size)
            and is_certain(raw.payload, raw.payload_size, value_room(address_size), exact))


cdef size_t logged_size(const Logged* logged) noexcept nogil:
    """Of the frame."""
    cdef size_t size = logged.address_size + logged.payload_size
    if not logged.is_set:
        return size + EVENT_FIXED
    return size + SET_FIXED + (4 if logged.flags & SET_TTL else 0)


cdef void put_logged(uint8_t* frame, const Logged* logged) noexcept nogil:
    """The frame, in `logged_size` bytes: a SET or PUBLISH as any other one, whose value has the type of bytes."""
    cdef uint8_t* p = frame + 8 + logged.address_size
    frame[0] = 0x53
    frame[1] = 0x41
    put16(frame + 2, <unsigned short>(logged_size(logged) - 4))
    frame[4] = SET if logged.is_set else PUBLISH
    frame[5] = <uint8_t>(0x80 | (logged.flags & 0x70) | T_BYTES) if logged.is_set else SIGNAL_EVENT << 5
    put16(frame + 6, <unsigned short>logged.address_size)
    memcpy(frame + 8, logged.address, logged.address_size)
    if not logged.is_set:
        p[0] = 1                # a single value follows
        p[1] = T_BYTES
        p += 2
    put16(p, <unsigned short>logged.payload_size)
    memcpy(p + 2, logged.payload, logged.payload_size)
    if logged.is_set:
        p += 2 + logged.payload_size
        put64(p, logged.revision)
        if logged.flags & SET_TTL:
            put32(p + 8, logged.ttl)


cdef bint is_unread(const uint8_t* behind, size_t size) noexcept nogil:
    """Whether what stands behind a frame in the log says that it is such a frame."""
    cdef LogRaw raw
    if size < sizeof(LogRaw):
        return False
    memcpy(&raw, behind, sizeof(LogRaw))
    return raw.exact & LOG_UNREAD != 0


cdef bint read_logged(const uint8_t* frame, size_t size, Logged* logged) noexcept nogil:
    """Take such a frame apart. False for one that is none."""
    cdef size_t payload_size
    cdef const uint8_t* payload = framed_payload(frame, size, &payload_size)
    cdef Write write
    cdef Published message
    if payload == NULL:
        return False
    logged.is_set = payload[0] == SET
    logged.revision = 0
    logged.ttl = 0
    logged.flags = 0
    if logged.is_set:
        if read_set(payload, payload_size, &write) != 0 or write.flags & 0x0F != T_BYTES:
            return False
        logged.address, logged.address_size = write.address, write.address_size
        logged.payload = write.value
        logged.revision = write.expected
        logged.ttl = write.ttl
        logged.flags = write.flags & 0x70
    else:
        if (payload[0] != PUBLISH or read_publish(payload, payload_size, &message) != 0 or message.value == NULL
                or message.value_type != T_BYTES or message.signal != SIGNAL_EVENT):
            return False
        logged.address, logged.address_size = message.address, message.address_size
        logged.payload = message.value
    logged.payload_size = get16(logged.payload)
    logged.payload += 2
    return logged.address_size + SNAPSHOT_OVERHEAD + 16 <= LARGEST_VALUE


cdef size_t put_meant(uint8_t* frame, const Logged* logged) noexcept:
    """The frame that tells what the payload means (there is room for the largest one); returns its size, 0 if there is
    none."""
    if logged.is_set:
        return put_set(frame, logged.address, logged.address_size, logged.payload, logged.payload_size,
                       logged.flags, logged.revision, logged.ttl)
    return put_event(frame, EVENT_ROOM, logged.address, logged.address_size, logged.payload, logged.payload_size)


def meant(bytes frame not None):
    """Of such a frame: `(the frame that tells what the payload means, payload, whether the value gives it back)`.
    Raises ValueError for one that is none."""
    cdef uint8_t made[FRAME_ROOM]
    cdef Logged logged
    cdef bint exact = False
    cdef size_t size = 0
    if read_logged(<const uint8_t*><char*>frame, len(frame), &logged):
        size = put_meant(made, &logged)
    if size == 0:
        raise ValueError("no payload that a value can be made of")
    if not is_certain(logged.payload, logged.payload_size, value_room(logged.address_size), &exact):
        exact = False
    return (PyBytes_FromStringAndSize(<const char*>made, size),
            PyBytes_FromStringAndSize(<const char*>logged.payload, logged.payload_size), bool(exact))


def meant_value(bytes address not None, bytes payload not None):
    """`(type, encoded value)` of a param there whose value is what the payload means. Raises ValueError where it has
    none."""
    cdef uint8_t made[LARGEST_VALUE]
    cdef Typed typed
    typed.size = -1
    if len(address) + SNAPSHOT_OVERHEAD + 16 <= LARGEST_VALUE:
        fit_payload(<const uint8_t*><char*>payload, len(payload), made, value_room(len(address)), &typed)
    if typed.size < 0:
        raise ValueError("no payload that a value can be made of")
    return typed.type, PyBytes_FromStringAndSize(<const char*>made, typed.size)
