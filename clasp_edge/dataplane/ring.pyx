"""The most recent frames in one fixed block of memory, oldest overwritten first: what `history` of a subscription is
served from (router.md 13). Holds whole outgoing frames; knows nothing of params or sessions.
"""

from collections import deque

from libc.stdlib cimport calloc, free
from libc.string cimport memcpy

from clasp_edge.dataplane.messages cimport SIGNAL_EVENT, SIGNAL_PARAM
from clasp_edge.wire.pattern cimport Pattern

from clasp_edge.dataplane.payload import event_frame, set_frame

cdef enum:
    RAW = 0x100             # beside the signal: address and MQTT payload instead of a frame
    MOST_DOUBLINGS = 16


cdef packed struct RawSet:      # between address and payload of a param
    uint64_t revision
    uint32_t ttl
    uint8_t flags


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

    cdef void append_raw_set(self, const uint8_t* address, size_t address_size, const Raw* raw, int flags,
                             uint64_t revision, uint32_t ttl) noexcept:
        """A SET that came by MQTT, of which there is no CLASP frame either."""
        cdef size_t size = address_size + sizeof(RawSet) + raw.payload_size
        cdef uint8_t* place = self._place(size, SIGNAL_PARAM | RAW, 0, address_size)
        cdef RawSet told
        if place != NULL:
            told.revision = revision
            told.ttl = ttl
            told.flags = <uint8_t>flags
            memcpy(place, address, address_size)
            memcpy(place + address_size, &told, sizeof(RawSet))
            memcpy(place + address_size + sizeof(RawSet), raw.payload, raw.payload_size)

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
        cdef RingSearch search = RingSearch(self, pattern, mask, count, scopes)
        search.look(-1)
        search.choose(max_bytes)
        return search.frames(-1)


cdef class RingSearch:
    """The same in parts, while more may come: `RingSearch(ring, pattern, mask, count, scopes)`. Look until all was
    looked at, choose, take the frames; what has come meanwhile is found by looking on. What was overwritten meanwhile
    is left out."""

    def __cinit__(self, Ring ring not None, Pattern pattern not None, int mask, Py_ssize_t count, scopes):
        self.ring = ring
        self.pattern = pattern
        self.mask = mask
        self.count = count
        self.scopes = scopes
        self.at = ring.begin if count > 0 else ring.end
        self.kept = {}
        self.chosen = []

    cpdef bint look(self, Py_ssize_t records) except -1:
        """Look at so many records more, at all below 0; whether that was the last of them. Where more is overwritten
        meanwhile than is looked at, each time at twice as many: else it would never end."""
        cdef Ring ring = self.ring
        cdef Record* record
        cdef size_t place
        cdef uint8_t* frame
        if ring.size == 0:
            return True
        if self.at < ring.begin:
            self.at = ring.begin
            if self.doublings < MOST_DOUBLINGS:
                self.doublings += 1
        if records > 0:
            records <<= self.doublings
        # First only where they are: most records of a busy address are not among its newest.
        while self.at < ring.end:
            if records == 0:
                return False
            records -= 1
            place = self.at % ring.size
            record = <Record*>(ring.data + place)
            if record.size == 0:
                self.at += ring.size - place
                continue
            self.at += record.size
            if not self.mask & (1 << (record.signal & ~<uint32_t>RAW)):
                continue
            frame = ring.data + place + sizeof(Record)
            address = (<char*>frame + record.address_at)[:record.address_size]
            places = self.kept.get(address)
            if places is None:
                wanted = self.pattern.matches(address) and (
                    self.scopes is None or self.scopes.allows("read", address))
                places = self.kept[address] = deque(maxlen=self.count) if wanted else False
            if places is not False:
                places.append(self.at - record.size)
        return True

    def choose(self, size_t max_bytes):
        """Take those that were found: of more than `max_bytes` in all, not the oldest."""
        cdef Ring ring = self.ring
        cdef Record* record
        cdef uint64_t at
        cdef Py_ssize_t most = 0
        found = sorted([at for places in self.kept.values() if places is not False for at in places], reverse=True)
        self.kept = {}
        for at in found:
            if at < ring.begin:
                break
            record = <Record*>(ring.data + at % ring.size)
            if record.frame_size > max_bytes:
                break
            max_bytes -= record.frame_size
            most += 1
        del found[most:]
        self.chosen = found

    def frames(self, Py_ssize_t count):
        """The oldest `count` of what was chosen and not taken yet, all below 0, as bytes."""
        cdef Ring ring = self.ring
        cdef Record* record
        cdef uint64_t at
        cdef uint8_t* frame
        cdef RawSet told
        cdef list frames = []
        while count and self.chosen:
            count -= 1
            at = self.chosen.pop()
            if at < ring.begin:
                continue
            record = <Record*>(ring.data + at % ring.size)
            frame = <uint8_t*>record + sizeof(Record)
            whole = (<char*>frame)[:record.frame_size]
            if record.signal & RAW:
                if record.signal == SIGNAL_EVENT | RAW:
                    whole = event_frame(whole[:record.address_size], whole[record.address_size:])
                else:
                    memcpy(&told, frame + record.address_size, sizeof(RawSet))
                    whole = set_frame(whole[:record.address_size], whole[record.address_size + sizeof(RawSet):],
                                      told.flags, told.revision, told.ttl)
                if whole is None:
                    continue
            frames.append(whole)
        return frames

    @property
    def has_more(self):
        """Whether something that was chosen has not been taken."""
        return bool(self.chosen)
