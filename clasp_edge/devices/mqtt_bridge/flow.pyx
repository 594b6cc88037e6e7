"""The messages of a connection to a broker, both ways, compiled: PUBLISH and all acknowledgements (MQTT 5.0, 4.3).

Outlives the connection: what the broker has not acknowledged goes out again where it remembers the session. What the
broker sends is foreign: it is read with a cursor, and what breaks a rule ends the connection. Knows neither sockets
nor addresses.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.unicode cimport PyUnicode_DecodeUTF8
from libc.stddef cimport size_t
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memchr, memcmp, memcpy, memmove

from clasp_edge.dataplane.bytes cimport get16, put16
from clasp_edge.dataplane.cursor cimport Cursor, cursor_over, left, read16, take
from clasp_edge.dataplane.mqtt_properties cimport read_properties
from clasp_edge.dataplane.scan cimport utf8_valid
from clasp_edge.dataplane.sink cimport NO_EXPIRY
from clasp_edge.dataplane.view cimport View
from clasp_edge.devices.mqtt.packet_ids cimport PacketIds, add_id, drop_id, fill_ids, forget_ids, has_id
from clasp_edge.devices.mqtt.varint cimport put_varint, take_varint, varint_size

from collections import deque

from clasp_edge.devices.mqtt.codec.reason import MqttError, Reason
from clasp_edge.devices.mqtt_bridge.events import Arrived

cdef extern from "Python.h":
    const char* PyUnicode_AsUTF8AndSize(object text, Py_ssize_t* size) except NULL

cdef enum:
    PUBLISH = 3
    PUBACK = 4
    PUBREC = 5
    PUBREL = 6
    PUBCOMP = 7
    V5 = 5
    DUP = 8
    FAILURE = 0x80              # reason codes from here on refuse
    USER_PROPERTY = 0x26
    CONTENT_TYPE = 0x03
    LONGEST_NUMBER = 19         # digits of a version
    PACKET_IDS = 65535
    MOST_PACKET = 268435455     # the largest remaining length (1.5.5)
    MOST_VIAS = 256             # texts of daemons passed that are remembered as they were taken apart
    LONGEST_VIA = 1105          # of one that is remembered
    MOST_VIA = 17               # daemons that a message says it has passed: one more than it may have passed
    LONGEST_NAME = 64           # of each (envelope.MAX_ORIGIN)
    LARGEST_HEAD = 65544        # of a PUBLISH: type, length, topic and identifier

NAMED_SIGNALS = frozenset(("param", "event", "stream"))

MAX_PACKET_BYTES = 1024 * 1024
"""What is taken of a broker where nobody says otherwise."""


cdef inline bint _is(const uint8_t* text, size_t size, const char* other, size_t other_size) noexcept nogil:
    return size == other_size and memcmp(text, other, size) == 0


cdef class Flow:
    """`Flow(arrived, done, other, trouble)`, each called during `feed`: `arrived(Arrived)`, `done(record, refusal)`
    with a reason code or 0, `other(first byte, body)` for all other packets, `trouble(text)` for what is passed over: a
    topic that is none, or a message of more than `max_packet` bytes, which is acknowledged and read past."""

    cdef object arrived, done, other, trouble
    cdef readonly dict flying           # record by packet identifier, in the order of sending
    cdef object unsent                  # records of an earlier connection that the broker's window has no room for yet
    cdef list out
    cdef readonly size_t waiting        # bytes in `out`
    cdef PacketIds unreleased           # of QoS 2, whose PUBREL is to come
    cdef PacketIds foreign              # which the broker may hold for a QoS 2 of an earlier life
    cdef dict vias
    cdef size_t max_packet
    cdef size_t skipping                # bytes of a message that is too large, to be read past
    cdef int version
    cdef uint16_t last_id
    cdef readonly bint more             # `feed` has stopped before all whole packets were taken

    def __init__(self, arrived, done, other, trouble, size_t max_packet=MAX_PACKET_BYTES):
        self.max_packet = max_packet
        self.arrived = arrived
        self.done = done
        self.other = other
        self.trouble = trouble
        self.flying = {}
        self.unsent = deque()
        self.out = []
        self.vias = {}

    def __dealloc__(self):
        forget_ids(&self.unreleased)
        forget_ids(&self.foreign)

    # ---- connections ----

    def begin(self, bint mqtt5, bint resumed, size_t window, bint present=False):
        """A connection is there. `resumed`: the broker knows what was under way, `window` records of which go out
        again at once, else it is forgotten. `present`: it has a session of ours all the same, of an earlier life."""
        self.version = V5 if mqtt5 else 4
        self.out.clear()
        self.waiting = 0
        self.unsent.clear()
        self.more = False
        self.skipping = 0
        if not resumed:
            self.flying.clear()
            forget_ids(&self.unreleased)
            forget_ids(&self.foreign)
            if present and not fill_ids(&self.foreign):
                raise MemoryError
            return
        self.unsent.extend(self.flying)
        while self.unsent and window:
            window -= 1
            self._again()

    def lost(self):
        """The connection is gone."""
        self.out.clear()
        self.waiting = 0
        self.unsent.clear()

    cdef int _again(self) except -1:
        cdef object id = self.unsent.popleft()
        cdef object record = self.flying.get(id)
        cdef bytes packet
        if record is None:
            return 0
        packet = record.packet
        if packet is None:
            self._answer(PUBREL << 4 | 2, id)
            return 0
        packet = PyBytes_FromStringAndSize(PyBytes_AS_STRING(packet), PyBytes_GET_SIZE(packet))
        (<uint8_t*>PyBytes_AS_STRING(packet))[0] |= DUP
        if record.qos == 2:
            self._make_own(id)
        return self._put(packet)

    cdef int _make_own(self, uint16_t id) except -1:
        """Have the broker let go of an identifier that it may hold for a message of an earlier life, before one goes
        out under it: it would take that for the same message, or refuse it (5.0, 4.3.3). Again, as long as it has not
        answered: rather is that message heard twice than this one never."""
        if has_id(&self.foreign, id):
            self._answer(PUBREL << 4 | 2, id)
        return 0

    def take_output(self):
        """What is to be sent."""
        cdef list out = self.out
        if not out:
            return b""
        self.out = []
        self.waiting = 0
        return out[0] if len(out) == 1 else b"".join(out)

    cdef inline int _put(self, bytes packet) except -1:
        self.out.append(packet)
        self.waiting += PyBytes_GET_SIZE(packet)
        return 0

    cdef int _answer(self, int first, uint16_t id) except -1:
        cdef uint8_t[4] packet
        packet[0] = <uint8_t>first
        packet[1] = 2
        put16(packet + 2, id)
        return self._put(PyBytes_FromStringAndSize(<char*>packet, 4))

    # ---- what goes out ----

    def send(self, bytes packet not None):
        """Any other packet."""
        self._put(packet)

    def free_id(self):
        """A packet identifier that nothing under way has."""
        cdef int _tries
        for _tries in range(PACKET_IDS):
            self.last_id = self.last_id + 1 if self.last_id < PACKET_IDS else 1
            if self.last_id not in self.flying:
                return self.last_id
        raise ValueError("all packet identifiers are in use")

    def publish(self, record, str topic not None, bytes payload not None, int qos, bint retain,
                bytes properties not None):
        """A message; `done` follows where `qos` is not 0. `properties` are encoded, without their length; in 3.1.1 they
        are left out. Raises ValueError for what no packet can say."""
        cdef Py_ssize_t topic_size
        cdef const char* text = PyUnicode_AsUTF8AndSize(topic, &topic_size)
        cdef size_t properties_size = <size_t>PyBytes_GET_SIZE(properties)
        cdef size_t payload_size = <size_t>PyBytes_GET_SIZE(payload)
        cdef size_t remaining = 2 + <size_t>topic_size + payload_size + (2 if qos else 0)
        cdef uint16_t id = 0
        cdef bytes packet
        cdef uint8_t* p
        if topic_size > 65535:
            raise ValueError("the topic is longer than 65535 bytes")
        if self.version == V5:
            remaining += varint_size(properties_size) + properties_size
        if remaining > MOST_PACKET:
            raise ValueError("larger than any packet")
        if qos:
            id = self.free_id()
        packet = PyBytes_FromStringAndSize(NULL, 1 + varint_size(remaining) + remaining)
        p = <uint8_t*>PyBytes_AS_STRING(packet)
        p[0] = <uint8_t>(PUBLISH << 4 | qos << 1 | retain)
        p = put_varint(p + 1, remaining)
        put16(p, <uint16_t>topic_size)
        memcpy(p + 2, text, topic_size)
        p += 2 + topic_size
        if qos:
            put16(p, id)
            p += 2
        if self.version == V5:
            p = put_varint(p, properties_size)
            memcpy(p, PyBytes_AS_STRING(properties), properties_size)
            p += properties_size
        memcpy(p, PyBytes_AS_STRING(payload), payload_size)
        if qos:
            record.packet = packet
            self.flying[id] = record
            if qos == 2:
                self._make_own(id)
        self._put(packet)

    # ---- what comes in ----

    def feed(self, buffer, size_t filled, int most):
        """Take the whole packets among the first `filled` bytes, of messages and acknowledgements `most` (then `more`
        is set). Returns how many bytes that were, and how many the packet has that begins behind them, 0: not known.
        Raises MqttError."""
        cdef View view = View(buffer)
        cdef size_t at = 0
        cdef uint32_t remaining = 0
        cdef size_t total
        cdef Cursor cursor
        cdef int header
        if filled > view.size:
            raise ValueError("more bytes than the buffer has")
        self.more = False
        if self.skipping:
            at = self.skipping if self.skipping < filled else filled
            self.skipping -= at
        while filled - at >= 2:
            cursor = cursor_over(view.data + at + 1, filled - at - 1)
            header = take_varint(&cursor, &remaining)
            if header == 0:
                return at, 0
            if header < 0:
                raise MqttError(Reason.MALFORMED_PACKET, "the remaining length takes more than four bytes")
            total = <size_t>(cursor.at - (view.data + at)) + remaining
            if remaining > self.max_packet:
                if view.data[at] >> 4 != PUBLISH:
                    raise MqttError(Reason.PACKET_TOO_LARGE, f"the broker has sent a packet of {remaining} bytes")
                if not self._pass_over(view.data[at], &cursor):
                    return at, LARGEST_HEAD
                if total > filled - at:
                    self.skipping = total - (filled - at)
                    return filled, 0
                at += total
                continue
            if take(&cursor, remaining) == NULL:
                return at, total
            if most == 0:
                self.more = True
                return at, 0
            most -= 1
            self._packet(view.data[at], cursor.at - remaining, remaining)
            at += total
        return at, 0

    cdef int _pass_over(self, int first, Cursor* cursor) except -1:
        """The beginning of a message that is too large. False where not enough of it is there."""
        cdef uint16_t size = 0
        cdef uint16_t id = 0
        cdef int qos = first >> 1 & 3
        cdef const uint8_t* topic
        if not read16(cursor, &size):
            return False
        topic = take(cursor, size)
        if topic == NULL or (qos and not read16(cursor, &id)):
            return False
        if qos == 3 or (qos and id == 0):
            raise MqttError(Reason.MALFORMED_PACKET, "flags or identifier of PUBLISH")
        text = PyUnicode_DecodeUTF8(<const char*>topic, size, "replace")[:200]
        self.trouble(f"{text}: larger than is taken (mqtt.max_packet_kib)")
        if qos:
            if qos == 2:
                self._hold(id)
            self._answer((PUBACK if qos == 1 else PUBREC) << 4, id)
        return True

    cdef bint _hold(self, uint16_t id) except -1:
        """Whether this identifier of QoS 2 is held already; it is until its PUBREL comes."""
        if has_id(&self.unreleased, id):
            return True
        if not add_id(&self.unreleased, id):
            raise MemoryError
        return False

    cdef int _packet(self, int first, const uint8_t* body, size_t size) except -1:
        cdef int kind = first >> 4
        if kind == PUBLISH:
            return self._publish(first, body, size)
        if PUBACK <= kind <= PUBCOMP:
            return self._acknowledgement(first, body, size)
        self.other(first, PyBytes_FromStringAndSize(<const char*>body, size))
        return 0

    cdef int _acknowledgement(self, int first, const uint8_t* body, size_t size) except -1:
        cdef Cursor cursor = cursor_over(body, size)
        cdef const uint8_t* code
        cdef uint16_t id = 0
        cdef int kind = first >> 4
        cdef int reason = 0
        cdef int qos
        if first & 0x0F != (2 if kind == PUBREL else 0):
            raise MqttError(Reason.MALFORMED_PACKET, "flags of an acknowledgement")
        if not read16(&cursor, &id) or id == 0 or (self.version != V5 and left(&cursor)):
            raise MqttError(Reason.MALFORMED_PACKET, "an acknowledgement has no identifier, or more than that")
        code = take(&cursor, 1)         # properties behind it are for people
        if code != NULL:
            reason = code[0]
        if kind == PUBREL:
            drop_id(&self.unreleased, id)
            return self._answer(PUBCOMP << 4, id)
        record = self.flying.get(id)
        if record is None:
            # Of an earlier session; nobody waits for it.
            return self._answer(PUBREL << 4 | 2, id) if kind == PUBREC and reason < FAILURE else 0
        qos = record.qos
        if (kind == PUBACK) != (qos == 1):
            raise MqttError(Reason.PROTOCOL_ERROR, "an acknowledgement of another quality of service")
        if qos == 2 and drop_id(&self.foreign, id) and kind == PUBCOMP:
            return 0                    # of what an earlier life had under way (`_make_own`)
        if kind == PUBREC and reason < FAILURE:
            record.packet = None
            return self._answer(PUBREL << 4 | 2, id)
        del self.flying[id]
        record.packet = None
        if kind == PUBCOMP:
            reason = 0                  # "not found": it has been released before
        self.done(record, reason if reason >= FAILURE else 0)
        if self.unsent:
            self._again()
        return 0

    cdef int _publish(self, int first, const uint8_t* body, size_t size) except -1:
        cdef Cursor cursor = cursor_over(body, size)
        cdef int qos = first >> 1 & 3
        cdef uint16_t topic_size = 0
        cdef uint16_t id = 0
        cdef uint16_t alias = 0
        cdef uint32_t expiry_s = NO_EXPIRY
        cdef uint32_t properties_size = 0
        cdef const uint8_t* topic
        cdef const uint8_t* properties = NULL
        cdef bytes kept = b""
        cdef int reason
        cdef size_t kept_size = 0
        if qos == 3 or (first & DUP and not qos):
            raise MqttError(Reason.MALFORMED_PACKET, "flags of PUBLISH")
        if not read16(&cursor, &topic_size):
            raise MqttError(Reason.MALFORMED_PACKET, "the packet ends inside its topic")
        topic = take(&cursor, topic_size)
        if topic == NULL:
            raise MqttError(Reason.MALFORMED_PACKET, "the packet ends inside its topic")
        if qos and (not read16(&cursor, &id) or id == 0):
            raise MqttError(Reason.PROTOCOL_ERROR, "PUBLISH has no packet identifier")
        if self.version == V5:
            if take_varint(&cursor, &properties_size) <= 0:
                raise MqttError(Reason.MALFORMED_PACKET, "the packet ends inside its properties")
            properties = take(&cursor, properties_size)
            if properties == NULL:
                raise MqttError(Reason.MALFORMED_PACKET, "the packet ends inside its properties")
            if properties_size:
                kept = PyBytes_FromStringAndSize(NULL, properties_size)
                reason = read_properties(properties, properties_size, <uint8_t*>PyBytes_AS_STRING(kept), &kept_size,
                                         &expiry_s, &alias)
                if reason == 0 and alias:
                    reason = <int>Reason.TOPIC_ALIAS_INVALID       # none was allowed
                if reason:
                    raise MqttError(Reason(reason), "properties of PUBLISH")
        if qos == 2 and self._hold(id):
            return self._answer(PUBREC << 4, id)
        if (not topic_size or not utf8_valid(topic, topic_size) or memchr(topic, 0, topic_size) != NULL
                or memchr(topic, 0x23, topic_size) != NULL or memchr(topic, 0x2B, topic_size) != NULL):
            self.trouble("a topic that is none")
        else:
            self._hand_over(first, topic, topic_size, cursor.at, left(&cursor), kept, kept_size, expiry_s)
        if qos:
            self._answer((PUBACK if qos == 1 else PUBREC) << 4, id)
        return 0

    cdef int _hand_over(self, int first, const uint8_t* topic, size_t topic_size, const uint8_t* payload, size_t size,
                        bytes kept, size_t kept_size, uint32_t expiry_s) except -1:
        """What clasp-edge has put beside a message is read and taken away; the rest of `kept` is passed on."""
        cdef uint8_t* p
        cdef uint8_t* end
        cdef uint8_t* target
        cdef const uint8_t* value
        cdef size_t length, name_size, value_size
        cdef bint binary = False
        cdef bint again = False
        cdef tuple via = ()
        signal = ""
        version = 0
        if kept_size:
            p = target = <uint8_t*>PyBytes_AS_STRING(kept)
            end = p + kept_size
            while p < end:              # they have been checked
                name_size = value_size = 0
                value = NULL
                if p[0] == 0x01:        # payload format
                    length = 2
                else:
                    name_size = get16(p + 1)
                    length = 3 + name_size
                    if p[0] == USER_PROPERTY:
                        value_size = get16(p + length)
                        value = p + length + 2
                        length += 2 + value_size
                    elif p[0] == CONTENT_TYPE and _is(p + 3, name_size, b"application/octet-stream", 24):
                        binary = True
                if value != NULL and name_size > 11 and memcmp(p + 3, b"clasp-edge-", 11) == 0:
                    if _is(p + 14, name_size - 11, b"via", 3):
                        via = self._via(value, value_size)
                        p += length
                        continue
                    if _is(p + 14, name_size - 11, b"signal", 6):
                        signal = PyUnicode_DecodeUTF8(<const char*>value, value_size, NULL)
                        if signal not in NAMED_SIGNALS:
                            signal = ""
                        p += length
                        continue
                    if _is(p + 14, name_size - 11, b"version", 7):
                        version = _number(value, value_size)
                        p += length
                        continue
                    if _is(p + 14, name_size - 11, b"again", 5):
                        again = True
                        p += length
                        continue
                if target != p:
                    memmove(target, p, length)
                target += length
                p += length
            kept_size = <size_t>(target - <uint8_t*>PyBytes_AS_STRING(kept))
            kept = PyBytes_FromStringAndSize(PyBytes_AS_STRING(kept), kept_size) if kept_size else b""
        self.arrived(Arrived(
            PyUnicode_DecodeUTF8(<const char*>topic, topic_size, NULL),
            PyBytes_FromStringAndSize(<const char*>payload, size), bool(first & 1), signal, via, binary, version, again,
            first >> 1 & 3, kept, expiry_s))
        return 0

    cdef tuple _via(self, const uint8_t* value, size_t size):
        cdef bytes text = PyBytes_FromStringAndSize(<const char*>value, size)
        found = self.vias.get(text)
        if found is None:
            found = tuple([name[:LONGEST_NAME] for name in text.decode().split(",", MOST_VIA)[:MOST_VIA] if name])
            if size <= LONGEST_VIA:
                if len(self.vias) >= MOST_VIAS:
                    self.vias.clear()
                self.vias[text] = found
        return <tuple>found


cdef object _number(const uint8_t* text, size_t size):
    """0 for what is no decimal number of at most `LONGEST_NUMBER` digits."""
    cdef uint64_t value = 0
    cdef size_t i
    if not 0 < size <= LONGEST_NUMBER:
        return 0
    for i in range(size):
        if not 0x30 <= text[i] <= 0x39:
            return 0
        value = value * 10 + (text[i] - 0x30)
    return value
