"""The data plane of one router: params, and messages that are published; the gate before, the fan-out after.

Knows no transport.
"""

from libc.string cimport memcpy

from clasp_edge.dataplane.bytes cimport put16
from clasp_edge.dataplane.logged_payload cimport fits_log
from clasp_edge.dataplane.messages cimport SIGNAL_EVENT, SIGNAL_PARAM
from clasp_edge.dataplane.mqtt_message cimport UNREAD_FROM
from clasp_edge.dataplane.sink cimport BOUNDED, HEADROOM, OLDEST_FIRST, Delivery, begin_delivery
from clasp_edge.dataplane.table cimport ROUTE_PLAIN, Entry
from clasp_edge.dataplane.verdict cimport ACCEPTED, CONTROL_PLANE, NO_SCOPE

# Default QoS of a PUBLISH by signal (wire.md 2.1), in the frame's flag bits: param, event, stream, gesture, timeline.
cdef uint8_t* PUBLISH_FLAGS = [0x41, 0x41, 0x01, 0x01, 0x81]


cdef class Plane(Params):
    """The data plane of one router.

    `control` must have: `classify(address: bytes) -> (route, strategy)`, raising ValueError with a sentence for the
    peer when the address is not valid; `merge(old_type, old, new_type, new) -> (type, value)` on encoded values;
    `arm(deadline_ms)`: call `expire()` at that monotonic time.
    """

    def published_with(self, int signal):
        """How many messages of this signal type have been published."""
        return self.published[signal & 7]

    cdef int publish(self, Sink origin, const uint8_t* payload, const Published* message, uint32_t hash) noexcept:
        """Relay a PUBLISH to all but its sender: the payload that `read_publish` has taken apart."""
        cdef Entry* entry = self.live(message.address, message.address_size, hash)
        cdef Delivery delivery
        cdef uint8_t* p
        cdef int verdict = ACCEPTED
        cdef int signal = message.signal
        cdef size_t address_size = message.address_size
        if not self._gate(origin, message.address, address_size, entry):
            return NO_SCOPE
        if entry == NULL:
            entry = self._route(message.address, address_size, hash, &verdict)
            if entry == NULL:
                return verdict
        elif entry.revision == 0:
            self.table.touch(entry)
        if entry.route != ROUTE_PLAIN:
            return CONTROL_PLANE
        self.published[signal] += 1
        p = self.scratch + HEADROOM
        p[0] = 0x53
        p[1] = PUBLISH_FLAGS[signal]
        put16(p + 2, <uint16_t>message.size)
        memcpy(p + 4, payload, message.size)
        p[5] = <uint8_t>message.flags
        # To a sink, PARAM means that the state has changed. A PUBLISH of that signal changes nothing and is stored
        # nowhere (router.md 2.2): it is an event to all that is not a CLASP client, and only which subscriptions take
        # it goes by its own signal.
        begin_delivery(&delivery, origin, signal if signal != SIGNAL_PARAM else SIGNAL_EVENT, message.loss)
        delivery.frame = p
        delivery.size = message.size + 4
        delivery.address = p + 8
        delivery.address_size = address_size
        delivery.value = p + 10 + address_size if message.value != NULL else NULL
        delivery.value_room = message.value_size
        delivery.value_type = message.value_type
        if self.ring.size and message.loss != OLDEST_FIRST and signal != SIGNAL_PARAM:
            self.ring.append(p, delivery.size, signal, 8, address_size)
        if self.journal_buffer is not None:
            delivery.logged = self.journal_buffer.published(entry, p, delivery.size, signal, origin, NULL)
        self._fan_out(entry, origin, 1 << signal, &delivery)
        return ACCEPTED

    cdef int publish_raw(self, Sink origin, const uint8_t* address, size_t address_size, uint32_t hash,
                         Raw* raw) noexcept:
        """Publish an event that came by MQTT. A CLASP frame is made of it when the first sink wants one."""
        cdef Entry* entry = self.live(address, address_size, hash)
        cdef Delivery delivery
        cdef int verdict = ACCEPTED
        if not self._gate(origin, address, address_size, entry):
            return NO_SCOPE
        if entry == NULL:
            entry = self._route(address, address_size, hash, &verdict)
            if entry == NULL:
                return verdict
        elif entry.revision == 0:
            self.table.touch(entry)
        if entry.route != ROUTE_PLAIN:
            return NO_SCOPE             # the control plane's addresses are for CLASP clients
        self.published[SIGNAL_EVENT] += 1
        begin_delivery(&delivery, origin, SIGNAL_EVENT, BOUNDED)
        delivery.address = address
        delivery.address_size = address_size
        delivery.raw = raw
        if self.ring.size:
            self.ring.append_raw(address, address_size, raw.payload, raw.payload_size)
        if self.journal_buffer is not None:
            self._log_event(entry, &delivery, origin)
        self._fan_out(entry, None, 1 << SIGNAL_EVENT, &delivery)
        return ACCEPTED

    cdef void _log_event(self, Entry* entry, Delivery* delivery, Sink origin) noexcept:
        """Log an event that came by MQTT: a small one with its frame, a large one as it came."""
        cdef bint exact = False
        self.journal_buffer.last_number = 0     # whatever comes of it: who said it waits for the commit of a record
        if not self.journal_buffer.logs(entry, SIGNAL_EVENT):
            return
        if (delivery.raw.payload_size >= UNREAD_FROM and fits_log(delivery.raw, delivery.address_size, &exact)
                or self._frame(delivery)):
            delivery.logged = self.journal_buffer.published(entry, delivery.frame, delivery.size, SIGNAL_EVENT, origin,
                                                            delivery.raw)
