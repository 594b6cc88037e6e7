"""The most recent frames in one fixed block of memory, oldest overwritten first: what `history` of a subscription is
served from (router.md 13). Holds whole outgoing frames; knows nothing of params or sessions.
"""

from collections import deque

from libc.stdlib cimport calloc, free
from libc.string cimport memcpy

from clasp_edge.wire.pattern cimport Pattern

from clasp_edge.dataplane.payload import event_frame

cdef enum:
    SIGNAL_EVENT = 1
    RAW = 0x100             # beside the signal: address and MQTT payload instead of a frame


cdef struct Record:
    uint32_t size           # of this header and the frame, rounded up to 8; 0 = skip to the start of the block
    uint32_t frame_size
    uint16_t address_at
    uint16_t address_size
    uint32_t signal


cdef class Ring:
    """`Ring(size)`: `size` bytes, 0 = keep nothing."""

    def __cinit__(self, size_t size):
        self.size = size & ~<size_t>7
        if self.size:
            self.data = <uint8_t*>calloc(1, self.size)
            if self.data == NULL:
                raise MemoryError

    def __dealloc__(self):
        free(self.data)

    cdef void append(self, const uint8_t* frame, size_t size, int signal, size_t address_at,
                     size_t address_size) noexcept:
        cdef uint8_t* place = self._place(size, signal, address_at, address_size)
        if place != NULL:
            memcpy(place, frame, size)

    cdef void append_raw(self, const uint8_t* address, size_t address_size, const uint8_t* payload,
                         size_t payload_size) noexcept:
        """An event that came by MQTT: it becomes a CLASP frame only if somebody asks for history."""
        cdef uint8_t* place = self._place(address_size + payload_size, SIGNAL_EVENT | RAW, 0, address_size)
        if place != NULL:
            memcpy(place, address, address_size)
            memcpy(place + address_size, payload, payload_size)

    cdef uint8_t* _place(self, size_t size, int signal, size_t address_at, size_t address_size) noexcept:
        """Where the `size` bytes of a new record go, or NULL if it is not kept."""
        cdef size_t need = (sizeof(Record) + size + 7) & ~<size_t>7
        cdef size_t place, rest
        cdef Record* record
        if need > self.size // 4:
            return NULL         # one giant value must not wipe out everybody's history
        place = self.end % self.size
        rest = self.size - place
        if rest < need:
            self._make_room(rest)
            (<Record*>(self.data + place)).size = 0
            self.end += rest
            place = 0
        self._make_room(need)
        record = <Record*>(self.data + place)
        record.size = <uint32_t>need
        record.frame_size = <uint32_t>size
        record.address_at = <uint16_t>address_at
        record.address_size = <uint16_t>address_size
        record.signal = signal
        self.end += need
        return self.data + place + sizeof(Record)

    cdef void _make_room(self, size_t need) noexcept:
        cdef Record* record
        cdef size_t place
        while self.end + need - self.begin > self.size:
            place = self.begin % self.size
            record = <Record*>(self.data + place)
            if record.size:
                self.begin += record.size
            else:
                self.begin += self.size - place

    def recent(self, Pattern pattern not None, int mask, Py_ssize_t count, scopes=None, size_t max_bytes=<size_t>-1):
        """The newest `count` frames of each matching address, oldest first, as bytes.

        `mask` has bit 1 << signal for each wanted signal type; `scopes` (security.Scopes) limits the addresses; of more
        than `max_bytes` in all, the oldest are left out."""
        cdef uint64_t at = self.begin
        cdef Record* record
        cdef size_t place
        cdef dict kept = {}
        cdef uint8_t* frame
        cdef list frames = []
        if count <= 0 or self.size == 0:
            return frames
        # First only where they are: most records of a busy address are not among its newest.
        while at < self.end:
            place = at % self.size
            record = <Record*>(self.data + place)
            if record.size == 0:
                at += self.size - place
                continue
            at += record.size
            if not mask & (1 << (record.signal & ~<uint32_t>RAW)):
                continue
            frame = self.data + place + sizeof(Record)
            address = (<char*>frame + record.address_at)[:record.address_size]
            places = kept.get(address)
            if places is None:
                wanted = pattern.matches(address) and (scopes is None or scopes.allows("read", address))
                places = kept[address] = deque(maxlen=count) if wanted else False
            if places is not False:
                places.append(at - record.size)
        for at in sorted([found for places in kept.values() if places is not False for found in places], reverse=True):
            place = at % self.size
            record = <Record*>(self.data + place)
            frame = self.data + place + sizeof(Record)
            whole = (<char*>frame)[:record.frame_size]
            if record.signal & RAW:
                whole = event_frame(whole[:record.address_size], whole[record.address_size:])
                if whole is None:
                    continue
            if <size_t>len(whole) > max_bytes:
                break
            max_bytes -= len(whole)
            frames.append(whole)
        frames.reverse()
        return frames
