"""What all MQTT sessions share: the namespace, limits and counters, and the message being delivered, prepared once for
all of its receivers. Knows no session."""

import logging

from libc.stddef cimport size_t
from libc.stdint cimport uint8_t, uint32_t
from libc.stdlib cimport free, malloc
from libc.string cimport memchr, memcmp, memcpy

from clasp_edge.dataplane.bytes cimport get32
from clasp_edge.dataplane.messages cimport SET, SET_TTL, SIGNAL_EVENT, SIGNAL_PARAM
from clasp_edge.dataplane.payload cimport PRINTED_BYTES, print_value
from clasp_edge.dataplane.sink cimport NO_EXPIRY
from clasp_edge.dataplane.table cimport (
    FIRST_ID,
    MQTT_EVENT_NO,
    MQTT_EVENT_UNKNOWN,
    MQTT_EVENT_YES,
    TTL_ABSOLUTE,
    TTL_DEFAULT,
    Table,
    Value,
    entry_address,
)
from clasp_edge.devices.mqtt.publish_packet cimport IMAGE_HEADROOM, PACKET_OVERHEAD, store, unstore
from clasp_edge.wire.pattern cimport Pattern

from cpython.bytes cimport PyBytes_FromStringAndSize

log = logging.getLogger("clasp_edge.dataplane")

cdef enum:                      # of the frame of a SET or a PUBLISH (wire.md 2.3)
    FRAME_TYPE = 4
    FRAME_FLAGS = 5
    FRAME_ADDRESS = 8


cdef inline uint32_t lifetime_s(const Delivery* delivery) noexcept nogil:
    """For how long the param that was set is there; 0: it is forgotten. NO_EXPIRY for as long as there is no more to
    say, and for what is no param."""
    cdef uint32_t ttl
    if (delivery.signal != SIGNAL_PARAM or delivery.frame == NULL or delivery.frame[FRAME_TYPE] != SET
            or not delivery.frame[FRAME_FLAGS] & SET_TTL):
        return NO_EXPIRY
    ttl = get32(delivery.frame + delivery.size - 4)
    return ttl & ~<uint32_t>TTL_ABSOLUTE if ttl & TTL_ABSOLUTE else NO_EXPIRY


cdef inline bint happened(const Delivery* delivery) noexcept nogil:
    """Whether it is an event that has no value: it says that something happened, and no more. A PUBLISH of signal param
    is delivered as one, and is none."""
    return (delivery.value == NULL and delivery.signal == SIGNAL_EVENT
            and delivery.frame[FRAME_FLAGS] >> 5 == SIGNAL_EVENT
            and delivery.frame[FRAME_ADDRESS + delivery.address_size] == 0)


