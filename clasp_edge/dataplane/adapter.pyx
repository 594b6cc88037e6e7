"""A party inside the process: writes like a client and consumes like one, in Python.

For adapters whose peers are not CLASP connections (OSC targets, bridges, uplinks, rules). What it consumes is gathered
during a pass and handed over once at its end, so that whatever it does in answer cannot disturb a fan-out under way.
"""

from libc.stdint cimport uint8_t, uint32_t, uint64_t

from cpython.bytes cimport PyBytes_FromStringAndSize

from clasp_edge.dataplane.messages cimport PUBLISH, Published, Write, read_publish
from clasp_edge.dataplane.scan cimport value_size

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
        write.address = <const uint8_t*><char*>address
        write.address_size = len(address)
        write.hash = self.plane.table.hash_of(write.address, write.address_size)
        write.value = <const uint8_t*><char*>value
        write.value_size = len(value)
        write.flags = <uint8_t>((flags & 0xF0) | (value_type & 0x0F))
        write.expected = expected
        write.raw = NULL
        write.ttl = ttl
        write.hlc = write.rank = 0
        write.quiet = False
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
