"""The params of one router and who wrote them: reading, forgetting, expiring. Writing is `plane.Plane`, built on this.

What a reader gets is copied out as it is at that moment, in pieces, so that a large state never stands in memory twice.
Knows nothing of subscriptions or sockets.
"""

import logging

cimport cython
from cpython.bytes cimport PyBytes_FromStringAndSize
from cpython.ref cimport Py_XDECREF, PyObject
from libc.stdlib cimport free, realloc
from libc.string cimport memcmp, memcpy, memset

from clasp_edge.dataplane.address_index cimport AddressScan
from clasp_edge.dataplane.bytes cimport put16, put64
from clasp_edge.dataplane.table cimport (
    FIRST_ID,
    LIST_GONE,
    TTL_ABSOLUTE,
    TTL_DEFAULT,
    Value,
    entry_address,
)
from clasp_edge.wire.pattern cimport Pattern

from clasp_edge.dataplane.reserved import RESERVED

log = logging.getLogger("clasp_edge.dataplane")

cdef enum:
    MAX_FRAME = 65547           # wire.md 1
    MAX_PAYLOAD = 65535
    SNAPSHOT_ENTRIES = 800      # per message, as clients are used to (router.md 3.6)
    SLIDING_STEPS = 64          # being read prolongs a param's life in steps of this part of it
    SQUEEZED_US = 1000000       # versions from the future are brought within so much of the present
    MANTISSA_BITS = 14          # 2 << 14 steps of 2 µs, as many halves for each further power of two: about SQUEEZED_US
    MAX_GONE = 20000            # tombstones: some 2.5 MB
    EXPIRE_AT_ONCE = 32         # removals before the clock is looked at, so that a mass expiry does not hold up traffic
    EXPIRE_US = 1000
    LOCKS_AT_ONCE = 1024        # params looked at for locks before the clock is


cdef uint64_t squeezed(uint64_t hlc, uint64_t after) noexcept nogil:
    """A version's time brought close after another one, in the order of seconds."""
    cdef uint64_t steps = (hlc - after) >> 20
    if steps > SQUEEZED_US // 2 - 4:
        steps = SQUEEZED_US // 2 - 4
    return (((after + 2) & ~<uint64_t>1) + (steps << 1)) | (hlc & 1)


cdef uint64_t compressed(uint64_t hlc, uint64_t begin) noexcept nogil:
    """A version's time brought to within SQUEEZED_US of `begin`, before it, so that whoever does that comes to the same
    time and the order stays: what lies `begin` + x, as x in floating point with 14 bits behind its first one."""
    cdef uint64_t beyond = (hlc - begin) >> 1
    cdef int shift = 0
    while beyond >> shift >= 1 << (MANTISSA_BITS + 1):
        shift += 1
    beyond = (<uint64_t>shift << MANTISSA_BITS) + (beyond >> shift)
    return (((begin + 2) & ~<uint64_t>1) + (beyond << 1)) | (hlc & 1)


cdef Entry* _with_value(State state, Entry* entry) noexcept:
    """The entry, which may move, with its value in it: who asks for a param asks again, and reading a payload may cost
    as much as all the rest. Only where there is room: the least recently written params go for writes alone. Not to be
    called by who goes through entries that others have pointers to."""
    cdef Value value = state.table.value(entry)
    cdef Entry* moved
    if value.data == entry_address(entry) + entry.address_size:
        return entry                    # it is there
    if state.max_bytes and state.table.bytes + value.size > state.max_bytes:
        return entry
    moved = state.table.store(entry, value.type, value.data, value.size)
    return entry if moved == NULL else moved


