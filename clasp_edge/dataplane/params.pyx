"""Params: what becomes of a write, whoever it is from, and who hears of it.

One hash lookup per message; a relayed frame is copied, not re-encoded. What is rare (a merge, who decides) is asked of
Python.
"""

import logging

from cpython.bytes cimport PyBytes_FromStringAndSize
from cpython.ref cimport Py_XDECREF, PyObject
from libc.stdlib cimport free, malloc
from libc.string cimport memcmp, memcpy

from clasp_edge.dataplane.bytes cimport put16, put32, put64
from clasp_edge.dataplane.logged_payload cimport fits_log
from clasp_edge.dataplane.messages cimport SET_LOCK, SET_REVISION, SET_TTL, SET_UNLOCK, SIGNAL_PARAM
from clasp_edge.dataplane.mqtt_message cimport bytes_beside, read_payload, same_message
from clasp_edge.dataplane.payload cimport PRINTED_BYTES, print_value
from clasp_edge.dataplane.routing cimport MAX_PAYLOAD
from clasp_edge.dataplane.sink cimport BOUNDED, CONVERGES, HEADROOM, Delivery, begin_delivery
from clasp_edge.dataplane.state cimport EPOCH_MASK, EPOCH_SHIFT, SNAPSHOT_OVERHEAD, later, version_hash
from clasp_edge.dataplane.strategy cimport improves
from clasp_edge.dataplane.table cimport (
    STRATEGY_LWW,
    STRATEGY_MERGE,
    TTL_ABSOLUTE,
    TTL_DEFAULT,
    TTL_NEVER,
    Value,
    entry_address,
)
from clasp_edge.dataplane.trie cimport Fanout
from clasp_edge.dataplane.verdict cimport (
    ACCEPTED,
    AT_CAPACITY,
    FROM_FUTURE,
    LOCK_HELD,
    NO_SCOPE,
    OUTDATED,
    REVISION_CONFLICT,
    STRATEGY_REJECTED,
    TOO_LARGE,
)

log = logging.getLogger("clasp_edge.dataplane")

cdef enum:
    EVICT_AT_ONCE = 64          # more than one only after the limit was lowered
    FUTURE_US = 10000000        # versions further ahead of our clock are not believed; routers measure time when linked


