"""Values of the past: what others have SET while a link was down, for those who are to hear of them all.

They are told and logged, while the param stays. Whoever hears of params alone must not be left with one: soon after it,
what stands is told once more. Knows nothing of links, but that who is one sees to its own clients.
"""

cimport cython

import logging

from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.stddef cimport size_t
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcmp, memcpy

from clasp_edge.dataplane.bytes cimport put16, put64
from clasp_edge.dataplane.messages cimport SIGNAL_PARAM
from clasp_edge.dataplane.mqtt_message cimport new_raw
from clasp_edge.dataplane.payload cimport PRINTED_BYTES, print_value
from clasp_edge.dataplane.sink cimport BOUNDED, CONVERGES, HEADROOM, NO_EXPIRY, Delivery, Raw, begin_delivery
from clasp_edge.dataplane.state cimport REPLAYED
from clasp_edge.dataplane.table cimport TTL_ABSOLUTE, TTL_DEFAULT, Value, entry_address
from clasp_edge.dataplane.verdict cimport ACCEPTED, NO_SCOPE

log = logging.getLogger("clasp_edge.dataplane")

cdef enum:
    MOST_MISLED = 4096          # addresses, of at most a KiB each
    PUT_RIGHT_MS = 250          # a replay of minutes is broken into no more often; a lamp is wrong for no longer


