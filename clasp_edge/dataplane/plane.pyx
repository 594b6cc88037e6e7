"""The two operations everything goes through, set a param and publish a message: the gate before, the fan-out after.

One hash lookup per message; the fan-out list is cached in the entry; a relayed frame is copied, not re-encoded. What is
rare (a new address, a merge, what to answer) is asked of `control`, an object of the control plane. Knows no transport.
"""

import logging

from cpython.bytes cimport PyBytes_FromStringAndSize
from cpython.ref cimport Py_INCREF, Py_XDECREF, PyObject
from libc.math cimport trunc
from libc.stdlib cimport free, malloc
from libc.string cimport memcmp, memcpy

from clasp_edge.dataplane.bytes cimport get16, get32, get64, put16, put32, put64
from clasp_edge.dataplane.outbox cimport BOUNDED, CONVERGES, HEADROOM, OLDEST_FIRST
from clasp_edge.dataplane.payload cimport print_value, put_event
from clasp_edge.dataplane.state cimport EPOCH_MASK, EPOCH_SHIFT, REPLAYED, SNAPSHOT_OVERHEAD, State, later, version_hash
from clasp_edge.dataplane.table cimport (
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

from clasp_edge.dataplane.reserved import RESERVED

log = logging.getLogger("clasp_edge.dataplane")

cdef bytes _reserved_text = RESERVED
cdef const char* _reserved = _reserved_text
cdef size_t RESERVED_BYTES = len(RESERVED)

cdef enum:
    MAX_FRAME = 65547           # wire.md 1
    MAX_PAYLOAD = 65535
    MAX_ROUTES = 65536          # addresses that are only published to; a remote party can grow this table
    MAX_ROUTE_BYTES = 1 << 23   # of their addresses
    EVICT_AT_ONCE = 64          # more than one only after the limit was lowered
    SIGNAL_PARAM = 0
    SIGNAL_EVENT = 1
    PRINTED_BYTES = 262144      # four times the largest value, which JSON may need
    FUTURE_US = 10000000        # versions further ahead of our clock are not believed; routers measure time when linked
    LAST_EPOCH = 0xFFFE

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


cdef bint _integer(int type_code, const uint8_t* p, long long* value) noexcept nogil:
    """The value of an integer, all of its bits."""
    if type_code == 0x05:
        value[0] = <long long>get64(p)
    elif type_code == 0x04:
        value[0] = <int>get32(p)
    elif type_code == 0x03:
        value[0] = <short>get16(p)
    elif type_code == 0x02:
        value[0] = <signed char>p[0]
    else:
        return False
    return True


cdef int _order(long long a, double b) noexcept nogil:
    """The sign of a - b, exactly; `b` is no NaN."""
    cdef double whole
    cdef long long c
    if b >= 9223372036854775808.0:
        return -1
    if b < -9223372036854775808.0:
        return 1
    whole = trunc(b)
    c = <long long>whole
    if a != c:
        return 1 if a > c else -1
    return 0 if b == whole else (-1 if b > whole else 1)


cdef int _compare(int one_type, const uint8_t* one, int other_type, const uint8_t* other) noexcept nogil:
    """The sign of one - other, exactly, whatever types of numbers they are; neither is NaN."""
    cdef double a = 0, b = 0
    cdef long long m = 0, n = 0
    cdef bint a_whole = _integer(one_type, one, &m)
    cdef bint b_whole = _integer(other_type, other, &n)
    if a_whole and b_whole:
        return (m > n) - (m < n)
    _number(one_type, one, &a)
    _number(other_type, other, &b)
    if a_whole:
        return _order(m, b)
    if b_whole:
        return -_order(n, a)
    return (a > b) - (a < b)


cdef bint _same_message(Entry* entry, const Raw* raw) noexcept nogil:
    """Whether MQTT clients have, with a param's present value, this message: retained or not, and with its bytes.
    `raw` NULL: the value was set by other means."""
    if raw == NULL:
        return not entry.unretained and entry.kept == NULL
    if not raw.retain or entry.unretained:
        return not raw.retain and entry.unretained
    if raw.exact or entry.kept == NULL:
        return raw.exact and entry.kept == NULL
    return (raw.payload_size == entry.kept.payload_size and raw.properties_size == entry.kept.properties_size
            and memcmp(raw.properties, &entry.kept.data[0], raw.properties_size) == 0
            and memcmp(raw.payload, &entry.kept.data[0] + raw.properties_size, raw.payload_size) == 0)


cdef bint _improves(int strategy, int old_type, const uint8_t* old, int new_type, const uint8_t* new) noexcept nogil:
    """Whether max or min take the new value: strictly greater or smaller. Anything that is not two numbers, always;
    but NaN, which is neither greater nor smaller, never takes the place of a number, and any number takes its."""
    cdef double a, b
    cdef int order
    if strategy != STRATEGY_MAX and strategy != STRATEGY_MIN:
        return True
    if not (_number(old_type, old, &a) and _number(new_type, new, &b)):
        return True
    if a != a or b != b:
        return b == b
    order = _compare(new_type, new, old_type, old)
    return order > 0 if strategy == STRATEGY_MAX else order < 0


cdef class Plane(State):
    """The data plane of one router.

    `control` must have: `classify(address: bytes) -> (route, strategy)`, raising ValueError with a sentence for the
    peer when the address is not valid; `merge(old_type, old, new_type, new) -> (type, value)` on encoded values;
    `arm(deadline_ms)`: call `expire()` at that monotonic time.
    """

    def __cinit__(self, Core core not None, size_t history_bytes):
        self.trie = Trie()
        self.ring = Ring(history_bytes)
        self.refusal_text = ""
        self.scratch = <uint8_t*>malloc(HEADROOM + MAX_FRAME + 16)
        if self.scratch == NULL:
            raise MemoryError

    def __dealloc__(self):
        free(self.scratch)

    def gate_changed(self):
        """Forget what the gate has remembered about who may write where."""
        self.gate_generation += 1

    def scopes_changed(self):
        """Forget what the gate has remembered about who may write where, and who gets what."""
        self.gate_generation += 1
        self.trie.invalidate()

    cdef Entry* _route(self, const uint8_t* address, size_t size, uint32_t hash, int* verdict) noexcept:
        """A new entry for an address seen for the first time, or NULL with the verdict."""
        cdef Entry* entry
        try:
            text = PyBytes_FromStringAndSize(<const char*>address, size)
            route, strategy = self.control.classify(text)
            while self.table.routes and (self.table.routes >= MAX_ROUTES
                                         or self.table.route_bytes + size > MAX_ROUTE_BYTES):
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

    # ---- the gate: every write, whatever its origin ----

    cdef bint _gate(self, Sink origin, const uint8_t* address, size_t size, Entry* entry) noexcept:
        """Whether `origin` may write here. What a token allows is remembered per address for its last writer."""
        # No token, and no router without tokens, lets anybody else tell how the router is.
        if not origin.reserved and size > RESERVED_BYTES and memcmp(address, _reserved, RESERVED_BYTES) == 0:
            return False
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
        cdef uint64_t before = 0
        cdef uint64_t base = 0
        cdef bint versions = self.versions      # else nobody keeps a digest
        revision[0] = 0
        if write.address_size + write.value_size + SNAPSHOT_OVERHEAD > MAX_PAYLOAD:
            return TOO_LARGE
        entry = self.live(write.address, write.address_size, hash)
        if write.rank or write.hlc:
            if write.hlc > self.core.mono_us + self.base_us + FUTURE_US and write.hlc > self.hlc:
                return FROM_FUTURE
            if write.hlc & 1:
                return self._set_gone(origin, write, entry)
            if write.hlc == 0:
                return self._replay(origin, write, entry)
        if entry == NULL or entry.revision == 0:
            if write.hlc and entry != NULL and entry.hlc and not later(write.hlc, write.rank, entry.hlc, entry.rank):
                self.outdated += 1
                return OUTDATED
            if self._stale(entry, origin, write):
                self.overrule(entry, write.hlc, write.rank, False)
                return REVISION_CONFLICT
            verdict = self._admit(origin, write, hash, &entry)
        elif not self._gate(origin, write.address, write.address_size, entry):
            verdict = NO_SCOPE
        elif write.hlc:
            revision[0] = entry.revision
            verdict = ACCEPTED
            if not self._newer(entry, write):
                if write.quiet or write.hlc == entry.hlc and write.rank == entry.rank or not self._late(
                        entry, origin, write):
                    self._lock_told(entry, origin, write.flags)
                    if write.hlc == entry.hlc and write.rank == entry.rank and not write.quiet:
                        # Known from the comparison of states already; now it has its turn among the others.
                        return self._replay(origin, write, entry)
                    if self._stale(entry, origin, write):
                        return REVISION_CONFLICT
                    self.outdated += 1
                    return OUTDATED
            elif entry.lock_holder and entry.lock_holder != origin.writer and self._decides(entry, origin):
                self.overrule(entry, write.hlc, write.rank, False)
                return LOCK_HELD
            elif self._stale(entry, origin, write):
                self.overrule(entry, write.hlc, write.rank, False)
                return REVISION_CONFLICT
            if (write.quiet and entry.value_type == write.flags & 0x0F and entry.value_size == write.value_size
                    and memcmp(entry_value(entry), write.value, write.value_size) == 0
                    and _same_message(entry, write.raw)):
                # Only its version is news, perhaps how long it has to live, and whether it is locked.
                self._lock_told(entry, origin, write.flags)
                self._heard(write.hlc)
                before = version_hash(entry.hlc, entry.rank)
                entry.hlc = write.hlc
                entry.rank = write.rank
                self._set_ttl(entry, write, entry.unretained, entry.unretained and entry.kept != NULL)
                if self.journal_buffer is not None:
                    self.journal_buffer.prolonged(entry)
                self.tell_links(entry, before ^ version_hash(entry.hlc, entry.rank), origin, True)
                return ACCEPTED
        else:
            revision[0] = entry.revision
            verdict = self._judge(entry.revision, entry.lock_holder, origin, write.flags, write.expected)
        if verdict == ACCEPTED:
            if write.hlc:
                self._heard(write.hlc)
            if versions:
                before = version_hash(entry.hlc, entry.rank)
                if write.flags & SET_HAS_REVISION:
                    base = write.expected if write.hlc else entry.hlc
            verdict = self._apply(origin, write, &entry)
            if verdict == STRATEGY_REJECTED and write.hlc:
                self.overrule(entry, write.hlc, write.rank, False)
        if verdict != ACCEPTED:
            return verdict
        self.sets += 1
        revision[0] = entry.revision

        # The relayed SET: what came, plus the new revision (wire.md 2.3; lock, unlock and ttl are passed on as sent).
        p = self.scratch + HEADROOM + 4
        p[0] = 0x21
        p[1] = (write.flags & (SET_HAS_TTL if write.hlc else 0x70)) | 0x80 | entry.value_type
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
        delivery.address = p + 8
        delivery.address_size = entry.address_size
        delivery.value = p + 8 + entry.address_size
        delivery.value_room = entry.value_size
        delivery.value_type = entry.value_type
        # After a merge the param is not what was published.
        delivery.raw = write.raw if entry.strategy != STRATEGY_MERGE else NULL
        delivery.gone = False
        delivery.quiet = False
        delivery.hlc = entry.hlc
        delivery.rank = entry.rank
        delivery.base = base
        delivery.delta = before ^ version_hash(entry.hlc, entry.rank) if versions else 0
        delivery.entry_id = entry.id
        delivery.bucket = entry.bucket
        if self.ring.size:
            self.ring.append(p, delivery.size, 0, 8, entry.address_size)
        if self.journal_buffer is not None:
            self.journal_buffer.changed(entry, p, delivery.size, origin, delivery.raw)
        self._fan_out(entry, None, 1 << SIGNAL_PARAM, &delivery)
        if write.hlc and delivery.hlc != write.hlc:
            # What has become of it is something else: who wrote it must hear of it too.
            entry = self.live(write.address, write.address_size, hash)
            if entry != NULL:
                self.tell_links(entry, 0, None, True)
        return ACCEPTED

    # ---- versions from other routers (state.pxd) ----

    cdef bint _newer(self, Entry* entry, Write* write) noexcept:
        """Whether the write stands against the param. Of two values with one version (two routers with copies of one
        data directory) it is the one with the greater bytes, everywhere."""
        cdef size_t size
        cdef int order
        if write.hlc != entry.hlc or write.rank != entry.rank:
            return later(write.hlc, write.rank, entry.hlc, entry.rank)
        if write.flags & 0x0F != entry.value_type:
            return write.flags & 0x0F > entry.value_type
        size = write.value_size if write.value_size < entry.value_size else entry.value_size
        order = memcmp(write.value, entry_value(entry), size)
        return order > 0 or (order == 0 and write.value_size > entry.value_size)

    cdef bint _stale(self, Entry* entry, Sink origin, Write* write) noexcept:
        """Whether the write is a change of another state than this one, and that counts here."""
        return (write.hlc and write.flags & SET_HAS_REVISION and not write.quiet and entry != NULL and entry.hlc
                and write.expected != entry.hlc and self._decides(entry, origin))

    cdef bint _late(self, Entry* entry, Sink origin, Write* write) noexcept:
        """Whether an older write counts all the same: that of whoever has the param locked, which was on its way when
        what stands got a later version against somebody else; and with a strategy that does not go by time."""
        if entry.lock_holder:
            return entry.lock_holder == origin.writer
        if entry.strategy == STRATEGY_MAX or entry.strategy == STRATEGY_MIN:
            return (_improves(entry.strategy, entry.value_type, entry_value(entry), write.flags & 0x0F, write.value)
                    and self._decides(entry, origin))
        return entry.strategy == STRATEGY_MERGE and self._decides(entry, origin)

    cdef void _lock_told(self, Entry* entry, Sink origin, int flags) noexcept:
        """What a router below says with each SET: whether somebody has the param locked there."""
        if flags & SET_LOCK:
            if origin.writer and entry.lock_holder == 0:
                entry.lock_holder = origin.writer
                self.writer_locks[origin.writer] += 1
                self.writer_uses[origin.writer] += 1
        elif flags & SET_UNLOCK and entry.lock_holder == origin.writer:
            self._unlock(entry)

    cdef bint _decides(self, Entry* entry, Sink origin) noexcept:
        """Whether locks, expected states and strategies of this address are decided here. Elsewhere what was decided is
        taken over."""
        if self.referee is None:
            return True
        try:
            return self.referee(PyBytes_FromStringAndSize(<const char*>entry_address(entry), entry.address_size),
                                self.writer_texts[entry.lock_holder], self.writer_texts[origin.writer])
        except Exception:
            log.exception("who decides about an address could not be found out")
            return True

    cdef void _heard(self, uint64_t hlc) noexcept:
        if hlc > self.hlc:
            self.hlc = hlc

    cdef void overrule(self, Entry* entry, uint64_t hlc, uint64_t rank, bint raise_epoch) noexcept:
        """What is here stands against a version that would be later: it gets one that is later still, and every router
        hears of it. `raise_epoch`: also against what others have written meanwhile."""
        cdef uint64_t epoch = entry.rank >> EPOCH_SHIFT
        cdef uint64_t before = version_hash(entry.hlc, entry.rank)
        if rank >> EPOCH_SHIFT > epoch:
            epoch = rank >> EPOCH_SHIFT
        if raise_epoch and epoch < LAST_EPOCH:
            epoch += 1
        self._heard(hlc)
        hlc = self.next_hlc()
        rank = (epoch << EPOCH_SHIFT) | self.tag
        if entry.revision == 0:
            self._bury(entry, hlc | 1, rank, None, True, False)
            return
        entry.hlc = hlc
        entry.rank = rank
        if self.journal_buffer is not None:
            self.journal_buffer.prolonged(entry)
        self.tell_links(entry, before ^ version_hash(hlc, rank), None, True)

    cdef int _set_gone(self, Sink origin, Write* write, Entry* entry) noexcept:
        """A param was cleared, or its time was over, at another router."""
        cdef int verdict = ACCEPTED
        cdef uint64_t now_ms = self.core.mono_us // 1000
        cdef uint64_t lifetime_s
        if not self._gate(origin, write.address, write.address_size, entry):
            return NO_SCOPE
        if entry == NULL:
            entry = self._route(write.address, write.address_size, write.hash, &verdict)
            if entry == NULL:
                return verdict
        if entry.hlc and not later(write.hlc, write.rank, entry.hlc, entry.rank):
            self.outdated += 1
            return OUTDATED
        self._heard(write.hlc)
        if entry.revision == 0:
            self._bury(entry, write.hlc, write.rank, origin, True, False)
            return ACCEPTED
        if entry.lock_holder and entry.lock_holder != origin.writer and self._decides(entry, origin):
            self.overrule(entry, write.hlc, write.rank, False)
            return LOCK_HELD
        if write.hlc == entry.hlc | 1 and write.rank == entry.rank:
            if entry.deadline_ms and not entry.ttl & TTL_ABSOLUTE:
                lifetime_s = self.param_ttl_s if entry.ttl == TTL_DEFAULT else entry.ttl
                if entry.deadline_ms > now_ms + lifetime_s * 500:
                    # It was not read there, and so its time was over; here it was.
                    self.overrule(entry, write.hlc, write.rank, False)
                    return ACCEPTED
            self._bury(entry, write.hlc, write.rank, origin, True, False)
        else:
            self._clear(origin, entry, write.hlc, write.rank, NULL)
        return ACCEPTED

    cdef int _replay(self, Sink origin, Write* write, Entry* entry) noexcept:
        """A value of the past, for those who are to hear of them all: told and logged, while the param stays."""
        cdef Delivery delivery
        cdef int verdict = ACCEPTED
        cdef size_t size
        cdef uint8_t* p
        if not self._gate(origin, write.address, write.address_size, entry):
            return NO_SCOPE
        if entry == NULL:
            entry = self._route(write.address, write.address_size, write.hash, &verdict)
            if entry == NULL:
                return verdict
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
        delivery.frame = p
        delivery.size = size + 16
        delivery.seq = 0
        delivery.signal = 0
        delivery.loss = BOUNDED
        delivery.origin = <PyObject*>origin
        delivery.address = p + 8
        delivery.address_size = write.address_size
        delivery.value = p + 8 + write.address_size
        delivery.value_room = write.value_size
        delivery.value_type = write.flags & 0x0F
        delivery.raw = write.raw
        delivery.gone = delivery.quiet = False
        delivery.hlc = 0
        delivery.rank = REPLAYED
        delivery.delta = 0
        if self.journal_buffer is not None:
            self.journal_buffer.changed(entry, p, delivery.size, origin, write.raw)
        self._fan_out(entry, None, 1 << SIGNAL_PARAM, &delivery)
        return ACCEPTED

    cdef void tell_links(self, Entry* entry, uint64_t delta, Sink origin, bint tell) noexcept:
        cdef Delivery delivery
        cdef Fanout fan
        cdef Py_ssize_t i
        if self.links == 0:
            return
        delivery.frame = NULL
        delivery.size = 0
        delivery.seq = 0
        delivery.signal = 0
        delivery.loss = BOUNDED
        delivery.origin = <PyObject*>origin
        delivery.address = entry_address(entry)
        delivery.address_size = entry.address_size
        delivery.value = NULL
        delivery.value_room = 0
        delivery.value_type = 0
        delivery.raw = NULL
        delivery.gone = entry.revision == 0
        delivery.quiet = True
        delivery.tell = tell
        delivery.hlc = entry.hlc
        delivery.rank = entry.rank
        delivery.delta = delta
        delivery.entry_id = entry.id
        delivery.bucket = entry.bucket
        delivery.serial = 0
        try:
            fan = self.fan(entry)
            for i in range(fan.count):
                if (<Sink>fan.targets[i].sink).is_link and (fan.targets[i].plain | fan.targets[i].filtered) & 1:
                    (<Sink>fan.targets[i].sink).deliver(&delivery)
        except Exception:
            log.exception("other routers could not be told of a version")

    cdef void _forget(self, Entry* entry) noexcept:
        if self.links and entry.hlc:
            self.tell_links(entry, version_hash(entry.hlc, entry.rank), None, False)
        State._forget(self, entry)

    cdef int unset(self, Sink origin, const uint8_t* address, size_t address_size, uint32_t hash, Raw* raw) noexcept:
        """Forget a param (an empty retained MQTT message). CLASP has no such message: its subscribers see null
        with the next revision. Where there is no param, only native sinks hear of it."""
        cdef Entry* entry = self.live(address, address_size, hash)
        cdef int verdict = ACCEPTED
        cdef uint64_t hlc = 0
        if not self._gate(origin, address, address_size, entry):
            return NO_SCOPE
        if entry == NULL:
            entry = self._route(address, address_size, hash, &verdict)
            if entry == NULL:
                return verdict
        if entry.revision:
            verdict = self._judge(entry.revision, entry.lock_holder, origin, 0, 0)
            if verdict != ACCEPTED:
                return verdict
            if self.versions:
                hlc = self.next_hlc() | 1
        self._clear(origin, entry, hlc, (entry.rank & EPOCH_MASK) | self.tag, raw)
        return ACCEPTED

    cdef void _clear(self, Sink origin, Entry* entry, uint64_t hlc, uint64_t rank, Raw* raw) noexcept:
        """Tell that a param is no more, and leave a tombstone of this version; none where `hlc` is 0."""
        cdef Delivery delivery
        cdef uint8_t* p
        cdef uint8_t* address = entry_address(entry)
        cdef size_t address_size = entry.address_size
        cdef uint32_t hash = entry.hash
        delivery.frame = NULL
        delivery.size = 0
        delivery.seq = 0
        delivery.signal = 0
        # The param will not be there to catch up with.
        delivery.loss = BOUNDED
        delivery.origin = <PyObject*>origin
        delivery.address = address
        delivery.address_size = address_size
        delivery.value = NULL
        delivery.value_room = 0
        delivery.value_type = 0
        delivery.raw = raw
        delivery.gone = True
        delivery.quiet = False
        delivery.hlc = hlc
        delivery.rank = rank
        delivery.delta = 0
        delivery.entry_id = entry.id
        delivery.bucket = entry.bucket
        if entry.revision:
            if hlc:
                delivery.delta = version_hash(entry.hlc, entry.rank) ^ version_hash(hlc, rank)
            self.sets += 1
            p = self.scratch + HEADROOM
            p[0] = 0x53
            p[1] = 0x41
            put16(p + 2, <uint16_t>(address_size + 12))
            p[4] = 0x21
            p[5] = 0x80
            put16(p + 6, <uint16_t>address_size)
            memcpy(p + 8, address, address_size)
            put64(p + 8 + address_size, entry.revision + 1)
            delivery.frame = p
            delivery.size = address_size + 16
            delivery.address = p + 8
            if self.ring.size:
                self.ring.append(p, delivery.size, 0, 8, address_size)
            if self.journal_buffer is not None:
                self.journal_buffer.changed(entry, p, delivery.size, origin, raw)
        self._fan_out(entry, None, 1 << SIGNAL_PARAM, &delivery)
        # The entry may be another one by now, at another place.
        entry = self.table.entries[delivery.entry_id]
        if delivery.frame != NULL and entry != NULL and entry.hash == hash and entry.revision:
            if hlc:
                self._bury(entry, hlc, rank, origin, False, True)
            else:
                self._forget(entry)

    cdef int _admit(self, Sink origin, Write* write, uint32_t hash, Entry** found) noexcept:
        """Make a param of an address that is not one yet. It gets its first revision in `_apply`."""
        cdef Entry* entry = found[0]
        cdef int verdict = ACCEPTED
        cdef int evictions = 0
        if not self._gate(origin, write.address, write.address_size, entry):
            return NO_SCOPE
        if not self.evict and (self.max_params and self.table.params >= self.max_params
                               or self._over(write.value_size)):
            return AT_CAPACITY
        if entry == NULL:
            entry = self._route(write.address, write.address_size, hash, &verdict)
            if entry == NULL:
                return verdict
        while self.max_params and self.table.params >= self.max_params and evictions < EVICT_AT_ONCE:
            evictions += 1
            self._evict_oldest()
        try:
            self.table.make_param(entry)
        except MemoryError:
            return AT_CAPACITY
        found[0] = entry
        return ACCEPTED

    cdef bint _over(self, size_t more) noexcept:
        """Whether `more` bytes of state would be too many."""
        return self.max_bytes and self.table.bytes + more > self.max_bytes

    cdef void _evict_oldest(self) noexcept:
        self.evicted += 1
        self._forget(self.table.entries[self.table.newer[LIST_PARAMS]])

    cdef bint _keep_retained(self, Entry* entry) except -1:
        """Keep the param's value as the retained MQTT message that it is, before one that is not retained takes its
        place [MQTT-3.3.1-8]. False without memory."""
        cdef const uint8_t* text
        cdef Raw raw
        cdef Py_ssize_t size
        cdef uint8_t* target
        if entry.kept != NULL:
            return True
        target = <uint8_t*>malloc(PRINTED_BYTES)
        if target == NULL:
            return False
        try:
            size = print_value(entry.value_type, entry_value(entry), entry.value_size, target, PRINTED_BYTES, &text)
            if size < 0:
                return False
            if size == 0:
                text = <const uint8_t*>b'""'
                size = 2
            raw.payload = text
            raw.payload_size = <size_t>size
            raw.properties = text
            raw.properties_size = 0
            self.table.keep(entry, &raw)
            return True
        finally:
            free(target)

    cdef int _apply(self, Sink origin, Write* write, Entry** found) noexcept:
        """Change the param: strategy, lock, value, revision, ttl."""
        cdef Entry* entry = found[0]
        cdef int value_type = write.flags & 0x0F
        cdef const uint8_t* value = write.value
        cdef size_t size = write.value_size
        cdef int evictions = 0
        cdef bint unretained = write.raw != NULL and not write.raw.retain and entry.strategy != STRATEGY_MERGE
        cdef bint shadowed = False      # the address has a retained MQTT message, and this write is none
        cdef bint is_result = False     # what becomes of the write is not what the other router has written
        merged = None
        try:
            if entry.strategy != STRATEGY_LWW and entry.revision and (
                    write.hlc == 0 or self._decides(entry, origin)):
                if not _improves(entry.strategy, entry.value_type, entry_value(entry), value_type, value):
                    return STRATEGY_REJECTED
                if entry.strategy == STRATEGY_MERGE:
                    self.core.heavy = True
                    value_type, merged = self.control.merge(
                        entry.value_type, PyBytes_FromStringAndSize(<const char*>entry_value(entry), entry.value_size),
                        value_type, PyBytes_FromStringAndSize(<const char*>value, size))
                    value = <const uint8_t*><char*>(<bytes>merged)
                    size = len(<bytes>merged)
                    is_result = (value_type != write.flags & 0x0F or size != write.value_size
                                 or memcmp(value, write.value, size) != 0)
                    if entry.address_size + size + SNAPSHOT_OVERHEAD > MAX_PAYLOAD:
                        return TOO_LARGE
            if not self.evict and size > entry.capacity and self._over(size - entry.capacity):
                if entry.revision:
                    return AT_CAPACITY
                raise MemoryError
            if unretained and entry.revision:
                shadowed = entry.kept != NULL if entry.unretained else self._keep_retained(entry)
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
        if unretained:
            # What was retained stays so, with its quality and its lifetime.
            if not shadowed:
                self.table.drop_kept(entry)
            self.table.mark_unretained(entry, True)
        else:
            entry.qos = 1 if write.raw == NULL else write.raw.qos
            self.table.mark_unretained(entry, False)
            if write.raw != NULL and not write.raw.exact and merged is None:
                try:
                    self.table.keep(entry, write.raw)
                except MemoryError:
                    pass                # the value is there; only its spelling is lost
            elif entry.kept != NULL:
                self.table.drop_kept(entry)
        if write.flags & SET_UNLOCK and write.hlc == 0:
            self._unlock(entry)
        if write.flags & (SET_LOCK | SET_UNLOCK):
            self._lock_told(entry, origin, write.flags)
        if entry.revision == 0 or entry.writer != origin.writer:
            if entry.revision:
                self._release_writer(entry.writer)
            entry.writer = origin.writer
            if origin.writer:
                self.writer_uses[origin.writer] += 1
        entry.revision += 1
        if write.hlc and not is_result and not later(entry.hlc, entry.rank, write.hlc, write.rank):
            entry.hlc = write.hlc
            entry.rank = write.rank
        else:
            if write.rank >> EPOCH_SHIFT > entry.rank >> EPOCH_SHIFT:
                entry.rank = write.rank
            entry.hlc = self.next_hlc()
            entry.rank = (entry.rank & EPOCH_MASK) | self.tag
        entry.written_us = self.core.wall_us
        self.table.seq += 1
        entry.seq = self.table.seq
        self.table.touch(entry)
        # The entry itself is the newest now; large values may cost several small ones their place.
        while self._over(0) and self.table.params > 1 and self.evict and evictions < EVICT_AT_ONCE:
            evictions += 1
            self._evict_oldest()
        if entry.deadline_ms or self.param_ttl_s or write.flags & SET_HAS_TTL or entry.ttl != TTL_DEFAULT:
            self._set_ttl(entry, write, unretained, shadowed)
        return ACCEPTED

    cdef void _set_ttl(self, Entry* entry, Write* write, bint unretained, bint shadowed) noexcept:
        cdef uint64_t lifetime_s
        if shadowed:
            if entry.ttl & TTL_ABSOLUTE and entry.ttl != TTL_DEFAULT:
                return                  # it goes with the retained message
        elif unretained and not write.flags & SET_HAS_TTL:
            entry.ttl = TTL_DEFAULT
        if write.flags & SET_HAS_TTL and not shadowed:
            # The longest sliding one is our word for none of its own; 68 years less a second must do instead.
            entry.ttl = write.ttl if write.ttl != TTL_DEFAULT else TTL_DEFAULT - 1
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

    # ---- PUBLISH ----

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
        delivery.frame = p
        delivery.size = message.size + 4
        delivery.seq = 0
        # To a sink, PARAM means that the state has changed. A PUBLISH of that signal changes nothing and is stored
        # nowhere (router.md 2.2): it is an event to all that is not a CLASP client, and only which subscriptions take
        # it goes by its own signal.
        delivery.signal = signal if signal != SIGNAL_PARAM else SIGNAL_EVENT
        delivery.loss = message.loss
        delivery.origin = <PyObject*>origin
        delivery.address = p + 8
        delivery.address_size = address_size
        delivery.value = p + 10 + address_size if message.value != NULL else NULL
        delivery.value_room = message.value_size
        delivery.value_type = message.value_type
        delivery.raw = NULL
        delivery.gone = delivery.quiet = False
        delivery.delta = 0
        if self.ring.size and message.loss != OLDEST_FIRST and signal != SIGNAL_PARAM:
            self.ring.append(p, delivery.size, signal, 8, address_size)
        if self.journal_buffer is not None:
            self.journal_buffer.published(entry, p, delivery.size, signal, origin, NULL)
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
        delivery.frame = NULL
        delivery.size = 0
        delivery.seq = 0
        delivery.signal = SIGNAL_EVENT
        delivery.loss = BOUNDED
        delivery.origin = <PyObject*>origin
        delivery.address = address
        delivery.address_size = address_size
        delivery.value = NULL
        delivery.value_room = 0
        delivery.value_type = 0
        delivery.raw = raw
        delivery.gone = delivery.quiet = False
        delivery.delta = 0
        if self.ring.size:
            self.ring.append_raw(address, address_size, raw.payload, raw.payload_size)
        if self.journal_buffer is not None and self._frame(&delivery):
            self.journal_buffer.published(entry, delivery.frame, delivery.size, SIGNAL_EVENT, origin, raw)
        self._fan_out(entry, None, 1 << SIGNAL_EVENT, &delivery)
        return ACCEPTED

    cdef bint _frame(self, Delivery* delivery) noexcept:
        """Make the CLASP frame of an event that came by MQTT. False when there is none for it."""
        cdef size_t size
        if delivery.raw == NULL or delivery.gone:
            return False
        size = put_event(self.scratch + HEADROOM, MAX_PAYLOAD + 4, delivery.address, delivery.address_size,
                         delivery.raw.payload, delivery.raw.payload_size)
        if size == 0:
            return False
        delivery.frame = self.scratch + HEADROOM
        delivery.size = size
        return True

    # ---- fan-out ----

    cdef Fanout fan(self, Entry* entry):
        """The entry's fan-out list, rebuilt if subscriptions have changed since it was cached."""
        cdef Fanout fan
        cdef bytes address
        if entry.fan_generation == self.trie.generation:
            return <Fanout>entry.fan
        self.core.heavy = True
        address = PyBytes_FromStringAndSize(<const char*>entry_address(entry), entry.address_size)
        if entry.fan != NULL and self.trie.holds(address, entry.fan_generation):
            entry.fan_generation = self.trie.generation
            return <Fanout>entry.fan
        fan = self.trie.fan_out(address)
        Py_INCREF(fan)
        Py_XDECREF(<PyObject*>entry.fan)
        entry.fan = <void*>fan
        entry.fan_generation = self.trie.generation
        return fan

    cdef void _fan_out(self, Entry* entry, Sink excluded, int bit, Delivery* delivery) noexcept:
        """Deliver to the subscriptions whose mask has `bit`."""
        cdef Fanout fan
        cdef Target* target
        cdef Py_ssize_t i
        cdef list filters = None
        cdef list _alive
        # Sending may run a snapshot, and that may remove the entry if its time is over.
        cdef Py_ssize_t address_size = entry.address_size
        self.serial += 1
        delivery.serial = self.serial
        try:
            fan = self.fan(entry)
            _alive = fan.filters        # whatever happens to the list meanwhile
            for i in range(fan.count):
                target = &fan.targets[i]
                if target.sink == <PyObject*>excluded:
                    continue
                if delivery.frame == NULL and not target.native and not self._frame(delivery):
                    continue
                if target.plain & bit:
                    self.deliveries += 1
                    delivery.options = target.options
                    delivery.extra = target.extra
                    (<Sink>target.sink).deliver(delivery)
                elif target.filtered & bit:
                    if filters is None:
                        filters = []
                    filters.append(<object>target.filter)
            if filters is not None:
                # Python, and it may call back into the plane: only after the loop over the borrowed list.
                address = PyBytes_FromStringAndSize(<const char*>delivery.frame + 8, address_size)
                frame = PyBytes_FromStringAndSize(<const char*>delivery.frame, delivery.size)
                self.core.heavy = True
                for item in filters:
                    item.offer(address, delivery.signal, frame)
        except Exception:
            log.exception("a message could not be delivered to everyone")

    cdef bint improves(self, int strategy, int old_type, bytes old, int new_type, bytes new) noexcept:
        """Whether the strategy takes the new value in place of the old one."""
        return _improves(strategy, old_type, <const uint8_t*><char*>old, new_type, <const uint8_t*><char*>new)