cdef class Params(Past):
    """The params of one router: SET, its refusals, clearing, eviction."""

    def __cinit__(self, Core core not None, size_t history_bytes):
        self.ring = Ring(history_bytes)

    cdef int _judge(self, uint64_t revision, uint32_t holder, Sink origin, int flags, uint64_t expected) noexcept:
        """Whether a param in this state takes the write (router.md 3.2, with unlock by the holder only)."""
        if flags & SET_REVISION and revision and expected != revision:
            return REVISION_CONFLICT
        if holder and holder != origin.writer:
            return LOCK_HELD
        return ACCEPTED

    # ---- SET ----

    cdef int set(self, Sink origin, Write* write, uint64_t* revision) noexcept:
        """Check, apply and fan out one write. `revision` gets the new (or, when refused, the current) revision."""
        cdef Delivery delivery
        cdef Entry* entry
        cdef Value value
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
                if not self._gate(origin, write.address, write.address_size, entry):
                    return NO_SCOPE
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
                    self._take_lock(entry, origin, write)
                    if write.hlc == entry.hlc and write.rank == entry.rank and not write.quiet:
                        # Known from the comparison of states already; now it has its turn among the others.
                        return self._replay(origin, write, entry)
                    if self._changes_another(entry, write):
                        return REVISION_CONFLICT    # whoever decides will not hear of it from here
                    if write.flags & SET_LOCK and self._is_locked_to(entry, origin, write):
                        return LOCK_HELD        # of two who have locked it at once, the other one has it
                    self.outdated += 1
                    return OUTDATED
            elif entry.lock_holder and entry.lock_holder != origin.writer and self._decides(entry, origin):
                self.overrule(entry, write.hlc, write.rank, False)
                return LOCK_HELD
            elif self._stale(entry, origin, write):
                self.overrule(entry, write.hlc, write.rank, False)
                return REVISION_CONFLICT
            if write.quiet and self._has_value(entry, write) and same_message(entry, write.raw):
                # Only its version is news, perhaps how long it has to live, and whether it is locked.
                self._lock_told(entry, origin, self._told_flags(entry, origin, write))
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
            if write.raw != NULL and write.raw.unread and not self._stays_unread(entry, write) and not read_payload(
                    write):
                return self._not_stored(entry)
            if write.hlc:
                self._heard(write.hlc)
            if versions:
                before = version_hash(entry.hlc, entry.rank)
                if write.flags & SET_REVISION:
                    base = write.expected if write.hlc else entry.hlc
            verdict = self._apply(origin, write, &entry)
            if verdict == STRATEGY_REJECTED and write.hlc:
                self.overrule(entry, write.hlc, write.rank, False)
        if verdict != ACCEPTED:
            return verdict
        self.sets += 1
        revision[0] = entry.revision

        begin_delivery(&delivery, origin, SIGNAL_PARAM, CONVERGES)
        if write.raw != NULL and write.raw.unread:
            delivery.address = write.address
            if self.ring.size:
                self.ring.append_raw_set(write.address, write.address_size, write.raw, write.flags & 0x70,
                                         entry.revision, write.ttl)
        else:
            # The relayed SET: what came, plus the new revision (wire.md 2.3; lock, unlock and ttl go on as sent).
            value = self.table.value(entry)
            p = self.scratch + HEADROOM + 4
            p[0] = 0x21
            p[1] = (write.flags & (SET_TTL if write.hlc else 0x70)) | 0x80 | <uint8_t>value.type
            put16(p + 2, entry.address_size)
            memcpy(p + 4, entry_address(entry), entry.address_size)
            memcpy(p + 4 + entry.address_size, value.data, value.size)
            size = entry.address_size + value.size
            put64(p + 4 + size, entry.revision)
            size += 12
            if write.flags & SET_TTL:
                put32(p + size, write.ttl)
                size += 4
            p -= 4
            p[0] = 0x53
            p[1] = 0x41
            put16(p + 2, <uint16_t>size)
            delivery.frame = p
            delivery.size = size + 4
            delivery.address = p + 8
            delivery.value = p + 8 + entry.address_size
            delivery.value_room = value.size
            delivery.value_type = value.type
            if self.ring.size:
                self.ring.append(p, delivery.size, 0, 8, entry.address_size)
        delivery.seq = entry.seq
        delivery.address_size = entry.address_size
        # After a merge the param is not what was published.
        delivery.raw = write.raw if entry.strategy != STRATEGY_MERGE else NULL
        delivery.hlc = entry.hlc
        delivery.rank = entry.rank
        delivery.base = base
        delivery.delta = before ^ version_hash(entry.hlc, entry.rank) if versions else 0
        delivery.entry_id = entry.id
        delivery.bucket = entry.bucket
        if self.journal_buffer is not None:
            delivery.logged = self.journal_buffer.changed(entry, delivery.frame, delivery.size, origin, delivery.raw,
                                                          write)
        self._fan_out(entry, None, 1 << SIGNAL_PARAM, &delivery)
        if write.hlc and delivery.hlc != write.hlc:
            # What has become of it is something else: who wrote it must hear of it too.
            entry = self.live(write.address, write.address_size, hash)
            if entry != NULL:
                self.tell_links(entry, 0, None, True)
        return ACCEPTED

    cdef bint _stays_unread(self, Entry* entry, Write* write) noexcept:
        """Whether the value of an MQTT message, that is not made yet, need not be made now: what becomes of the write
        does not depend on it, and nobody who hears of it wants more than the message. Who wants it later asks the table
        for it."""
        cdef Fanout fan
        cdef bint exact = False
        if entry.strategy != STRATEGY_LWW or not self.evict:
            return False
        if not write.raw.retain and entry.revision and not entry.unretained:
            return False                # what was retained is kept first
        if (self.journal_buffer is not None and self.journal_buffer.logs(entry, SIGNAL_PARAM)
                and not fits_log(write.raw, write.address_size, &exact)):
            return False                # a record has the frame
        if entry.fan_generation == self.trie.generation:
            fan = <Fanout>entry.fan
        else:
            fan = self._fan_anew(entry)
        return fan is not None and fan.takes_raw

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

    cdef int unset(self, Sink origin, const uint8_t* address, size_t address_size, uint32_t hash, Raw* raw) noexcept:
        """Forget a param (an empty retained MQTT message). CLASP has no such message: its subscribers see null
        with the next revision. Where there is no param, only native sinks hear of it, and other routers: there may be
        one, of which this router has not heard yet."""
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
        if self.versions and not hlc:
            entry = self.live(address, address_size, hash)
            if entry != NULL and entry.revision == 0:
                self._bury(entry, self.next_hlc() | 1, (entry.rank & EPOCH_MASK) | self.tag, origin, True, False)
        return ACCEPTED

    cdef void _clear(self, Sink origin, Entry* entry, uint64_t hlc, uint64_t rank, Raw* raw) noexcept:
        """Tell that a param is no more, and leave a tombstone of this version; none where `hlc` is 0."""
        cdef Delivery delivery
        cdef uint8_t* p
        cdef uint8_t* address = entry_address(entry)
        cdef size_t address_size = entry.address_size
        cdef uint32_t hash = entry.hash
        # Not one that converges: the param will not be there to catch up with.
        begin_delivery(&delivery, origin, SIGNAL_PARAM, BOUNDED)
        delivery.address = address
        delivery.address_size = address_size
        delivery.raw = raw
        delivery.gone = True
        delivery.hlc = hlc
        delivery.rank = rank
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
                delivery.logged = self.journal_buffer.changed(entry, p, delivery.size, origin, raw, NULL)
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
        if not self.evict:
            # Whether there is room depends on how large the value is.
            if write.raw != NULL and write.raw.unread and not read_payload(write):
                return AT_CAPACITY
            if (self.max_params and self.table.params >= self.max_params
                    or self._lacks(write.value_size + bytes_beside(write), entry)):
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
        if origin.holding is not None:
            origin.holding.account.accounts.balance()   # each param takes something beside its address and value
        return ACCEPTED

    cdef bint _keep_retained(self, Entry* entry) except -1:
        """Keep the param's value as the retained MQTT message that it is, before one that is not retained takes its
        place [MQTT-3.3.1-8]. False without memory."""
        cdef const uint8_t* text
        cdef Raw raw
        cdef Py_ssize_t size
        cdef uint8_t* target
        cdef Value value
        if entry.kept != NULL:
            return True
        target = <uint8_t*>malloc(PRINTED_BYTES)
        if target == NULL:
            return False
        try:
            value = self.table.value(entry)
            size = print_value(value.type, value.data, value.size, target, PRINTED_BYTES, &text)
            if size < 0:
                return False
            if size == 0:
                text = <const uint8_t*>b'""'
                size = 2
            raw.payload = text
            raw.payload_size = <size_t>size
            raw.properties = text
            raw.properties_size = 0
            if not self.table.keep(entry, &raw):
                raise MemoryError
            return True
        finally:
            free(target)

    cdef int _apply(self, Sink origin, Write* write, Entry** found) noexcept:
        """Change the param: strategy, lock, value, revision, ttl."""
        cdef Entry* entry = found[0]
        cdef int evictions = 0
        cdef bint unretained = write.raw != NULL and not write.raw.retain and entry.strategy != STRATEGY_MERGE
        cdef bint shadowed = False      # the address has a retained MQTT message, and this write is none
        cdef bint is_merged = False
        cdef bint is_result = False     # what becomes of the write is not what the other router has written
        cdef int verdict
        if entry.strategy == STRATEGY_LWW and self.evict and (
                not unretained or entry.unretained or entry.revision == 0):
            # Nothing to weigh: most writes. No exception can come of it, so that none has to be provided for.
            shadowed = unretained and entry.revision and entry.kept != NULL
            if write.raw != NULL and write.raw.unread:
                entry = self.table.store_unread(entry, write.raw)
            else:
                entry = self.table.store(entry, write.flags & 0x0F, write.value, <uint32_t>write.value_size)
            if entry == NULL:
                return self._not_stored(found[0])
        else:
            verdict = self._weigh(origin, write, unretained, &entry, &shadowed, &is_merged, &is_result)
            if verdict != ACCEPTED:
                return verdict
        found[0] = entry
        if unretained:
            # What was retained stays so, with its quality and its lifetime.
            if not shadowed:
                self.table.drop_kept(entry)
            self.table.mark_unretained(entry, True)
        else:
            entry.qos = 1 if write.raw == NULL else write.raw.qos
            self.table.mark_unretained(entry, False)
            if write.raw != NULL and not write.raw.exact and not is_merged:
                if not write.raw.unread:
                    self.table.keep(entry, write.raw)   # without memory the value is there; only its spelling is lost
            elif entry.kept != NULL:
                self.table.drop_kept(entry)
        if write.flags & SET_UNLOCK and write.hlc == 0:
            self._unlock(entry)
        if write.flags & (SET_LOCK | SET_UNLOCK):
            self._lock_told(entry, origin, self._told_flags(entry, origin, write))
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
            self._make_room()
        if entry.deadline_ms or self.param_ttl_s or write.flags & SET_TTL or entry.ttl != TTL_DEFAULT:
            self._set_ttl(entry, write, unretained, shadowed)
        return ACCEPTED

    cdef int _weigh(self, Sink origin, Write* write, bint unretained, Entry** found, bint* shadowed, bint* is_merged,
                    bint* is_result) noexcept:
        """Store a value that depends on what is there: its strategy, the room that is left, a retained MQTT message."""
        cdef Entry* entry = found[0]
        cdef int value_type = write.flags & 0x0F
        cdef const uint8_t* value = write.value
        cdef size_t size = write.value_size
        cdef Value present
        try:
            if entry.strategy != STRATEGY_LWW and entry.revision and (
                    write.hlc == 0 or self._decides(entry, origin)):
                present = self.table.value(entry)
                if not improves(entry.strategy, present.type, present.data, value_type, value):
                    return STRATEGY_REJECTED
                if entry.strategy == STRATEGY_MERGE:
                    self.core.heavy = True
                    value_type, merged = self.control.merge(
                        present.type, PyBytes_FromStringAndSize(<const char*>present.data, present.size),
                        value_type, PyBytes_FromStringAndSize(<const char*>value, size))
                    value = <const uint8_t*><char*>(<bytes>merged)
                    size = len(<bytes>merged)
                    is_merged[0] = True
                    is_result[0] = (value_type != write.flags & 0x0F or size != write.value_size
                                    or memcmp(value, write.value, size) != 0)
                    if entry.address_size + size + SNAPSHOT_OVERHEAD > MAX_PAYLOAD:
                        return TOO_LARGE
            if not self.evict and self._lacks_for_growth(entry, write, size, unretained):
                return self._not_stored(entry)
            if unretained and entry.revision:
                shadowed[0] = entry.kept != NULL if entry.unretained else self._keep_retained(entry)
            entry = self.table.store(entry, value_type, value, <uint32_t>size)
            if entry == NULL:
                return self._not_stored(found[0])
        except Exception as error:
            if not isinstance(error, MemoryError):
                log.exception("a write could not be applied")
            return self._not_stored(found[0])
        found[0] = entry
        return ACCEPTED

    cdef int _not_stored(self, Entry* entry) noexcept:
        """There is no room for the value: a param that was only just made for it goes."""
        if entry.revision == 0:
            entry.revision = 1      # so that it is counted as the param it was made
            Py_XDECREF(<PyObject*>entry.fan)
            entry.fan = NULL
            self.table.remove(entry)
        return AT_CAPACITY

    cdef void _set_ttl(self, Entry* entry, Write* write, bint unretained, bint shadowed) noexcept:
        cdef uint64_t lifetime_s
        if shadowed:
            if entry.ttl & TTL_ABSOLUTE and entry.ttl != TTL_DEFAULT:
                return                  # it goes with the retained message
        elif unretained and not write.flags & SET_TTL:
            entry.ttl = TTL_DEFAULT
        if write.flags & SET_TTL and not shadowed:
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
