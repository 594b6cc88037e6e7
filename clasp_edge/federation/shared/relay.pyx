"""What another router is told: writes as frames without our revisions and locks, with their time to live, and the way
they have come.

With a router that knows versions (dataplane/state.pxd), each SET ends in one, and a digest of what the link carries is
kept: 1024 buckets by address, each the exclusive-or of what `version_hash` makes of its params and tombstones.

An `Adapter` whose peer is a router. Revisions mean something at home only (federation.md 4); a hub that knows versions
is told of locks, and what state a write is a change of that was to change no other. A param must not live longer or
shorter there than here. Knows no connection and no policy.
"""

import logging

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from cpython.ref cimport PyObject
from libc.stdint cimport uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, memset

from clasp_edge.dataplane.bytes cimport put16, put32, put64
from clasp_edge.dataplane.messages cimport SET, SET_TTL, Write, framed_payload, read_set, read_version
from clasp_edge.dataplane.mqtt_details cimport details_of_entry, details_of_raw
from clasp_edge.dataplane.reserved cimport is_reserved
from clasp_edge.dataplane.sink cimport Raw
from clasp_edge.dataplane.state cimport REPLAYED, version_hash
from clasp_edge.dataplane.table cimport (
    BUCKETS,
    FIRST_ID,
    STRATEGY_LWW,
    TTL_ABSOLUTE,
    TTL_DEFAULT,
    TTL_NEVER,
    Value,
    entry_address,
)
from clasp_edge.dataplane.trie cimport Fanout
from clasp_edge.dataplane.verdict cimport ACCEPTED

log = logging.getLogger("clasp_edge.federation")

cpdef enum:
    MOST_WRITERS = 4            # of a param, the latest, that hear of it when their writes are refused elsewhere

cdef enum:
    QUIET = 0x40                # added to the signal of what only routers are told of: a version, no new value
    VERSION_BYTES = 16
    EVERYTHING = 0xFFFFFFFF
    MAX_PAYLOAD = 65535
    GONE = 0x80                 # added to the signal of a param that was cleared
    NO_TTL = -1
    NEEDS_REVISION = 1          # agreement.py
    NEEDS_LOCK = 2
    NEEDS_STRATEGY = 4
    LOCKED = 0x40               # in the flags of a SET
    UNLOCKED = 0x20


