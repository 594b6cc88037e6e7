"""A party inside the process: writes like a client and consumes like one, in Python.

For adapters whose peers are not CLASP connections (OSC targets, bridges, uplinks, rules). What it consumes is gathered
during a pass and handed over once at its end, so that whatever it does in answer cannot disturb a fan-out under way.
"""

from libc.stdint cimport uint8_t, uint32_t, uint64_t

from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.stdlib cimport free, malloc

from clasp_edge.dataplane.messages cimport PUBLISH, Published, Write, read_publish
from clasp_edge.dataplane.mqtt_message cimport new_raw, new_write, raw_write
from clasp_edge.dataplane.payload cimport print_value
from clasp_edge.dataplane.scan cimport value_size
from clasp_edge.dataplane.sink cimport NO_EXPIRY, Raw
from clasp_edge.dataplane.state cimport SNAPSHOT_OVERHEAD
from clasp_edge.dataplane.table cimport TTL_ABSOLUTE, TTL_DEFAULT, Entry, Value
from clasp_edge.dataplane.verdict cimport TOO_LARGE

cdef enum:
    BUFFER_BYTES = 262144       # of a printed value: four times the largest, which JSON may need


cdef class Adapter(Sink):
    """`Adapter(plane)`. Register it with `plane.register` before it writes; `scopes` limits it like a client's."""

    def __cinit__(self, Plane plane not None, *args, **kwargs):
        self.plane = plane
        self.inbox = []

    def on_deliveries(self, list deliveries):
        """Called at the end of a pass with what arrived in it: `(origin, signal, frame)` each, in order.

        `origin` is the sink that wrote (itself, for an own SET), `signal` as in wire.md 5.1, `frame` a whole CLASP
        frame."""

    cdef void deliver(self, Delivery* delivery) noexcept:
        try:
            if not self.inbox:
                self.plane.core.adapters.append(self)
            self.inbox.append((<object>delivery.origin, delivery.signal,
                               PyBytes_FromStringAndSize(<const char*>delivery.frame, delivery.size)))
        except MemoryError:
            pass

    def run(self):
        """Hand over what has gathered; called by the core at the end of a pass."""
        deliveries = self.inbox
        self.inbox = []
        self.on_deliveries(deliveries)

    def set(self, bytes address not None, int value_type, bytes value not None, int flags=0, uint64_t expected=0,
            uint32_t ttl=0):
        """Write a param: an encoded value (wire.values.encode_value). `flags` are SET's upper four bits (0x80 has
        revision, 0x40 lock, 0x20 unlock, 0x10 ttl). Returns `(verdict, revision)`. Raises ValueError for a value that
        is none."""
        cdef Write write
        cdef uint64_t revision = 0
        cdef bint outer = self.plane.core.in_pass
        new_write(&write, <const uint8_t*><char*>address, len(address), self.plane.table.hash_of(
            <const uint8_t*><char*>address, len(address)))
        write.value = <const uint8_t*><char*>value
        write.value_size = len(value)
        write.flags = <uint8_t>((flags & 0xF0) | (value_type & 0x0F))
        write.expected = expected
        write.ttl = ttl
        if value_size(value_type, write.value, write.value_size, 0) != <Py_ssize_t>write.value_size:
            raise ValueError("not an encoded value")
        self.plane.core.begin()
        verdict = self.plane.set(self, &write, &revision)
        if not outer:
            self.plane.core.finish()
        return verdict, revision

    def publish(self, bytes payload not None, bytes address not None):
        """Publish a compact PUBLISH payload whose address is `address` (both made by `wire`). Returns the verdict.
        Raises ValueError for a payload that is none."""
        cdef Published message
        cdef bint outer = self.plane.core.in_pass
        if (not 0 < len(payload) <= 65535 or (<const uint8_t*><char*>payload)[0] != PUBLISH
                or read_publish(<const uint8_t*><char*>payload, len(payload), &message) != 0
                or payload[4:4 + message.address_size] != address):
            raise ValueError("not a PUBLISH payload")
        self.plane.core.begin()
        verdict = self.plane.publish(self, <const uint8_t*><char*>payload, &message,
                                     self.plane.table.hash_of(message.address, message.address_size))
        if not outer:
            self.plane.core.finish()
        return verdict