cdef class Past(Room):
    """The part of `params.Params` that tells what was."""

    def __cinit__(self, *args):
        self.misled = {}
        self.teller = Sink()

    cdef bint _has_value(self, Entry* entry, const Write* write) noexcept:
        cdef Value value = self.table.value(entry)
        return (value.type == write.flags & 0x0F and value.size == write.value_size
                and memcmp(value.data, write.value, value.size) == 0)

    cdef int _replay(self, Sink origin, Write* write, Entry* entry) noexcept:
        """Tell a value of the past, or (with a version) what stands in its turn among them."""
        cdef Delivery delivery
        cdef int verdict = ACCEPTED
        cdef size_t size
        cdef uint8_t* p
        if not self._gate(origin, write.address, write.address_size, entry):
            return NO_SCOPE
        if len(self.misled) >= MOST_MISLED:
            self._put_one_right(self.misled)
            entry = self.live(write.address, write.address_size, write.hash)
        if entry == NULL:
            entry = self._route(write.address, write.address_size, write.hash, &verdict)
            if entry == NULL:
                return verdict
        self._note_told(entry, write)
        p = self.scratch + HEADROOM
        size = write.address_size + write.value_size
        p[0] = 0x53
        p[1] = 0x41
        put16(p + 2, <uint16_t>(size + 12))
        p[4] = 0x21
        p[5] = 0x80 | (write.flags & 0x0F)
        put16(p + 6, <uint16_t>write.address_size)
        memcpy(p + 8, write.address, write.address_size)
        memcpy(p + 8 + write.address_size, write.value, write.value_size)
        put64(p + 8 + size, entry.revision)
        begin_delivery(&delivery, origin, SIGNAL_PARAM, BOUNDED)
        delivery.frame = p
        delivery.size = size + 16
        delivery.address = p + 8
        delivery.address_size = write.address_size
        delivery.value = p + 8 + write.address_size
        delivery.value_room = write.value_size
        delivery.value_type = write.flags & 0x0F
        delivery.raw = write.raw
        delivery.rank = REPLAYED
        if self.journal_buffer is not None:
            delivery.logged = self.journal_buffer.changed(entry, p, delivery.size, origin, write.raw, write)
        self._fan_out(entry, None, 1 << SIGNAL_PARAM, &delivery)
        return ACCEPTED

    # ---- who has heard of the past last ----

    cdef void _note_told(self, Entry* entry, const Write* write) noexcept:
        """From now on all who hear of the address have this value, until the param changes."""
        try:
            address = PyBytes_FromStringAndSize(<const char*>write.address, write.address_size)
            if entry.revision and self._has_value(entry, write):
                self.misled.pop(address, None)
                return
            if not self.misled:
                self.core.loop.call_later(PUT_RIGHT_MS / 1000.0, self.put_right)
            self.misled[address] = entry.revision
        except Exception:
            log.exception("what stands cannot be told behind a value of the past")

    def put_right(self):
        """Tell what stands to those who have heard of something else last, in parts."""
        misled, self.misled = self.misled, {}
        self.core.start_work(PutRight.__new__(PutRight, self, misled))

    cdef void _put_one_right(self, dict misled):
        """The first of these, and it is none of them any more. In a pass."""
        cdef Entry* entry
        cdef int verdict = ACCEPTED
        cdef bytes address = next(iter(misled))
        cdef uint64_t revision = misled.pop(address)
        cdef uint32_t hash = self.table.hash_of(<const uint8_t*><char*>address, len(address))
        entry = self.live(<const uint8_t*><char*>address, len(address), hash)
        if (entry.revision if entry != NULL else 0) != revision:
            return                      # it has changed since, and they have heard of that
        if entry == NULL:
            entry = self._route(<const uint8_t*><char*>address, len(address), hash, &verdict)
        if entry != NULL:
            self._tell_again(entry)

    cdef void _tell_again(self, Entry* entry) noexcept:
        """What stands, to all but links to routers that know versions: those have it, and each does this by itself."""
        cdef Delivery delivery
        cdef Raw raw
        cdef uint8_t* printed = NULL
        cdef uint8_t* p = self.scratch + HEADROOM
        begin_delivery(&delivery, self.teller, SIGNAL_PARAM, CONVERGES if entry.revision else BOUNDED)
        delivery.frame = p
        delivery.address = p + 8
        delivery.address_size = entry.address_size
        delivery.rank = REPLAYED
        if entry.revision:
            delivery.size = self.set_image(entry, p)
            delivery.seq = entry.seq
            delivery.value = p + 8 + entry.address_size
            delivery.value_room = delivery.size - 16 - entry.address_size
            delivery.value_type = p[5] & 0x0F
            printed = <uint8_t*>malloc(PRINTED_BYTES)
            if printed != NULL and self._message(entry, &raw, printed):
                delivery.raw = &raw
        else:
            p[0] = 0x53
            p[1] = 0x41
            put16(p + 2, <uint16_t>(entry.address_size + 12))
            p[4] = 0x21
            p[5] = 0x80
            put16(p + 6, entry.address_size)
            memcpy(p + 8, entry_address(entry), entry.address_size)
            put64(p + 8 + entry.address_size, 0)
            delivery.size = entry.address_size + 16
            delivery.gone = True
        self._fan_out(entry, None, 1 << SIGNAL_PARAM, &delivery)
        free(printed)

    cdef bint _message(self, Entry* entry, Raw* raw, uint8_t* printed) noexcept:
        """What MQTT clients have been told of a param's value; `printed` has room for PRINTED_BYTES."""
        cdef const uint8_t* text
        cdef Py_ssize_t size
        cdef Value value
        cdef uint32_t expiry_s = NO_EXPIRY
        cdef uint64_t now_ms = self.core.mono_us // 1000
        if entry.ttl != TTL_DEFAULT and entry.ttl & TTL_ABSOLUTE and entry.deadline_ms > now_ms:
            expiry_s = <uint32_t>((entry.deadline_ms - now_ms + 999) // 1000)
        if entry.kept != NULL and not entry.unretained:
            new_raw(raw, &entry.kept.data[0] + entry.kept.properties_size, entry.kept.payload_size,
                    &entry.kept.data[0], entry.kept.properties_size, expiry_s, entry.qos, True)
            return True
        value = self.table.value(entry)
        size = print_value(value.type, value.data, value.size, printed, PRINTED_BYTES, &text)
        if size <= 0:
            return False                # MQTT clients are told what is made of any value
        new_raw(raw, text, size, text, 0, expiry_s, entry.qos, not entry.unretained)
        raw.exact = True
        return True


@cython.final
cdef class PutRight:
    """An iterator for `Core.start_work`. A generator would bring much more C into the module."""

    cdef Past _plane
    cdef dict _misled

    def __cinit__(self, Past plane not None, dict misled not None):
        self._plane, self._misled = plane, misled

    def __iter__(self):
        return self

    def __next__(self):
        if not self._misled:
            raise StopIteration
        self._plane._put_one_right(self._misled)
