"""What another router says of the SET or PUBLISH that it sends next, where that is a message of MQTT: whether it is
retained, its quality of service and expiry, its properties and its own bytes (docs/federation.md, "MQTT").

The payload of the first frame, all numbers big endian: u8 0x04 (FEDERATION_SYNC), u8 0x49, u8 flags (0x01 retained,
0x02 bytes follow, 0x04 state; quality of service in bits 7-6), u32 expiry in seconds or 0xFFFFFFFF, u32 size of the
properties, u32 size of the payload, then properties and payload. What does not fit follows in more frames: u8 0x04,
u8 0x49, bytes.

Without bytes, the payload is what the value prints as. "State" tells a param as it is: it is not retained, and the
bytes are those of the message that is retained at its address beside it; without bytes there is none.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.stdint cimport uint16_t
from libc.stdlib cimport free, realloc
from libc.string cimport memcpy

from clasp_edge.dataplane.account cimport FEDERATION
from clasp_edge.dataplane.bytes cimport get32, put16, put32
from clasp_edge.dataplane.mqtt_message cimport new_raw
from clasp_edge.dataplane.mqtt_properties cimport read_properties
from clasp_edge.dataplane.payload cimport PRINTED_BYTES, print_value
from clasp_edge.dataplane.sink cimport NO_EXPIRY
from clasp_edge.dataplane.table cimport TTL_ABSOLUTE, TTL_DEFAULT

cdef enum:
    RETAINED = 0x01
    HAS_BYTES = 0x02
    STATE = 0x04
    QOS_SHIFT = 6
    LARGEST_QOS = 2
    CLASP_QOS = 1               # of what CLASP clients set (router.md 9.2)

cdef enum:
    FRAME_HEAD = 4
    FIRST_BYTES = 15            # of the first frame's payload before what it carries
    MORE_BYTES = 2              # of those of the others
    LARGEST_PAYLOAD = 65535
    LARGEST_MESSAGE = (1 << 24) + 65536     # of mqtt.max_packet_kib
    FREE_BYTES = 4096           # that each link may hold without being charged for it

# For all links: what is printed is used up before the next frame is looked at.
cdef uint8_t _printed[PRINTED_BYTES]


cdef bytes details_frames(int flags, int qos, uint32_t expiry_s, const uint8_t* properties, size_t properties_size,
                          const uint8_t* payload, size_t payload_size):
    """The frames, one behind the other."""
    cdef size_t total = properties_size + payload_size if flags & HAS_BYTES else 0
    cdef size_t first = LARGEST_PAYLOAD - FIRST_BYTES
    cdef size_t most = LARGEST_PAYLOAD - MORE_BYTES
    cdef size_t rest = total - first if total > first else 0
    cdef size_t more = (rest + most - 1) // most
    cdef size_t size, part
    cdef size_t done = 0
    cdef uint8_t* p
    size = FRAME_HEAD + FIRST_BYTES + total + more * (FRAME_HEAD + MORE_BYTES)
    frames = PyBytes_FromStringAndSize(NULL, size)
    p = <uint8_t*>PyBytes_AS_STRING(frames)
    part = total - rest
    put_head(p, FIRST_BYTES + part)
    p[6] = <uint8_t>(flags | (qos << QOS_SHIFT))
    put32(p + 7, expiry_s)
    put32(p + 11, <uint32_t>properties_size if flags & HAS_BYTES else 0)
    put32(p + 15, <uint32_t>payload_size if flags & HAS_BYTES else 0)
    p += FRAME_HEAD + FIRST_BYTES
    while True:
        p = put_part(p, done, part, properties, properties_size, payload)
        done += part
        if done == total:
            return frames
        part = total - done if total - done < most else most
        put_head(p, MORE_BYTES + part)
        p += FRAME_HEAD + MORE_BYTES


cdef inline void put_head(uint8_t* p, size_t size) noexcept nogil:
    p[0] = 0x53
    p[1] = 0x01
    put16(p + 2, <uint16_t>size)
    p[4] = FEDERATION_SYNC
    p[5] = MQTT_DETAILS


cdef inline uint8_t* put_part(uint8_t* p, size_t begin, size_t size, const uint8_t* properties, size_t properties_size,
                              const uint8_t* payload) noexcept nogil:
    """Bytes `begin` to `begin + size` of properties and payload together; where they end."""
    cdef size_t of_properties = 0
    if begin < properties_size:
        of_properties = properties_size - begin if properties_size - begin < size else size
        memcpy(p, properties + begin, of_properties)
    if size > of_properties:
        memcpy(p + of_properties, payload + (begin + of_properties - properties_size), size - of_properties)
    return p + size


cdef bytes details_of_raw(const Raw* raw):
    """What goes before a write that came by MQTT; b"" where the write tells it all."""
    if raw.exact:
        if raw.retain and raw.qos == CLASP_QOS and raw.expiry_s == NO_EXPIRY:
            return b""
        return details_frames(RETAINED if raw.retain else 0, raw.qos, raw.expiry_s, NULL, 0, NULL, 0)
    return details_frames((RETAINED if raw.retain else 0) | HAS_BYTES, raw.qos, raw.expiry_s, raw.properties,
                          raw.properties_size, raw.payload, raw.payload_size)


cdef bytes details_of_entry(Entry* entry, uint64_t now_ms):
    """What goes before a SET that tells a param as it is now."""
    cdef uint32_t expiry_s = NO_EXPIRY
    cdef int flags = STATE if entry.unretained else RETAINED
    if entry.ttl != TTL_DEFAULT and entry.ttl & TTL_ABSOLUTE and entry.deadline_ms > now_ms:
        expiry_s = <uint32_t>((entry.deadline_ms - now_ms + 999) // 1000)
    if entry.kept != NULL:
        return details_frames(flags | HAS_BYTES, entry.qos, expiry_s, &entry.kept.data[0], entry.kept.properties_size,
                              &entry.kept.data[0] + entry.kept.properties_size, entry.kept.payload_size)
    if not entry.unretained and entry.qos == CLASP_QOS and expiry_s == NO_EXPIRY:
        return b""
    return details_frames(flags, entry.qos, expiry_s, NULL, 0, NULL, 0)


def logged_details(bytes properties not None, payload, uint32_t expiry_s, int qos, bint retain):
    """As `details_of_raw`, of a record of the log; `payload` None: as the value prints."""
    cdef Raw raw
    cdef bytes own = payload if payload is not None else b""
    new_raw(&raw, <const uint8_t*><char*>own, len(own), <const uint8_t*><char*>properties, len(properties), expiry_s,
            qos, retain)
    raw.exact = payload is None and len(properties) == 0
    return details_of_raw(&raw)


cdef class MqttDetails:
    """`MqttDetails(holding)`: of one peer. Each frame is given to `take`; the write that follows asks for them, and
    then they are `done`. Bytes beyond what a small message has are charged to `holding`, if there is one."""

    def __cinit__(self, Holding holding):
        self.holding = holding

    def __dealloc__(self):
        free(self.data)

    def take_payload(self, bytes payload not None):
        """`take` of a whole payload. Raises ValueError for what is none."""
        if not self.take(<const uint8_t*><char*>payload, len(payload)):
            raise ValueError("what is said of an MQTT message cannot be read")

    cdef bint take(self, const uint8_t* payload, size_t size) noexcept:
        """One frame's payload. False for one that cannot be read; then nothing is said of the next write."""
        cdef size_t at = MORE_BYTES
        if self.skipping:
            return True
        if not self.partial:
            self.done()
            if size < FIRST_BYTES or payload[2] >> QOS_SHIFT > LARGEST_QOS:
                return False
            self.flags = payload[2]
            self.expiry_s = get32(payload + 3)
            self.properties_size = get32(payload + 7)
            self.payload_size = get32(payload + 11)
            if self.properties_size + self.payload_size > LARGEST_MESSAGE:
                return False
            at = FIRST_BYTES
            self.pending = True
        if size - at > self.properties_size + self.payload_size - self.received or not self._append(
                payload + at, size - at):
            self.done()
            return False
        self.partial = self.received < self.properties_size + self.payload_size
        if self.partial or self.lost:
            return True
        if not self._properties_valid():
            self.done()
            return False
        return True

    cdef bint _append(self, const uint8_t* data, size_t size) noexcept:
        cdef size_t needed = self.received + size
        cdef uint8_t* grown
        if not size:
            return True
        if not self.lost and needed > self.room:
            if needed > FREE_BYTES and self.holding is not None and not self.holding.charge(
                    needed - (self.room if self.room > FREE_BYTES else FREE_BYTES), FEDERATION):
                self.lost = True
            else:
                grown = <uint8_t*>realloc(self.data, needed)
                if grown == NULL:
                    self.lost = True
                    if needed > FREE_BYTES and self.holding is not None:
                        self.holding.release(needed - (self.room if self.room > FREE_BYTES else FREE_BYTES), FEDERATION)
                else:
                    self.data = grown
                    self.room = needed
        if not self.lost:
            memcpy(self.data + self.received, data, size)
        self.received = needed
        return True

    cdef bint _properties_valid(self) noexcept:
        """Whether MQTT clients may be sent them."""
        cdef size_t kept_size = 0
        cdef uint32_t expiry_s = 0
        cdef uint16_t alias = 0
        if not self.properties_size:
            return True
        # In place: what is passed on is never longer than what was read.
        if read_properties(self.data, self.properties_size, self.data, &kept_size, &expiry_s, &alias):
            return False
        return kept_size == self.properties_size

    cdef Raw* of_write(self, const Write* write) noexcept:
        """The message that a SET is; NULL where nothing is known of it."""
        cdef const uint8_t* text
        cdef Py_ssize_t size
        if self.partial:
            return NULL
        if self.flags & HAS_BYTES and not self.flags & STATE and not self.lost:
            return self.of_event()
        size = print_value(write.flags & 0x0F, write.value, write.value_size, _printed, PRINTED_BYTES, &text)
        if size < 0:
            return NULL
        new_raw(&self.raw, text, <size_t>size, text, 0, self.expiry_s, self.flags >> QOS_SHIFT,
                self.flags & RETAINED and not self.flags & STATE)
        self.raw.exact = True
        return &self.raw

    cdef Raw* of_event(self) noexcept:
        """The message that a PUBLISH is; NULL where its bytes are not known."""
        if self.partial or self.lost or not self.flags & HAS_BYTES:
            return NULL
        new_raw(&self.raw, self.data + self.properties_size, self.payload_size, self.data, self.properties_size,
                self.expiry_s, self.flags >> QOS_SHIFT, self.flags & RETAINED)
        return &self.raw

    cdef void applied(self, Plane plane, const Write* write) noexcept:
        """The SET was accepted: what is retained beside a param that is not."""
        cdef Entry* entry
        cdef Raw retained
        if not self.flags & STATE or self.partial or self.lost:
            return
        entry = plane.table.find(write.address, write.address_size, write.hash)
        if entry == NULL or not entry.unretained:
            return
        if self.flags & HAS_BYTES:
            new_raw(&retained, self.data + self.properties_size, self.payload_size, self.data, self.properties_size,
                    NO_EXPIRY, 0, True)
            if not plane.table.keep(entry, &retained):
                return
            entry.qos = <uint8_t>(self.flags >> QOS_SHIFT)
        elif entry.kept != NULL:
            plane.table.drop_kept(entry)
        if plane.journal_buffer is not None:
            plane.journal_buffer.prolonged(entry)

    cdef void skip(self) noexcept:
        """A frame was dropped for the peer's rate, of this or the write itself: nothing is said of any, until the next
        write has come."""
        self.done()
        self.skipping = True

    cpdef void done(self) noexcept:
        """The write has come: nothing is said of the next one."""
        self.pending = self.partial = self.lost = self.skipping = False
        self.flags = 0
        self.received = self.properties_size = self.payload_size = 0
        if self.room > FREE_BYTES:
            if self.holding is not None:
                self.holding.release(self.room - FREE_BYTES, FEDERATION)
            free(self.data)
            self.data = NULL
            self.room = 0
