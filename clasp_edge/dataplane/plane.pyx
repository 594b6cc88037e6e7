"""The two operations everything goes through, set a param and publish a message: the gate before, the fan-out after.

One hash lookup per message; the fan-out list is cached in the entry; a relayed frame is copied, not re-encoded. What is
rare (a new address, a merge, what to answer) is asked of `control`, an object of the control plane. Knows no transport.
"""

import logging

from cpython.bytes cimport PyBytes_FromStringAndSize
from cpython.ref cimport Py_INCREF, Py_XDECREF, PyObject
from libc.stdlib cimport free, malloc, realloc
from libc.string cimport memcpy, memset

from clasp_edge.dataplane.bytes cimport get16, get32, get64, put16, put32, put64
from clasp_edge.dataplane.outlet cimport CONVERGES, HEADROOM, OLDEST_FIRST
from clasp_edge.dataplane.table cimport (
    FIRST_ID,
    LIST_PARAMS,
    LIST_ROUTES,
    ROUTE_PLAIN,
    STRATEGY_LWW,
    STRATEGY_MAX,
    STRATEGY_MERGE,
    STRATEGY_MIN,
    TTL_ABSOLUTE,
    TTL_DEFAULT,
    TTL_NEVER,
    entry_address,
    entry_value,
)
from clasp_edge.dataplane.trie cimport Target
from clasp_edge.wire.pattern cimport Pattern

log = logging.getLogger("clasp_edge.dataplane")

cdef enum:
    MAX_FRAME = 65547           # wire.md 1
    MAX_PAYLOAD = 65535
    MAX_ROUTES = 65536          # addresses that are only published to; a remote party can grow this table
    # What a param's SNAPSHOT entry takes beside address and value, in a snapshot of its own: type byte, count, two
    # lengths, type, revision, option byte, writer (36 characters), timestamp (wire.md 2.3).
    SNAPSHOT_OVERHEAD = 3 + 2 + 1 + 8 + 1 + 2 + 36 + 8
    SNAPSHOT_ENTRIES = 800      # per message, as clients are used to (router.md 3.6)
    SLIDING_STEPS = 64          # being read prolongs a param's life in steps of this part of it
    EXPIRE_AT_ONCE = 2000       # removals per call, so that a mass expiry does not hold up traffic

# Default QoS of a PUBLISH by signal (wire.md 2.1), in the frame's flag bits: param, event, stream, gesture, timeline.
cdef uint8_t* PUBLISH_FLAGS = [0x41, 0x41, 0x01, 0x01, 0x81]

cdef int SET_HAS_REVISION = 0x80
cdef int SET_LOCK = 0x40
cdef int SET_UNLOCK = 0x20
cdef int SET_HAS_TTL = 0x10


cdef bint _number(int type_code, const uint8_t* p, double* value) noexcept nogil:
    """The value as a double, if it is a number."""
    cdef uint64_t bits
    cdef uint32_t half
    cdef float single
    if type_code == 0x07:
        bits = get64(p)
        memcpy(value, &bits, 8)
    elif type_code == 0x06:
        half = get32(p)
        memcpy(&single, &half, 4)
        value[0] = single
    elif type_code == 0x05:
        value[0] = <double><long long>get64(p)
    elif type_code == 0x04:
        value[0] = <double><int>get32(p)
    elif type_code == 0x03:
        value[0] = <double><short>get16(p)
    elif type_code == 0x02:
        value[0] = <double><signed char>p[0]
    else:
        return False
    return True


cdef bint _improves(int strategy, int old_type, const uint8_t* old, int new_type, const uint8_t* new) noexcept nogil:
    """Whether max or min take the new value: strictly greater or smaller, anything that is not two numbers always."""
    cdef double a, b
    if strategy != STRATEGY_MAX and strategy != STRATEGY_MIN:
        return True
    if not (_number(old_type, old, &a) and _number(new_type, new, &b)):
        return True
    return b > a if strategy == STRATEGY_MAX else b < a