cdef class Relay(Adapter):
    """`Relay(plane)`. What `twin` writes came from the neighbour and is not told to it."""

    def __cinit__(self, plane, *args, **kwargs):
        self.flags = 0x41
        self.contested = {}

    def __dealloc__(self):
        free(self.buckets)

    # ---- the digest ----

    def speak_versions(self, bint on):
        """Whether the neighbour knows versions; before anything is told to it. A digest begins empty."""
        if on and self.buckets == NULL:
            self.buckets = <uint64_t*>calloc(BUCKETS, sizeof(uint64_t))
            if self.buckets == NULL:
                raise MemoryError
            self.plane.links += 1
            self.plane.versions = True
        elif not on and self.buckets != NULL:
            free(self.buckets)
            self.buckets = NULL
            self.plane.links -= 1
        self.versioned = self.is_link = on
        if on:
            self.begin_digest()

    def begin_digest(self):
        """Count anew, with `count_on`."""
        memset(self.buckets, 0, BUCKETS * sizeof(uint64_t))
        self.root = 0
        self.counted = FIRST_ID

    def count_on(self, uint32_t entries):
        """Count so many entries more; what changes meanwhile is counted by itself. Whether all have been."""
        cdef Entry* entry
        cdef uint64_t part
        cdef uint32_t end
        if self.counted == EVERYTHING:
            return True
        end = self.counted + entries if self.plane.table.top - self.counted > entries else self.plane.table.top
        while self.counted < end:
            entry = self.plane.table.entries[self.counted]
            self.counted += 1
            if entry != NULL and entry.hlc and self._carries(entry):
                part = version_hash(entry.hlc, entry.rank)
                self.buckets[entry.bucket] ^= part
                self.root ^= part
        if self.counted >= self.plane.table.top:
            self.counted = EVERYTHING
            return True
        return False

    @property
    def digest(self):
        """The buckets that are not empty, by number."""
        cdef int i
        return {i: self.buckets[i] for i in range(BUCKETS) if self.buckets[i]}

    def in_buckets(self, bytes wanted not None, uint32_t cursor, size_t max_bytes, uint32_t max_entries):
        """What the link carries in the buckets whose byte in `wanted` is not 0: `([(address, frame)], next cursor)`,
        starting at `cursor` (0 at first; 0 at the end)."""
        cdef Entry* entry
        cdef uint32_t id = cursor if cursor > FIRST_ID else FIRST_ID
        cdef size_t size = 0
        cdef const uint8_t* flags = <const uint8_t*><char*>wanted
        cdef uint64_t now_ms = self.plane.core.mono_us // 1000
        cdef list found = []
        if len(wanted) != BUCKETS:
            raise ValueError("one byte for each bucket")
        while id < self.plane.table.top and size < max_bytes and max_entries:
            entry = self.plane.table.entries[id]
            id += 1
            max_entries -= 1
            if entry == NULL or entry.hlc == 0 or not flags[entry.bucket]:
                continue
            if (entry.deadline_ms and entry.deadline_ms <= now_ms) or not self._carries(entry):
                continue
            frame = self._state_frame(entry)
            size += len(frame)
            found.append((PyBytes_FromStringAndSize(<const char*>entry_address(entry), entry.address_size), frame))
        return found, id if id < self.plane.table.top else 0

    cdef bint _carries(self, Entry* entry) except -1:
        """Whether the link is told of this address: the fan-out knows."""
        cdef Fanout fan
        cdef Py_ssize_t i
        if is_reserved(entry_address(entry), entry.address_size):
            return False
        fan = self.plane.fan(entry)
        for i in range(fan.count):
            if fan.targets[i].sink == <PyObject*>self:
                return (fan.targets[i].plain | fan.targets[i].filtered) & 1
        return False

    # ---- versions ----

    cdef Entry* _find(self, bytes address) noexcept:
        cdef const uint8_t* text = <const uint8_t*><char*>address
        return self.plane.live(text, len(address), self.plane.table.hash_of(text, len(address)))

    def version(self, bytes address not None):
        """`(hlc, rank)` of a param or tombstone; None where there is neither."""
        cdef Entry* entry = self._find(address)
        return (entry.hlc, entry.rank) if entry != NULL and entry.hlc else None

    def merge(self, bytes payload not None, bint quiet=False):
        """Write a SET of a neighbour that knows versions: `(verdict, address, hlc, rank)`. `quiet`: the same value once
        more is no news. Raises ValueError for a payload that is none."""
        cdef const uint8_t* p = <const uint8_t*><char*>payload
        cdef size_t size = len(payload)
        cdef Write write
        cdef uint64_t revision = 0
        cdef bint outer = self.plane.core.in_pass
        if size == 0 or p[0] != SET or read_set(p, size, &write) != 0 or not read_version(p, size, &write):
            raise ValueError("no SET with a version")
        write.flags &= 0x1F             # who has it locked above is decided there
        write.hash = self.plane.table.hash_of(write.address, write.address_size)
        write.raw = self.details.of_write(&write) if self.details is not None and self.details.pending else NULL
        write.quiet = quiet
        self.plane.core.begin()
        verdict = self.plane.set(self, &write, &revision)
        if write.raw != NULL and verdict == ACCEPTED:
            self.details.applied(self.plane, &write)
        if not outer:
            self.plane.core.finish()
        return (verdict, PyBytes_FromStringAndSize(<const char*>write.address, write.address_size), write.hlc,
                write.rank)

    def publish_told(self, bytes payload not None, bytes address not None):
        """`publish` what the neighbour has sent, as the message of MQTT that it has said it is."""
        cdef Raw* raw = self.details.of_event() if self.details is not None and self.details.pending else NULL
        cdef bint outer = self.plane.core.in_pass
        if raw == NULL:
            verdict = self.publish(payload, address)
        else:
            self.plane.core.begin()
            verdict = self.plane.publish_raw(
                self, <const uint8_t*><char*>address, len(address),
                self.plane.table.hash_of(<const uint8_t*><char*>address, len(address)), raw)
            if not outer:
                self.plane.core.finish()
        return verdict

    def overrule(self, bytes address not None, uint64_t hlc, uint64_t rank, bint raise_epoch):
        """What is here stands against that version, and all are told; a tombstone where nothing is here."""
        cdef Entry* entry = self._find(address)
        cdef int verdict = 0
        cdef bint outer = self.plane.core.in_pass
        self.plane.core.begin()
        if entry == NULL:
            entry = self.plane._route(<const uint8_t*><char*>address, len(address), self.plane.table.hash_of(
                <const uint8_t*><char*>address, len(address)), &verdict)
        if entry != NULL:
            self.plane.overrule(entry, hlc, rank, raise_epoch)
        if not outer:
            self.plane.core.finish()

    # ---- locks ----

    cdef int _lock_flags(self, Entry* entry) noexcept:
        """Of a SET's flags: whether somebody has the param locked here. NULL: it has ended while it was told."""
        return LOCKED if entry != NULL and entry.lock_holder and entry.lock_holder != self.writer else UNLOCKED

    def lock_flags(self, bytes address not None):
        """`_lock_flags` by address; 0 where that is not told."""
        cdef Entry* entry = self._find(address) if self.tells_locks else NULL
        return self._lock_flags(entry) if entry != NULL else 0

    def unlock(self, bytes address not None):
        """The neighbour, who decides, has not granted the lock that somebody took here; its own stays."""
        cdef Entry* entry = self._find(address)
        if entry != NULL and entry.lock_holder and entry.lock_holder != self.writer and (
                self.twin is None or entry.lock_holder != self.twin.writer):
            self.plane._unlock(entry)
            # It may have granted one since: what it was told before this.
            self.plane.tell_links(entry, 0, None, True)

    def locked(self, uint32_t cursor, uint32_t max_entries):
        """Params that somebody has locked here and that the link carries, as `in_buckets` has them."""
        cdef Entry* entry
        cdef uint32_t id = cursor if cursor > FIRST_ID else FIRST_ID
        cdef list found = []
        while id < self.plane.table.top and max_entries:
            entry = self.plane.table.entries[id]
            id += 1
            max_entries -= 1
            if entry != NULL and entry.revision and entry.lock_holder and self._carries(entry):
                found.append((PyBytes_FromStringAndSize(<const char*>entry_address(entry), entry.address_size),
                              self._state_frame(entry)))
        return found, id if id < self.plane.table.top else 0

    # ---- what the neighbour is told ----

    def on_deliveries(self, list deliveries):
        """As `Adapter.on_deliveries`, but each is `(kind, address, frame, route, number, logged)`.

        `kind` is the signal (0: a SET; a PUBLISH of signal param is told as an event), with 0x80 for a param that was
        cleared; `frame` a whole frame, made for a router, behind what MQTT clients are told of
        it (`mqtt_details`), if the neighbour is; `route` and `number` as the writer had them, and `number`
        counts our own writes where `route` is None; `logged` is the write's number in the journal's log, 0 if it has
        none.
        """

    def marked(self, int loop_mark, uint64_t logged, uint64_t number):
        """`(route, number)` of a write of our own with this `Sink.loop_mark`; None where no route says so."""
        return None, number

    cdef void deliver(self, Delivery* delivery) noexcept:
        cdef Sink origin = <Sink>delivery.origin
        cdef Entry* entry
        if delivery.frame == NULL and not delivery.quiet:
            return
        if is_reserved(delivery.address, delivery.address_size):     # what a router says of itself is its own business
            return
        if self.versioned and delivery.origin == <PyObject*>self.plane.teller:
            return                          # what stands is known there (past.pyx)
        if self.versioned and delivery.delta and delivery.entry_id < self.counted:
            self.buckets[delivery.bucket] ^= delivery.delta
            self.root ^= delivery.delta
        # Nobody is the origin of what is overruled, and a box has no twin.
        if delivery.origin == <PyObject*>self or (self.twin is not None and delivery.origin == <PyObject*>self.twin):
            return
        try:
            if delivery.quiet:
                if self.versioned and delivery.tell:
                    entry = self.plane.table.entries[delivery.entry_id]
                    if not self.inbox:
                        self.plane.core.adapters.append(self)
                    self.inbox.append((
                        QUIET | (GONE if delivery.gone else 0),
                        PyBytes_FromStringAndSize(<const char*>delivery.address, delivery.address_size),
                        self._state_frame(entry), None, 0, 0))
                return
            frame = self._frame(delivery)
            if frame is None:
                return
            if not self.inbox:
                self.plane.core.adapters.append(self)
            route = origin.route
            number = origin.number if route is not None else delivery.serial
            if origin.loop_mark and route is None:
                route, number = self.marked(origin.loop_mark, delivery.logged, delivery.serial)
            self.inbox.append((
                delivery.signal | GONE if delivery.gone else delivery.signal,
                PyBytes_FromStringAndSize(<const char*>delivery.address, delivery.address_size), frame,
                route, number, delivery.logged))
        except MemoryError:
            pass

    cdef object _frame(self, Delivery* delivery):
        """None where it is no frame that another router could be told."""
        cdef Entry* entry
        cdef Write write
        cdef long long ttl = NO_TTL
        cdef bytes details = b""
        if self.tells_mqtt and delivery.raw != NULL and not delivery.gone:
            details = details_of_raw(delivery.raw)
        if self.awaits_word and delivery.hlc and not delivery.gone and delivery.signal == 0:
            self._contest(delivery)
        if delivery.signal != 0:
            return details + PyBytes_FromStringAndSize(<const char*>delivery.frame, delivery.size)
        if delivery.gone:
            # Over as soon as it has been told (wire.md 2.3, SET).
            return self._set_frame(delivery.address, delivery.address_size, 0, NULL, 0, TTL_ABSOLUTE, delivery.hlc,
                                   delivery.rank)
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
        if not self.tells_locks or delivery.hlc == 0:
            return details + self._set_frame(write.address, write.address_size, write.flags & 0x0F, write.value,
                                             write.value_size, ttl, delivery.hlc, delivery.rank)
        return details + self._set_frame(write.address, write.address_size, write.flags & 0x0F, write.value,
                                         write.value_size, ttl, delivery.hlc, delivery.rank,
                                         self._lock_flags(self.plane.table.entries[delivery.entry_id]), delivery.base)

    cdef int _contest(self, Delivery* delivery) except -1:
        """Note a write that needs the word of whoever decides, which it may not have yet."""
        cdef Entry* entry = self.plane.table.entries[delivery.entry_id]
        cdef int why = NEEDS_REVISION if delivery.base else 0
        if entry != NULL:
            if entry.lock_holder and entry.lock_holder != self.writer:
                why |= NEEDS_LOCK
            if entry.strategy != STRATEGY_LWW:
                why |= NEEDS_STRATEGY
        if why:
            address = PyBytes_FromStringAndSize(<const char*>delivery.address, delivery.address_size)
            known = self.contested.get(address)
            writers = (self.plane.writer_texts[(<Sink>delivery.origin).writer],)
            if known is not None:
                why |= <int>known[0]
                writers = known[1][1 - MOST_WRITERS:] + writers
            self.contested[address] = (why, writers)
        return 0

    cdef object _state_frame(self, Entry* entry):
        """The frame that tells a param, or a tombstone, as it is now."""
        cdef Value value
        if entry.revision == 0:
            return self._set_frame(entry_address(entry), entry.address_size, 0, NULL, 0, TTL_ABSOLUTE, entry.hlc,
                                   entry.rank)
        value = self.plane.table.value(entry)
        frame = self._set_frame(entry_address(entry), entry.address_size, value.type, value.data, value.size,
                                self._lifetime(entry), entry.hlc, entry.rank,
                                self._lock_flags(entry) if self.tells_locks else 0)
        if not self.tells_mqtt:
            return frame
        return details_of_entry(entry, self.plane.core.mono_us // 1000) + frame

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
                           size_t value_size, long long ttl, uint64_t hlc, uint64_t rank, int locks=0,
                           uint64_t base=0):
        cdef size_t size = (8 + address_size + value_size + (4 if ttl != NO_TTL else 0) + (8 if base else 0)
                            + (VERSION_BYTES if self.versioned else 0))
        frame = PyBytes_FromStringAndSize(NULL, size)
        cdef uint8_t* p = <uint8_t*>PyBytes_AS_STRING(frame)
        p[0] = 0x53
        p[1] = <uint8_t>self.flags
        put16(p + 2, <uint16_t>(size - 4))
        p[4] = 0x21
        p[5] = value_type | (0x10 if ttl != NO_TTL else 0) | (0x80 if base else 0) | locks
        put16(p + 6, <uint16_t>address_size)
        memcpy(p + 8, address, address_size)
        if value_size:
            memcpy(p + 8 + address_size, value, value_size)
        if base:
            put64(p + 8 + address_size + value_size, base)
        if self.versioned:
            put64(p + size - 16, rank)
            put64(p + size - 8, hlc)
            size -= VERSION_BYTES
        if ttl != NO_TTL:
            put32(p + size - 4, <uint32_t>ttl)
        return frame

    def image(self, bytes address not None):
        """The frame that tells a param as it is now; None where there is none."""
        cdef const uint8_t* text = <const uint8_t*><char*>address
        cdef Entry* entry = self.plane.live(text, len(address), self.plane.table.hash_of(text, len(address)))
        if entry == NULL or (entry.revision == 0 and (entry.hlc == 0 or not self.versioned)):
            return None
        return self._state_frame(entry)

    def lifetime(self, bytes address not None):
        """The ttl word that gives the param, written elsewhere now, the life it has here; None where there is none."""
        cdef const uint8_t* text = <const uint8_t*><char*>address
        cdef Entry* entry = self.plane.live(text, len(address), self.plane.table.hash_of(text, len(address)))
        return self._lifetime(entry) if entry != NULL and entry.revision else None

    def held(self, bytes address not None):
        """`(value type, value, writer, written_us)` of a param; None where there is none."""
        cdef const uint8_t* text = <const uint8_t*><char*>address
        cdef Entry* entry = self.plane.live(text, len(address), self.plane.table.hash_of(text, len(address)))
        cdef Value value
        if entry == NULL or entry.revision == 0:
            return None
        value = self.plane.table.value(entry)
        return (value.type, PyBytes_FromStringAndSize(<const char*>value.data, value.size),
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
                               write.value_size, ttl, 0, REPLAYED)


cdef bint set_in(const uint8_t* frame, size_t size, Write* write) noexcept nogil:
    """Take the SET apart that a frame of ours holds. False where it holds none."""
    cdef size_t payload_size
    cdef const uint8_t* payload = framed_payload(frame, size, &payload_size)
    return payload != NULL and payload[0] == SET and read_set(payload, payload_size, write) == 0
