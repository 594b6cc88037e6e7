"""What another router is told: writes as frames without our revisions and locks, with their time to live, and the way
they have come.

An `Adapter` whose peer is a router. Revisions and locks mean something at home only (federation.md 4), and a param must
not live longer or shorter there than here. Knows no connection and no policy.
"""

import logging

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from cpython.ref cimport PyObject
from libc.stdint cimport uint16_t, uint32_t
from libc.string cimport memcmp, memcpy

from clasp_edge.dataplane.bytes cimport put16, put32
from clasp_edge.dataplane.messages cimport SET, SET_TTL, Write, framed_payload, read_set
from clasp_edge.dataplane.table cimport TTL_ABSOLUTE, TTL_DEFAULT, TTL_NEVER, entry_address, entry_value

log = logging.getLogger("clasp_edge.federation")

cdef enum:
    RESERVED_SIZE = 12
    GONE = 0x80                 # added to the signal of a param that was cleared
    NO_TTL = -1

# What a router says of itself is its own business.
cdef const char* RESERVED = b"/clasp-edge/"


cdef class Relay(Adapter):
    """`Relay(plane)`. What `twin` writes came from the neighbour and is not told to it."""

    def __cinit__(self, plane, *args, **kwargs):
        self.flags = 0x41

    def on_deliveries(self, list deliveries):
        """As `Adapter.on_deliveries`, but each is `(kind, address, frame, route, number, logged)`.

        `kind` is the signal (0: a SET; a PUBLISH of signal param is told as an event), with 0x80 for a param that was
        cleared; `frame` a whole frame, made for a router; `route` and `number` as the writer had them, and `number`
        counts our own writes where `route` is None; `logged` is the write's number in the journal's log, 0 if it has
        none.
        """

    cdef void deliver(self, Delivery* delivery) noexcept:
        cdef Sink origin = <Sink>delivery.origin
        cdef uint64_t logged = 0
        if delivery.origin == <PyObject*>self or delivery.origin == <PyObject*>self.twin or delivery.frame == NULL:
            return
        if delivery.address_size >= RESERVED_SIZE and memcmp(delivery.address, RESERVED, RESERVED_SIZE) == 0:
            return
        try:
            if self.plane.journal_buffer is not None:
                logged = self.plane.journal_buffer.last_number
            frame = self._frame(delivery)
            if frame is None:
                return
            if not self.inbox:
                self.plane.core.adapters.append(self)
            self.inbox.append((
                delivery.signal | GONE if delivery.gone else delivery.signal,
                PyBytes_FromStringAndSize(<const char*>delivery.address, delivery.address_size), frame,
                origin.route, origin.number if origin.route is not None else delivery.serial, logged))
        except MemoryError:
            pass

    cdef object _frame(self, Delivery* delivery):
        """None where it is no frame that another router could be told."""
        cdef Entry* entry
        cdef Write write
        cdef long long ttl = NO_TTL
        if delivery.signal != 0:
            return PyBytes_FromStringAndSize(<const char*>delivery.frame, delivery.size)
        if delivery.gone:
            # Over as soon as it has been told (wire.md 2.3, SET).
            return self._set_frame(delivery.address, delivery.address_size, 0, NULL, 0, TTL_ABSOLUTE)
        if not set_in(delivery.frame, delivery.size, &write):
            log.error("a SET could not be told to another router: its frame cannot be read")
            return None
        if write.flags & SET_TTL:
            ttl = write.ttl
        else:
            entry = self.plane.table.find(write.address, write.address_size,
                                          self.plane.table.hash_of(write.address, write.address_size))
            if entry != NULL:
                ttl = self._lifetime(entry)
        return self._set_frame(write.address, write.address_size, write.flags & 0x0F, write.value,
                               write.value_size, ttl)

    cdef long long _lifetime(self, Entry* entry) noexcept:
        """The ttl word that gives the param, written there now, the life it has here."""
        cdef uint64_t now_ms = self.plane.core.mono_us // 1000
        cdef uint64_t left_ms
        if entry.ttl == TTL_NEVER:
            return TTL_NEVER
        if entry.ttl == TTL_DEFAULT:
            return self.plane.param_ttl_s       # 0: never
        if entry.ttl & TTL_ABSOLUTE:
            left_ms = entry.deadline_ms - now_ms if entry.deadline_ms > now_ms else 0
            return TTL_ABSOLUTE | ((left_ms + 999) // 1000)
        return entry.ttl

    cdef object _set_frame(self, const uint8_t* address, size_t address_size, int value_type, const uint8_t* value,
                           size_t value_size, long long ttl):
        cdef size_t size = 8 + address_size + value_size + (4 if ttl != NO_TTL else 0)
        frame = PyBytes_FromStringAndSize(NULL, size)
        cdef uint8_t* p = <uint8_t*>PyBytes_AS_STRING(frame)
        p[0] = 0x53
        p[1] = <uint8_t>self.flags
        put16(p + 2, <uint16_t>(size - 4))
        p[4] = 0x21
        p[5] = value_type | (0x10 if ttl != NO_TTL else 0)
        put16(p + 6, <uint16_t>address_size)
        memcpy(p + 8, address, address_size)
        if value_size:
            memcpy(p + 8 + address_size, value, value_size)
        if ttl != NO_TTL:
            put32(p + size - 4, <uint32_t>ttl)
        return frame

    def image(self, bytes address not None):
        """The frame that tells a param as it is now; None where there is none."""
        cdef const uint8_t* text = <const uint8_t*><char*>address
        cdef Entry* entry = self.plane.live(text, len(address), self.plane.table.hash_of(text, len(address)))
        if entry == NULL or entry.revision == 0:
            return None
        return self._set_frame(entry_address(entry), entry.address_size, entry.value_type, entry_value(entry),
                               entry.value_size, self._lifetime(entry))

    def lifetime(self, bytes address not None):
        """The ttl word that gives the param, written elsewhere now, the life it has here; None where there is none."""
        cdef const uint8_t* text = <const uint8_t*><char*>address
        cdef Entry* entry = self.plane.live(text, len(address), self.plane.table.hash_of(text, len(address)))
        return self._lifetime(entry) if entry != NULL and entry.revision else None

    def held(self, bytes address not None):
        """`(value type, value, writer, written_us)` of a param; None where there is none."""
        cdef const uint8_t* text = <const uint8_t*><char*>address
        cdef Entry* entry = self.plane.live(text, len(address), self.plane.table.hash_of(text, len(address)))
        if entry == NULL or entry.revision == 0:
            return None
        return (entry.value_type, PyBytes_FromStringAndSize(<const char*>entry_value(entry), entry.value_size),
                self.plane.writer_texts[entry.writer], entry.written_us)

    def relayed(self, bytes frame not None):
        """A logged SET's frame (as subscribers saw it) as it is told to a router now."""
        cdef Write write
        cdef long long ttl = NO_TTL
        if not set_in(<const uint8_t*><char*>frame, len(frame), &write):
            raise ValueError("not the frame of a logged SET")
        if write.flags & SET_TTL:
            ttl = write.ttl
        return self._set_frame(write.address, write.address_size, write.flags & 0x0F, write.value,
                               write.value_size, ttl)


cdef bint set_in(const uint8_t* frame, size_t size, Write* write) noexcept nogil:
    """Take the SET apart that a frame of ours holds. False where it holds none."""
    cdef size_t payload_size
    cdef const uint8_t* payload = framed_payload(frame, size, &payload_size)
    return payload != NULL and payload[0] == SET and read_set(payload, payload_size, write) == 0