cdef class RawAdapter(Adapter):
    """`RawAdapter(plane)`: an `Adapter` for a peer that speaks MQTT. What MQTT clients publish goes to it, and what it
    writes goes to them, byte for byte and with its properties."""

    def __cinit__(self, *args, **kwargs):
        self.native = True
        self.buffer = <uint8_t*>malloc(BUFFER_BYTES)
        if self.buffer == NULL:
            raise MemoryError

    def __dealloc__(self):
        free(self.buffer)

    def on_deliveries(self, list deliveries):
        """As `Adapter.on_deliveries`, but each is `(origin, signal, address, frame, message, gone, logged)`.

        `message` is what an MQTT client published, `(payload, properties, expiry in seconds or 0xFFFFFFFF, qos,
        retain)`, or None; `frame` is None where CLASP has none for it; `gone`: the param was cleared; `logged`: the
        number of the write in the journal's log, 0 if it has none."""

    cdef void deliver(self, Delivery* delivery) noexcept:
        cdef Raw* raw = delivery.raw
        message = None
        try:
            if raw != NULL:
                message = (PyBytes_FromStringAndSize(<const char*>raw.payload, raw.payload_size),
                           PyBytes_FromStringAndSize(<const char*>raw.properties, raw.properties_size),
                           raw.expiry_s, raw.qos, bool(raw.retain))
            if not self.inbox:
                self.plane.core.adapters.append(self)
            self.inbox.append((
                <object>delivery.origin, delivery.signal,
                PyBytes_FromStringAndSize(<const char*>delivery.address, delivery.address_size),
                None if delivery.frame == NULL
                else PyBytes_FromStringAndSize(<const char*>delivery.frame, delivery.size),
                message, bool(delivery.gone), delivery.logged))
        except MemoryError:
            pass

    def write(self, bytes address not None, bytes payload not None, bytes properties not None, uint32_t expiry_s,
              int qos, bint retain, bint event):
        """Write an MQTT message: an empty retained one clears the param, `event` makes an event of one that is not
        retained. `properties` are encoded, those that are passed on; `expiry_s` 0xFFFFFFFF: none. Returns the
        verdict."""
        cdef Raw raw
        cdef Write write
        cdef uint64_t revision = 0
        cdef int verdict
        cdef bint outer = self.plane.core.in_pass
        cdef const uint8_t* text = <const uint8_t*><char*>address
        cdef size_t size = len(address)
        cdef uint32_t hash = self.plane.table.hash_of(text, size)
        if size + SNAPSHOT_OVERHEAD + 16 > 65535:
            return TOO_LARGE
        new_raw(&raw, <const uint8_t*><char*>payload, len(payload), <const uint8_t*><char*>properties, len(properties),
                expiry_s, qos, retain)
        self.plane.core.begin()
        if retain and raw.payload_size == 0:
            verdict = self.plane.unset(self, text, size, hash, &raw)
        elif event and not retain:
            verdict = self.plane.publish_raw(self, text, size, hash, &raw)
        elif raw_write(&write, &raw, text, size, hash, self.buffer):
            verdict = self.plane.set(self, &write, &revision)
        else:
            verdict = TOO_LARGE
        if not outer:
            self.plane.core.finish()
        return verdict

    def retained(self, bytes address not None):
        """The retained message of a param, as `message` of a delivery; None where there is none."""
        cdef const uint8_t* text = <const uint8_t*><char*>address
        cdef const uint8_t* printed
        cdef Py_ssize_t size
        cdef uint64_t now_ms = self.plane.core.mono_us // 1000
        cdef Entry* entry = self.plane.live(text, len(address), self.plane.table.hash_of(text, len(address)))
        cdef uint32_t expiry_s = NO_EXPIRY
        cdef Value value
        if entry == NULL or entry.revision == 0 or (entry.unretained and entry.kept == NULL):
            return None
        if entry.ttl != TTL_DEFAULT and entry.ttl & TTL_ABSOLUTE and entry.deadline_ms > now_ms:
            expiry_s = <uint32_t>((entry.deadline_ms - now_ms + 999) // 1000)
        if entry.kept != NULL:
            printed = &entry.kept.data[0] + entry.kept.properties_size
            return (PyBytes_FromStringAndSize(<const char*>printed, entry.kept.payload_size),
                    PyBytes_FromStringAndSize(<const char*>&entry.kept.data[0], entry.kept.properties_size),
                    expiry_s, entry.qos, True)
        value = self.plane.table.value(entry)
        size = print_value(value.type, value.data, value.size, self.buffer, BUFFER_BYTES, &printed)
        if size < 0:
            return None
        # An empty retained message would say that it is gone.
        return (PyBytes_FromStringAndSize(<const char*>printed, size) or b'""', b"", expiry_s, entry.qos, True)