cdef class Plane:
    """The data plane of one router.

    `control` must have: `classify(address: bytes) -> (route, strategy)`, raising ValueError with a sentence for the
    peer when the address is not valid; `merge(old_type, old, new_type, new) -> (type, value)` on encoded values;
    `arm(deadline_ms)`: call `expire()` at that monotonic time.
    """

    def __cinit__(self, Core core not None, size_t history_bytes):
        self.core = core
        self.trie = Trie()
        self.table = Table()
        self.ring = Ring(history_bytes)
        self.evict = True
        self.armed_ms = <uint64_t>-1
        self.writer_texts = [b""]
        self.free_writers = []
        self.gate_generation = 1
        self.refusal_text = ""
        self._writer_room(64)
        self.scratch = <uint8_t*>malloc(HEADROOM + MAX_FRAME + 16)
        if self.scratch == NULL:
            raise MemoryError

    def __dealloc__(self):
        free(self.scratch)
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
        """Release every lock of the writer `text` at place `writer` (its session ended). Returns how many."""
        cdef uint32_t id
        cdef Entry* entry
        cdef int released = 0
        # The place may have a new tenant by now.
        if writer == 0 or self.writer_locks[writer] == 0 or self.writer_texts[writer] != text:
            return 0
        for id in range(FIRST_ID, self.table.top):
            entry = self.table.entries[id]
            if entry != NULL and entry.lock_holder == writer:
                self._unlock(entry)
                released += 1
        return released

    cdef void _unlock(self, Entry* entry) noexcept:
        if entry.lock_holder:
            self.writer_locks[entry.lock_holder] -= 1
            self._release_writer(entry.lock_holder)
            entry.lock_holder = 0

    def scopes_changed(self):
        """Forget what the gate has remembered about who may write where, and who gets what."""
        self.gate_generation += 1
        self.trie.invalidate()

    # ---- addresses ----

    cdef Entry* live(self, const uint8_t* address, size_t size, uint32_t hash) noexcept:
        """The entry, unless it is a param whose time is over: that one is removed first."""
        cdef Entry* entry = self.table.find(address, size, hash)
        if entry != NULL and entry.deadline_ms and entry.deadline_ms <= self.core.mono_us // 1000:
            self.expired += 1
            self._forget(entry)
            return NULL
        return entry

    cdef Entry* _route(self, const uint8_t* address, size_t size, uint32_t hash, int* verdict) noexcept:
        """A new entry for an address seen for the first time, or NULL with the verdict."""
        cdef Entry* entry
        try:
            text = PyBytes_FromStringAndSize(<const char*>address, size)
            route, strategy = self.control.classify(text)
            if self.table.routes >= MAX_ROUTES:
                self._forget(self.table.entries[self.table.newer[LIST_ROUTES]])
            entry = self.table.insert(address, size, hash)
            entry.route = route
            entry.strategy = strategy
            return entry
        except ValueError as error:
            self.refusal_text = str(error)
            verdict[0] = BAD_ADDRESS
        except MemoryError:
            verdict[0] = AT_CAPACITY
        except Exception:
            log.exception("an address could not be classified")
            self.refusal_text = "internal error"
            verdict[0] = BAD_ADDRESS
        return NULL

    cdef void _forget(self, Entry* entry) noexcept:
        self._unlock(entry)
        if entry.revision:
            self._release_writer(entry.writer)
            if self.tap is not None:
                self.tap.forgotten(entry)
        Py_XDECREF(<PyObject*>entry.fan)
        entry.fan = NULL
        self.table.remove(entry)

    def open_tap(self, owner, bint strict, size_t buffer_bytes, log_stream, state_stream):
        """Report every change to a journal from now on (`dataplane.tap.Tap`); returns the tap."""
        self.tap = Tap(self.core, self.table, self.writer_texts, owner, strict, buffer_bytes, log_stream, state_stream)
        return self.tap

    def close_tap(self):
        self.tap = None

    def reclassify(self):
        """Ask `control` again which strategy each known address has (the configuration changed)."""
        cdef uint32_t id
        cdef Entry* entry
        for id in range(FIRST_ID, self.table.top):
            entry = self.table.entries[id]
            if entry != NULL:
                entry.strategy = self.control.strategy_of(
                    PyBytes_FromStringAndSize(<const char*>entry_address(entry), entry.address_size))

    # ---- the gate: every write, whatever its origin ----

    cdef bint _gate(self, Sink origin, const uint8_t* address, size_t size, Entry* entry) noexcept:
        """Whether `origin` may write here. What a token allows is remembered per address for its last writer."""
        if origin.scopes is None:
            return True
        if entry != NULL and entry.gate_writer == origin.writer and entry.gate_generation == self.gate_generation:
            return True
        try:
            if not origin.scopes.allows("write", PyBytes_FromStringAndSize(<const char*>address, size)):
                return False
        except Exception:
            log.exception("a scope could not be checked; refused")
            return False
        if entry != NULL and origin.writer:
            entry.gate_writer = origin.writer
            entry.gate_generation = self.gate_generation
        return True

    cdef int _judge(self, uint64_t revision, uint32_t holder, Sink origin, int flags, uint64_t expected) noexcept:
        """Whether a param in this state takes the write (router.md 3.2, with unlock by the holder only)."""
        if flags & SET_HAS_REVISION and revision and expected != revision:
            return REVISION_CONFLICT
        if holder and holder != origin.writer:
            return LOCK_HELD
        return ACCEPTED

    # ---- SET ----

    cdef int set(self, Sink origin, Write* write, uint64_t* revision) noexcept:
        """Check, apply and fan out one write. `revision` gets the new (or, when refused, the current) revision."""
        cdef Delivery delivery
        cdef Entry* entry
        cdef uint8_t* p
        cdef size_t size
        cdef int verdict
        cdef uint32_t hash = write.hash
        revision[0] = 0
        if write.address_size + write.value_size + SNAPSHOT_OVERHEAD > MAX_PAYLOAD:
            return TOO_LARGE
        entry = self.live(write.address, write.address_size, hash)
        if entry == NULL or entry.revision == 0:
            verdict = self._admit(origin, write, hash, &entry)
        elif not self._gate(origin, write.address, write.address_size, entry):
            verdict = NO_SCOPE
        else:
            revision[0] = entry.revision
            verdict = self._judge(entry.revision, entry.lock_holder, origin, write.flags, write.expected)
        if verdict == ACCEPTED:
            verdict = self._apply(origin, write, &entry)
        if verdict != ACCEPTED:
            return verdict
        self.sets += 1
        revision[0] = entry.revision

        # The relayed SET: what came, plus the new revision (wire.md 2.3; lock, unlock and ttl are passed on as sent).
        p = self.scratch + HEADROOM + 4
        p[0] = 0x21
        p[1] = (write.flags & 0x70) | 0x80 | entry.value_type
        put16(p + 2, entry.address_size)
        size = entry.address_size + entry.value_size
        memcpy(p + 4, entry_address(entry), size)
        put64(p + 4 + size, entry.revision)
        size += 12
        if write.flags & SET_HAS_TTL:
            put32(p + size, write.ttl)
            size += 4
        p -= 4
        p[0] = 0x53
        p[1] = 0x41
        put16(p + 2, <uint16_t>size)
        delivery.frame = p
        delivery.size = size + 4
        delivery.seq = entry.seq
        delivery.signal = 0
        delivery.loss = CONVERGES
        delivery.origin = <PyObject*>origin
        if self.ring.size:
            self.ring.append(p, delivery.size, 0, 8, entry.address_size)
        if self.tap is not None:
            self.tap.changed(entry, p, delivery.size, origin)
        self._fan_out(entry, None, &delivery)
        return ACCEPTED

    cdef int _admit(self, Sink origin, Write* write, uint32_t hash, Entry** found) noexcept:
        """Make a param of an address that is not one yet. It gets its first revision in `_apply`."""
        cdef Entry* entry = found[0]
        cdef int verdict = ACCEPTED
        if not self._gate(origin, write.address, write.address_size, entry):
            return NO_SCOPE
        if self.max_params and self.table.params >= self.max_params and not self.evict:
            return AT_CAPACITY
        if entry == NULL:
            entry = self._route(write.address, write.address_size, hash, &verdict)
            if entry == NULL:
                return verdict
        if self.max_params and self.table.params >= self.max_params:
            self.evicted += 1
            self._forget(self.table.entries[self.table.newer[LIST_PARAMS]])
        self.table.make_param(entry)
        found[0] = entry
        return ACCEPTED

    cdef int _apply(self, Sink origin, Write* write, Entry** found) noexcept:
        """Change the param: strategy, lock, value, revision, ttl."""
        cdef Entry* entry = found[0]
        cdef int value_type = write.flags & 0x0F
        cdef const uint8_t* value = write.value
        cdef size_t size = write.value_size
        cdef uint64_t lifetime_s
        merged = None
        try:
            if entry.strategy != STRATEGY_LWW and entry.revision:
                if not _improves(entry.strategy, entry.value_type, entry_value(entry), value_type, value):
                    return STRATEGY_REJECTED
                if entry.strategy == STRATEGY_MERGE:
                    value_type, merged = self.control.merge(
                        entry.value_type, PyBytes_FromStringAndSize(<const char*>entry_value(entry), entry.value_size),
                        value_type, PyBytes_FromStringAndSize(<const char*>value, size))
                    value = <const uint8_t*><char*>(<bytes>merged)
                    size = len(<bytes>merged)
                    if entry.address_size + size + SNAPSHOT_OVERHEAD > MAX_PAYLOAD:
                        return TOO_LARGE
            entry = self.table.store(entry, value_type, value, <uint32_t>size)
        except Exception as error:
            if not isinstance(error, MemoryError):
                log.exception("a write could not be applied")
            if entry.revision == 0:
                entry.revision = 1      # so that it is counted as the param it was made
                Py_XDECREF(<PyObject*>entry.fan)
                entry.fan = NULL
                self.table.remove(entry)
            return AT_CAPACITY
        found[0] = entry
        if write.flags & SET_UNLOCK:
            self._unlock(entry)
        if write.flags & SET_LOCK and origin.writer and entry.lock_holder == 0:
            entry.lock_holder = origin.writer
            self.writer_locks[origin.writer] += 1
            self.writer_uses[origin.writer] += 1
        if entry.revision == 0 or entry.writer != origin.writer:
            if entry.revision:
                self._release_writer(entry.writer)
            entry.writer = origin.writer
            if origin.writer:
                self.writer_uses[origin.writer] += 1
        entry.revision += 1
        entry.written_us = self.core.wall_us
        self.table.seq += 1
        entry.seq = self.table.seq
        self.table.touch(entry)
        if write.flags & SET_HAS_TTL:
            entry.ttl = write.ttl
        if entry.ttl == TTL_DEFAULT:
            lifetime_s = self.param_ttl_s
        elif entry.ttl == TTL_NEVER:
            lifetime_s = 0
        else:
            lifetime_s = entry.ttl & 0x7FFFFFFF
        if lifetime_s or entry.ttl == TTL_ABSOLUTE:
            self.table.expires(entry, self.core.mono_us // 1000 + lifetime_s * 1000)
            if self.table.next_deadline() < self.armed_ms:
                self._arm()
        elif entry.deadline_ms:
            self.table.expires(entry, 0)
        return ACCEPTED

    # ---- PUBLISH ----

    cdef int publish(self, Sink origin, const uint8_t* payload, size_t size, const uint8_t* address,
                     size_t address_size,
                     uint32_t hash, int flags, int loss) noexcept:
        """Relay a PUBLISH payload (checked, without trailing bytes, `flags` for its own) to all but its sender."""
        cdef Entry* entry = self.live(address, address_size, hash)
        cdef Delivery delivery
        cdef uint8_t* p
        cdef int verdict = ACCEPTED
        cdef int signal = flags >> 5
        if not self._gate(origin, address, address_size, entry):
            return NO_SCOPE
        if entry == NULL:
            entry = self._route(address, address_size, hash, &verdict)
            if entry == NULL:
                return verdict
        elif entry.revision == 0:
            self.table.touch(entry)
        if entry.route != ROUTE_PLAIN:
            return CONTROL_PLANE
        self.publishes += 1
        p = self.scratch + HEADROOM
        p[0] = 0x53
        p[1] = PUBLISH_FLAGS[signal]
        put16(p + 2, <uint16_t>size)
        memcpy(p + 4, payload, size)
        p[5] = <uint8_t>flags
        delivery.frame = p
        delivery.size = size + 4
        delivery.seq = 0
        delivery.signal = signal
        delivery.loss = loss
        delivery.origin = <PyObject*>origin
        if self.ring.size and loss != OLDEST_FIRST:
            self.ring.append(p, delivery.size, signal, 8, address_size)
        if self.tap is not None:
            self.tap.published(entry, p, delivery.size, signal, origin)
        self._fan_out(entry, origin, &delivery)
        return ACCEPTED

    # ---- fan-out ----

    cdef Fanout fan(self, Entry* entry):
        """The entry's fan-out list, rebuilt if subscriptions have changed since it was cached."""
        cdef Fanout fan
        if entry.fan_generation == self.trie.generation:
            return <Fanout>entry.fan
        fan = self.trie.fan_out(PyBytes_FromStringAndSize(<const char*>entry_address(entry), entry.address_size))
        Py_INCREF(fan)
        Py_XDECREF(<PyObject*>entry.fan)
        entry.fan = <void*>fan
        entry.fan_generation = self.trie.generation
        return fan

    cdef void _fan_out(self, Entry* entry, Sink excluded, Delivery* delivery) noexcept:
        cdef Fanout fan
        cdef Target* target
        cdef Py_ssize_t i
        cdef uint8_t bit = <uint8_t>(1 << delivery.signal)
        cdef list filters = None
        cdef list _alive
        # Sending may run a snapshot, and that may remove the entry if its time is over.
        cdef Py_ssize_t address_size = entry.address_size
        try:
            fan = self.fan(entry)
            _alive = fan.filters        # whatever happens to the list meanwhile
            for i in range(fan.count):
                target = &fan.targets[i]
                if target.sink == <PyObject*>excluded:
                    continue
                if target.plain & bit:
                    self.deliveries += 1
                    (<Sink>target.sink).deliver(delivery)
                elif target.filtered & bit:
                    if filters is None:
                        filters = []
                    filters.append(<object>target.filter)
            if filters is not None:
                # Python, and it may call back into the plane: only after the loop over the borrowed list.
                address = PyBytes_FromStringAndSize(<const char*>delivery.frame + 8, address_size)
                frame = PyBytes_FromStringAndSize(<const char*>delivery.frame, delivery.size)
                for item in filters:
                    item.offer(address, delivery.signal, frame)
        except Exception:
            log.exception("a message could not be delivered to everyone")

    # ---- reading state ----

    cdef size_t set_image(self, Entry* entry, uint8_t* target) noexcept:
        """The SET frame that tells the param's present value; returns its size (at most MAX_FRAME)."""
        cdef size_t size = entry.address_size + entry.value_size
        target[0] = 0x53
        target[1] = 0x41
        put16(target + 2, <uint16_t>(size + 12))
        target[4] = 0x21
        target[5] = 0x80 | entry.value_type
        put16(target + 6, entry.address_size)
        memcpy(target + 8, entry_address(entry), size)
        put64(target + 8 + size, entry.revision)
        return size + 16

    cdef size_t _snapshot_entry(self, Entry* entry, uint8_t* p) noexcept:
        cdef bytes writer = <bytes>self.writer_texts[entry.writer]
        cdef size_t writer_size = len(writer)
        cdef uint8_t* start = p
        put16(p, entry.address_size)
        memcpy(p + 2, entry_address(entry), entry.address_size)
        p += 2 + entry.address_size
        p[0] = entry.value_type
        memcpy(p + 1, entry_value(entry), entry.value_size)
        p += 1 + entry.value_size
        put64(p, entry.revision)
        p[8] = 0x03 if writer_size else 0x02
        p += 9
        if writer_size:
            put16(p, <uint16_t>writer_size)
            memcpy(p + 2, <char*>writer, writer_size)
            p += 2 + writer_size
        put64(p, entry.written_us)
        return p + 8 - start

    def snapshot(self, Pattern pattern not None, object scopes, uint32_t cursor, size_t max_bytes, uint32_t max_scan,
                 uint64_t newer_than=0):
        """One SNAPSHOT payload of the params that match, starting at `cursor` (0 at first).

        Returns `(payload or None when nothing matched, next cursor or 0 at the end)`. Cut at `max_bytes` (one param
        always fits), at 800 params, and after looking at `max_scan` params, so that a large state never holds up
        traffic. Each param is read as it is now; it can only be newer than what the reader has seen. `newer_than`
        leaves out params at or below that revision.
        """
        # A buffer of its own: jobs run while a frame in `scratch` is still being handed out.
        cdef uint8_t buffer[MAX_FRAME]
        cdef uint8_t* p = buffer
        cdef size_t size = 3
        cdef uint32_t id = cursor if cursor >= FIRST_ID else FIRST_ID
        cdef uint32_t scanned = 0
        cdef int count = 0
        cdef Entry* entry
        cdef uint64_t now_ms = self.core.mono_us // 1000
        if max_bytes > MAX_PAYLOAD:
            max_bytes = MAX_PAYLOAD
        if pattern.literal:
            entry = self.live(<const uint8_t*><char*>pattern.text, len(pattern.text),
                              self.table.hash_of(<const uint8_t*><char*>pattern.text, len(pattern.text)))
            if entry != NULL and entry.revision > newer_than and (
                    scopes is None or scopes.allows("read", pattern.text)):
                size += self._snapshot_entry(entry, p + 3)
                count = 1
            id = self.table.top
        while id < self.table.top and scanned < max_scan and count < SNAPSHOT_ENTRIES:
            entry = self.table.entries[id]
            id += 1
            if entry == NULL or entry.revision == 0:
                continue
            scanned += 1
            if entry.revision <= newer_than or (entry.deadline_ms and entry.deadline_ms <= now_ms):
                continue
            if count and size + entry.address_size + entry.value_size + SNAPSHOT_OVERHEAD - 3 > max_bytes:
                id -= 1
                break
            address = PyBytes_FromStringAndSize(<const char*>entry_address(entry), entry.address_size)
            if not pattern.matches(address) or (scopes is not None and not scopes.allows("read", address)):
                continue
            size += self._snapshot_entry(entry, p + size)
            count += 1
        p[0] = 0x23
        put16(p + 1, <uint16_t>count)
        return (PyBytes_FromStringAndSize(<const char*>p, size) if count else None,
                id if id < self.table.top else 0)

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
                if self.tap is not None:
                    self.tap.prolonged(entry)
        p[0] = 0x23
        put16(p + 1, 1)
        return PyBytes_FromStringAndSize(<const char*>p, 3 + self._snapshot_entry(entry, p + 3))

    def describe(self, bytes address not None):
        """What a dry run needs: `(revision, value type, value bytes, lock holder's name or b"", strategy)` or None."""
        cdef const uint8_t* text = <const uint8_t*><char*>address
        cdef Entry* entry = self.live(text, len(address), self.table.hash_of(text, len(address)))
        if entry == NULL or entry.revision == 0:
            return None
        return (entry.revision, entry.value_type,
                PyBytes_FromStringAndSize(<const char*>entry_value(entry), entry.value_size),
                self.writer_texts[entry.lock_holder], entry.strategy)

    def judge(self, Sink origin not None, uint64_t revision, bytes holder not None, int flags, uint64_t expected,
              int strategy, int old_type, bytes old not None, int new_type, bytes new not None):
        """The verdict a SET (with these `flags`) would get from a param in the given state, for a bundle's dry run."""
        cdef uint32_t lock = 0
        if holder:
            lock = origin.writer if holder == self.writer_texts[origin.writer] else <uint32_t>-1
        cdef int verdict = self._judge(revision, lock, origin, flags, expected)
        if verdict == ACCEPTED and revision and not _improves(strategy, old_type, <const uint8_t*><char*>old, new_type,
                                                              <const uint8_t*><char*>new):
            verdict = STRATEGY_REJECTED
        return verdict

    def permits(self, Sink origin not None, bytes address not None):
        """The gate, for a write that is only being considered."""
        return self._gate(origin, <const uint8_t*><char*>address, len(address), NULL)

    @property
    def params(self):
        return self.table.params

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
        while count < EXPIRE_AT_ONCE:
            entry = self.table.next_expired(now_ms)
            if entry == NULL:
                break
            count += 1
            self.expired += 1
            self._forget(entry)
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