cdef class MqttContext:
    """`MqttContext(plane, namespace, to_topic, to_address, max_packet)`: `namespace` without a slash at its end.

    The two functions map what is not the same in both worlds, below it: `to_topic(address) -> topic`,
    `to_address(topic) -> address`. `max_packet` in bytes."""

    def __cinit__(self, Plane plane not None, bytes namespace not None, to_topic, to_address,
                  size_t max_packet):
        self.plane = plane
        self.prefix = namespace + b"/"
        self.to_topic = to_topic
        self.to_address = to_address
        # Virtual memory until it is used: what only large messages need costs nothing before.
        self.address = <uint8_t*>malloc(len(self.prefix) + MAX_ADDRESS)
        self.max_packet = max_packet
        self.room = max(max_packet, <size_t>PRINTED_BYTES) + PACKET_OVERHEAD
        self.properties = <uint8_t*>malloc(max_packet)
        self.value = <uint8_t*>malloc(VALUE_BYTES)
        self.printed = <uint8_t*>malloc(PRINTED_BYTES)
        self.spare_printed = <uint8_t*>malloc(PRINTED_BYTES)
        self.image = <uint8_t*>malloc(IMAGE_HEADROOM + self.room)
        self.spare = <uint8_t*>malloc(IMAGE_HEADROOM + self.room)
        if (self.address == NULL or self.properties == NULL or self.value == NULL or self.printed == NULL
                or self.spare_printed == NULL or self.image == NULL or self.spare == NULL):
            raise MemoryError
        memcpy(self.address, <char*>self.prefix, len(self.prefix))

    def __dealloc__(self):
        free(self.address)
        free(self.properties)
        free(self.value)
        free(self.printed)
        free(self.spare_printed)
        free(self.image)
        free(self.spare)
        if self.stored != NULL:
            unstore(self.stored)

    def address_of(self, bytes topic not None):
        """The address of a topic: of a mount, else below the namespace."""
        found = self.mounts.shown_at(topic.decode()) if self.mounts is not None else None
        return found if found is not None else self.prefix + <bytes>self.to_address(topic)

    cdef bint prepare(self, Delivery* delivery) noexcept:
        """Make `content` that of the delivery. False when MQTT clients do not get it: it has samples or no value, and
        is more than an event, or its topic begins with `$` [MQTT-4.7.2-1]."""
        cdef const uint8_t* text
        cdef Py_ssize_t size
        if self.serial == delivery.serial:
            return self.deliverable
        self.serial = delivery.serial
        self.deliverable = False
        topic = self._topic(delivery.address, delivery.address_size, &self.content)
        if topic is None:
            return False
        self.topic = topic
        if delivery.raw != NULL:
            self.content.payload = delivery.raw.payload
            self.content.payload_size = delivery.raw.payload_size
            self.content.properties = delivery.raw.properties
            self.content.properties_size = delivery.raw.properties_size
            self.content.expiry_s = delivery.raw.expiry_s
        else:
            self.content.properties_size = 0
            self.content.expiry_s = lifetime_s(delivery)
            if delivery.gone or self.content.expiry_s == 0 or happened(delivery):
                self.content.payload = delivery.frame
                self.content.payload_size = 0
                self.content.expiry_s = NO_EXPIRY
                self.deliverable = True
                return True
            if delivery.value == NULL:
                return False
            size = print_value(delivery.value_type, delivery.value, delivery.value_room, self.printed, PRINTED_BYTES,
                               &text)
            if size < 0:
                self.dropped += 1
                return False
            if size == 0 and delivery.signal == 0:
                # The param is an empty text; an empty retained message would say that it is gone.
                text = <const uint8_t*>b'""'
                size = 2
            self.content.payload = text
            self.content.payload_size = <size_t>size
        self.deliverable = True
        return True

    cdef object _topic(self, const uint8_t* address, size_t size, Content* content):
        """Point the content's topic at the address, or at what is returned; None for what has no topic."""
        cdef size_t prefix_size = len(self.prefix)
        if self.mounts is not None:
            topic = self.mounts.topic_of(PyBytes_FromStringAndSize(<const char*>address, size))
            if topic is not None:
                if not topic:
                    return None
                content.topic = <const uint8_t*><char*>topic
                content.topic_size = len(<bytes>topic)
                return topic
        if size <= prefix_size or memcmp(address, <char*>self.prefix, prefix_size) != 0:
            return None
        content.topic = address + prefix_size
        content.topic_size = size - prefix_size
        if content.topic[0] == b"$":
            return None
        # An address may contain what a topic may not [MQTT-3.3.2-2]: it has no topic then.
        if (memchr(content.topic, b"+", content.topic_size) != NULL
                or memchr(content.topic, b"#", content.topic_size) != NULL
                or memchr(content.topic, 0, content.topic_size) != NULL):
            return None
        if self.mounts is not None and self.mounts.address_of(
                PyBytes_FromStringAndSize(<const char*>content.topic, content.topic_size)) is not None:
            return None                 # the topic is an address outside the namespace
        if memchr(content.topic, b"%", content.topic_size) == NULL:
            return b""
        try:
            topic = <bytes>self.to_topic(PyBytes_FromStringAndSize(<const char*>content.topic, content.topic_size))
        except Exception:
            log.exception("an address has no topic")
            return None
        if not topic:
            return None
        content.topic = <const uint8_t*><char*>topic
        content.topic_size = len(topic)
        return topic

    cdef bint entry_content(self, Entry* entry, Content* content) noexcept:
        """The retained message of a param; valid until the next call. False if it has none."""
        cdef const uint8_t* text
        cdef Py_ssize_t size
        cdef uint64_t now_ms = self.plane.core.mono_us // 1000
        cdef Value value
        if entry.unretained and entry.kept == NULL:
            return False
        topic = self._topic(entry_address(entry), entry.address_size, content)
        if topic is None:
            return False
        self.spare_topic = topic
        content.expiry_s = NO_EXPIRY
        if entry.ttl != TTL_DEFAULT and entry.ttl & TTL_ABSOLUTE and entry.deadline_ms:
            if entry.deadline_ms <= now_ms:
                return False
            content.expiry_s = <uint32_t>((entry.deadline_ms - now_ms + 999) // 1000)
        if entry.kept != NULL:
            content.properties = &entry.kept.data[0]
            content.properties_size = entry.kept.properties_size
            content.payload = content.properties + entry.kept.properties_size
            content.payload_size = entry.kept.payload_size
            return True
        content.properties_size = 0
        value = self.plane.table.value(entry)
        size = print_value(value.type, value.data, value.size, self.spare_printed, PRINTED_BYTES, &text)
        if size < 0:
            return False
        if size == 0:
            text = <const uint8_t*>b'""'
            size = 2
        content.payload = text
        content.payload_size = <size_t>size
        return True

    def set_events(self, list patterns):
        """Messages without the retain flag to addresses that match one of these (`wire.pattern.Pattern`) are events."""
        cdef Table table = self.plane.table
        cdef uint32_t id
        self.events = patterns or None
        for id in range(FIRST_ID, table.top):
            if table.entries[id] != NULL:
                table.entries[id].mqtt_event = MQTT_EVENT_UNKNOWN

    cdef bint is_event(self, const uint8_t* address, size_t size, uint32_t hash) noexcept:
        """Whether an unretained message to this address is an event; remembered with the address."""
        cdef Entry* entry
        cdef bint found = not self.unretained_is_param
        if found or self.events is None:
            return found
        entry = self.plane.live(address, size, hash)
        if entry != NULL and entry.mqtt_event != MQTT_EVENT_UNKNOWN:
            return entry.mqtt_event == MQTT_EVENT_YES
        try:
            text = PyBytes_FromStringAndSize(<const char*>address, size)
            for pattern in self.events:
                if (<Pattern>pattern).matches(text):
                    found = True
                    break
        except Exception:
            log.exception("an address could not be matched against mqtt.events")
        if entry != NULL:
            entry.mqtt_event = MQTT_EVENT_YES if found else MQTT_EVENT_NO
        return found

    cdef Stored* keep(self) noexcept:
        """`content` as a stored message with a reference for the caller; made once for all who want it. NULL without
        memory."""
        if self.stored == NULL or self.stored_serial != self.serial:
            if self.stored != NULL:
                unstore(self.stored)
            self.stored = store(&self.content, self.plane.core.mono_us)
            self.stored_serial = self.serial
            if self.stored == NULL:
                return NULL
        self.stored.references += 1
        return self.stored