cdef class State:
    """`State(core)`; `control.strategy_of(address)` and `control.arm(deadline_ms)` are asked of the control plane."""

    def __cinit__(self, Core core not None, *args, **kwargs):
        self.core = core
        self.table = Table()
        self.evict = True
        self.armed_ms = <uint64_t>-1
        self.max_gone = MAX_GONE
        self.core.tick()
        self.base_us = self.core.wall_us - self.core.mono_us
        self.writer_texts = [b""]
        self.free_writers = []
        self.gate_generation = 1
        self._writer_room(64)

    def __dealloc__(self):
        free(self.writer_uses)
        free(self.writer_locks)

    # ---- writers: who wrote a param, by a small number ----

    def _writer_room(self, size_t room):
        cdef uint32_t* uses = <uint32_t*>realloc(self.writer_uses, room * sizeof(uint32_t))
        if uses == NULL:
            raise MemoryError
        self.writer_uses = uses
        cdef uint32_t* locks = <uint32_t*>realloc(self.writer_locks, room * sizeof(uint32_t))
        if locks == NULL:
            raise MemoryError
        self.writer_locks = locks
        memset(uses + self.writer_room, 0, (room - self.writer_room) * sizeof(uint32_t))
        memset(locks + self.writer_room, 0, (room - self.writer_room) * sizeof(uint32_t))
        self.writer_room = room

    def register(self, Sink origin not None, bytes text not None):
        """Give `origin` a place among the writers; `text` (at most 36 bytes) is what snapshots name as the writer."""
        cdef uint32_t writer
        if len(text) > 36:
            raise ValueError("a writer's name has at most 36 bytes")
        if self.free_writers:
            writer = self.free_writers.pop()
            self.writer_texts[writer] = text
        else:
            writer = len(self.writer_texts)
            self.writer_texts.append(text)
            if writer >= self.writer_room:
                self._writer_room(self.writer_room * 2)
        self.writer_uses[writer] = 1
        self.writer_locks[writer] = 0
        origin.writer = writer
        # The place may have had a tenant whose passing of the gate is still remembered.
        self.gate_generation += 1

    def unregister(self, Sink origin not None):
        """`origin` writes no more. Its name stays while a param carries it, its locks until `release_locks`."""
        self._release_writer(origin.writer)
        origin.writer = 0

    cdef void _release_writer(self, uint32_t writer) noexcept:
        if writer == 0:
            return
        self.writer_uses[writer] -= 1
        if self.writer_uses[writer] == 0:
            self.writer_texts[writer] = b""
            self.free_writers.append(writer)

    def locks_held(self, Sink origin not None):
        return self.writer_locks[origin.writer]

    def release_locks(self, uint32_t writer, bytes text not None):
        """Release every lock of the writer `text` at place `writer` (its session ended), a part of the params at a
        time: an iterator over how many were released in each part."""
        return LockRelease.__new__(LockRelease, self, writer, text)

    cdef void _unlock(self, Entry* entry) noexcept:
        if entry.lock_holder:
            self.writer_locks[entry.lock_holder] -= 1
            self._release_writer(entry.lock_holder)
            entry.lock_holder = 0

    # ---- entries ----

    cdef Entry* live(self, const uint8_t* address, size_t size, uint32_t hash) noexcept:
        """The entry, unless it is a param whose time is over: that one is removed first."""
        cdef Entry* entry = self.table.find(address, size, hash)
        if entry != NULL and entry.deadline_ms and entry.deadline_ms <= self.core.mono_us // 1000:
            self.expired += 1
            self._end(entry)
            return self.table.find(address, size, hash)
        return entry

    # ---- versions ----

    cdef void _end(self, Entry* entry) noexcept:
        """A param's time is over. Every router comes to the same tombstone by itself: the param's version, made odd."""
        cdef bytes reserved = RESERVED
        if self.versions and entry.hlc and entry.revision and not (
                entry.address_size > len(reserved)
                and memcmp(entry_address(entry), <const char*>reserved, len(reserved)) == 0):
            self._bury(entry, entry.hlc | 1, entry.rank, None, False, False)
        else:
            self._forget(entry)

    cdef void _bury(self, Entry* entry, uint64_t hlc, uint64_t rank, Sink origin, bint tell, bint told) noexcept:
        """Leave a tombstone of this version in place of a param, a route or an older tombstone. `tell`: routers that
        know versions hear of it, but for `origin`; `told`: they have, and have counted it."""
        cdef uint64_t delta = version_hash(entry.hlc, entry.rank) ^ version_hash(hlc, rank)
        self._unlock(entry)
        if entry.revision:
            self._release_writer(entry.writer)
            entry.writer = 0
        entry = self.table.make_gone(entry)
        entry.hlc = hlc
        entry.rank = rank
        if self.journal_buffer is not None:
            self.journal_buffer.forgotten(entry)
        if not told:
            self.tell_links(entry, delta, origin, tell)
        while self.table.gone > self.max_gone:
            self._forget(self.table.entries[self.table.newer[LIST_GONE]])

    cdef void tell_links(self, Entry* entry, uint64_t delta, Sink origin, bint tell) noexcept:
        """The version of a param has changed, and nothing that clients are told of."""

    @property
    def tombstones(self):
        return self.table.gone

    @property
    def clock_us(self):
        """The time that versions go by, as the clock has it."""
        self.core.tick()
        return self.core.mono_us + self.base_us

    @property
    def now_hlc(self):
        """The time that versions go by: not behind what was heard of."""
        self.core.tick()
        return max(self.core.mono_us + self.base_us, self.hlc)

    @property
    def beginning(self):
        """Where the time that versions go by may begin: what others bring from behind it comes to lie before the
        present, so that whatever is written from now on is later. Not before what is here."""
        self.core.tick()
        return max(self.core.mono_us + self.base_us - SQUEEZED_US, self.hlc)

    def skip_time(self, uint64_t us):
        """Go on so much later, and leave room before that for what others bring from behind the beginning."""
        self.base_us += us + SQUEEZED_US

    def retime(self, long long delta_us, uint64_t since, uint64_t latest, floor=None, begin=None):
        """The clock was wrong by `delta_us`: move the versions that were assigned here after `since`, though not behind
        `floor` (as `since`, where it is not given), and bring those that lie beyond `latest` to shortly after it. What
        was later than something else stays so: it may have overwritten it. How many have changed.

        With `begin`: time has begun anew there, for all who have heard of it, and what lies behind it was assigned
        before. That is brought to shortly after it by all in the same way, so that what each of them has stays in order
        with what the others have, whenever they come."""
        cdef uint32_t id
        cdef Entry* entry
        cdef uint64_t hlc, old
        cdef uint64_t highest = 0
        cdef uint64_t lowest = since if floor is None else floor
        cdef uint64_t anew = 0 if begin is None else begin
        cdef uint64_t bound
        cdef int changed = 0
        delta_us = delta_us & ~<long long>1
        self.core.tick()
        self.base_us = <uint64_t>(<long long>self.base_us + delta_us)
        for id in range(FIRST_ID, self.table.top):
            entry = self.table.entries[id]
            if entry == NULL or entry.hlc == 0:
                continue
            hlc = entry.hlc
            bound = anew if anew else latest + SQUEEZED_US
            if delta_us and hlc > since and entry.rank & ~EPOCH_MASK == self.tag:
                hlc = <uint64_t>(<long long>hlc + delta_us)
                if hlc <= lowest:
                    hlc = squeezed(entry.hlc, lowest)
                bound = latest + SQUEEZED_US
            if hlc > bound:
                hlc = compressed(max(hlc, entry.hlc), anew) if anew else squeezed(hlc, latest)
            if hlc != entry.hlc:
                old = version_hash(entry.hlc, entry.rank)
                entry.hlc = hlc
                changed += 1
                if self.journal_buffer is not None:
                    if entry.revision:
                        self.journal_buffer.prolonged(entry)
                    else:
                        self.journal_buffer.forgotten(entry)
                self.tell_links(entry, old ^ version_hash(entry.hlc, entry.rank), None, True)
            if hlc > highest:
                highest = hlc
        self.hlc = highest | 1 if highest else 0
        if anew:
            self.timeline = anew
        return changed

    cdef void _forget(self, Entry* entry) noexcept:
        self._unlock(entry)
        if entry.revision:
            self._release_writer(entry.writer)
            if self.journal_buffer is not None:
                self.journal_buffer.forgotten(entry)
        Py_XDECREF(<PyObject*>entry.fan)
        entry.fan = NULL
        self.table.remove(entry)

    def open_journal_buffer(self, owner, bint strict, size_t buffer_bytes, log_stream, state_stream):
        """Report every change to a journal from now on (`JournalBuffer`); returns the buffer."""
        self.journal_buffer = JournalBuffer(
            self.core, self.table, self.writer_texts, owner, strict, buffer_bytes, log_stream, state_stream)
        return self.journal_buffer

    def close_journal_buffer(self):
        self.journal_buffer = None

    def reclassify(self):
        """Ask `control` again which strategy each known address has (the configuration changed)."""
        cdef uint32_t id
        cdef Entry* entry
        for id in range(FIRST_ID, self.table.top):
            entry = self.table.entries[id]
            if entry != NULL:
                entry.strategy = self.control.strategy_of(
                    PyBytes_FromStringAndSize(<const char*>entry_address(entry), entry.address_size))

    # ---- reading state ----

    cdef size_t set_image(self, Entry* entry, uint8_t* target) noexcept:
        """The SET frame that tells the param's present value; returns its size (at most MAX_FRAME)."""
        cdef Value value = self.table.value(entry)
        cdef size_t size = entry.address_size + value.size
        target[0] = 0x53
        target[1] = 0x41
        put16(target + 2, <uint16_t>(size + 12))
        target[4] = 0x21
        target[5] = 0x80 | value.type
        put16(target + 6, entry.address_size)
        memcpy(target + 8, entry_address(entry), entry.address_size)
        memcpy(target + 8 + entry.address_size, value.data, value.size)
        put64(target + 8 + size, entry.revision)
        return size + 16

    cdef size_t _snapshot_entry(self, Entry* entry, uint8_t* p) noexcept:
        cdef bytes writer = <bytes>self.writer_texts[entry.writer]
        cdef size_t writer_size = len(writer)
        cdef uint8_t* start = p
        cdef Value value = self.table.value(entry)
        put16(p, entry.address_size)
        memcpy(p + 2, entry_address(entry), entry.address_size)
        p += 2 + entry.address_size
        p[0] = <uint8_t>value.type
        memcpy(p + 1, value.data, value.size)
        p += 1 + value.size
        put64(p, entry.revision)
        p[8] = 0x03 if writer_size else 0x02
        p += 9
        if writer_size:
            put16(p, <uint16_t>writer_size)
            memcpy(p + 2, <char*>writer, writer_size)
            p += 2 + writer_size
        put64(p, entry.written_us)
        return p + 8 - start

    def snapshot(self, Pattern pattern not None, object scopes, bytes cursor, size_t max_bytes, uint32_t max_scan,
                 uint64_t newer_than=0):
        """One SNAPSHOT payload of the params that match, in the order of their addresses, from `cursor` on (b"" at
        first).

        Returns `(payload or None when nothing matched, next cursor or b"" at the end)`. Cut at `max_bytes` (one param
        always fits), at 800 params, after looking at `max_scan` addresses and when the slice is over, so that a large
        state never holds up traffic. Each param is read as it is now; it can only be newer than what the reader has
        seen. `newer_than` leaves out params at or below that revision.
        """
        # A buffer of its own: jobs run while a frame in `scratch` is still being handed out.
        cdef uint8_t buffer[MAX_FRAME]
        cdef uint8_t* p = buffer
        cdef size_t size = 3
        cdef uint32_t steps = 0
        cdef uint32_t at_once = STEPS_OF_PARTIAL if pattern.partial else STEPS
        cdef uint64_t left = max_scan
        cdef int count = 0
        cdef Entry* entry
        cdef AddressScan scan
        if max_bytes > MAX_PAYLOAD:
            max_bytes = MAX_PAYLOAD
        if pattern.literal:
            entry = self.live(<const uint8_t*><char*>pattern.text, len(pattern.text),
                              self.table.hash_of(<const uint8_t*><char*>pattern.text, len(pattern.text)))
            if entry != NULL and entry.revision > newer_than and (
                    scopes is None or scopes.allows("read", pattern.text)):
                entry = _with_value(self, entry)
                size += self._snapshot_entry(entry, p + 3)
                count = 1
            following = b""
        else:
            scan = AddressScan(pattern, cursor)
            while count < SNAPSHOT_ENTRIES and not scan.done:
                if steps == 0:
                    if left == 0 or (scan.begun and self.core.is_slice_over()):
                        break
                    steps = at_once if at_once < left else <uint32_t>left
                    left -= steps
                entry = scan.next(self.table.index, self.table.entries, self.core.mono_us // 1000, &steps)
                if entry == NULL or entry.revision <= newer_than:
                    continue
                if scopes is not None and not scopes.allows(
                        "read", PyBytes_FromStringAndSize(<const char*>entry_address(entry), entry.address_size)):
                    continue
                entry = _with_value(self, entry)
                if count and (size + entry.address_size + self.table.value(entry).size + SNAPSHOT_OVERHEAD - 3
                              > max_bytes):
                    scan.back()
                    break
                size += self._snapshot_entry(entry, p + size)
                count += 1
            scan.stay(self.table.index, self.table.entries)
            following = b"" if scan.done else scan.cursor
        p[0] = 0x23
        put16(p + 1, <uint16_t>count)
        return (PyBytes_FromStringAndSize(<const char*>p, size) if count else None, following)

    def read(self, bytes address not None):
        """GET: like `snapshot` for one address, and a use of the param: a sliding ttl starts again (router.md 3.4)."""
        cdef const uint8_t* text = <const uint8_t*><char*>address
        cdef Entry* entry = self.live(text, len(address), self.table.hash_of(text, len(address)))
        cdef uint8_t buffer[MAX_FRAME]
        cdef uint8_t* p = buffer
        cdef uint64_t lifetime_s, deadline_ms
        if entry == NULL or entry.revision == 0:
            return None
        if entry.deadline_ms and not entry.ttl & TTL_ABSOLUTE:
            lifetime_s = self.param_ttl_s if entry.ttl == TTL_DEFAULT else entry.ttl
            deadline_ms = self.core.mono_us // 1000 + lifetime_s * 1000
            # Not for less than a part of it: the journal notes each time.
            if lifetime_s and deadline_ms - entry.deadline_ms > lifetime_s * 1000 // SLIDING_STEPS:
                self.table.expires(entry, deadline_ms)
                if self.journal_buffer is not None:
                    self.journal_buffer.prolonged(entry)
        entry = _with_value(self, entry)
        p[0] = 0x23
        put16(p + 1, 1)
        return PyBytes_FromStringAndSize(<const char*>p, 3 + self._snapshot_entry(entry, p + 3))

    def describe(self, bytes address not None):
        """What a dry run needs: `(revision, value type, value bytes, lock holder's name or b"", strategy)` or None."""
        cdef const uint8_t* text = <const uint8_t*><char*>address
        cdef Entry* entry = self.live(text, len(address), self.table.hash_of(text, len(address)))
        cdef Value value
        if entry == NULL or entry.revision == 0:
            return None
        entry = _with_value(self, entry)
        value = self.table.value(entry)
        return (entry.revision, value.type, PyBytes_FromStringAndSize(<const char*>value.data, value.size),
                self.writer_texts[entry.lock_holder], entry.strategy)

    @property
    def state_bytes(self):
        """What the params and cached routes take, in bytes of this process."""
        return self.table.bytes

    @property
    def params(self):
        return self.table.params

    @property
    def unretained(self):
        """Params whose value is no retained MQTT message."""
        return self.table.unretained

    @property
    def routes(self):
        return self.table.routes

    # ---- time ----

    cdef void _arm(self) noexcept:
        self.armed_ms = self.table.next_deadline()
        try:
            self.control.arm(self.armed_ms)
        except Exception:
            log.exception("the expiry timer could not be set")

    def expire(self):
        """Remove params whose time is over (as many as one call may) and ask `control.arm` for the next look."""
        cdef Entry* entry
        cdef int count = 0
        cdef uint64_t now_ms
        self.core.tick()
        now_ms = self.core.mono_us // 1000
        self.armed_ms = <uint64_t>-1
        while True:
            entry = self.table.next_expired(now_ms)
            if entry == NULL:
                break
            count += 1
            if count % EXPIRE_AT_ONCE == 0 and self.core.elapsed_us() > EXPIRE_US:
                break
            self.expired += 1
            self._end(entry)
        if self.table.next_deadline():
            self._arm()

    def restamp(self):
        """After `param_ttl_s` changed: give every param that has no ttl of its own its new deadline."""
        cdef uint32_t id
        cdef Entry* entry
        self.core.tick()
        for id in range(FIRST_ID, self.table.top):
            entry = self.table.entries[id]
            if entry != NULL and entry.revision and entry.ttl == TTL_DEFAULT:
                self.table.expires(entry, self.core.mono_us // 1000 + <uint64_t>self.param_ttl_s * 1000
                                   if self.param_ttl_s else 0)
        if self.table.next_deadline() and self.table.next_deadline() < self.armed_ms:
            self._arm()


@cython.final
cdef class LockRelease:
    """What `State.release_locks` gives. A generator would bring much more C into the module."""

    cdef State _state
    cdef uint32_t _writer, _next
    cdef bytes _text

    def __cinit__(self, State state not None, uint32_t writer, bytes text not None):
        self._state, self._writer, self._text = state, writer, text
        self._next = FIRST_ID

    cdef bint _locks_are_left(self):
        # The place may have a new tenant by now, or get one between two parts.
        return (self._writer and self._state.writer_locks[self._writer]
                and self._state.writer_texts[self._writer] == self._text)

    def __iter__(self):
        return self

    def __next__(self):
        cdef uint32_t end = min(self._next + LOCKS_AT_ONCE, self._state.table.top)
        cdef Entry* entry
        cdef int released = 0
        if self._next >= end or not self._locks_are_left():
            raise StopIteration
        while self._next < end:
            entry = self._state.table.entries[self._next]
            self._next += 1
            if entry != NULL and entry.lock_holder == self._writer:
                self._state._unlock(entry)
                self._state.tell_links(entry, 0, None, True)
                released += 1
                if not self._locks_are_left():
                    break
        return released
