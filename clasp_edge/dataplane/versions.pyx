"""Which of two writes to one param stands, where routers pass writes on: versions, locks, and who decides.

A version is (hybrid logical clock, rank), state.pxd; the later one stands, at every router alike (federation.md).
Locks, expected states and strategies need somebody who decides: `referee` tells whether that is this router.
"""

import logging

from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.string cimport memcmp

from clasp_edge.dataplane.messages cimport SET_REVISION, SET_LOCK, SET_UNLOCK
from clasp_edge.dataplane.state cimport EPOCH_MASK, EPOCH_SHIFT, later, version_hash
from clasp_edge.dataplane.strategy cimport improves
from clasp_edge.dataplane.table cimport STRATEGY_MAX, STRATEGY_MERGE, STRATEGY_MIN, Value, entry_address

log = logging.getLogger("clasp_edge.dataplane")

cdef enum:
    LAST_EPOCH = 0xFFFE


cdef class Versions(Routing):
    """The part of `params.Params` that compares a write with what is there.

    `referee(address, holder, writer)` tells whether locks and strategies of an address are decided here; None: always.
    """

    cdef bint _newer(self, Entry* entry, Write* write) noexcept:
        """Whether the write stands against the param. Of two values with one version (two routers with copies of one
        data directory) it is the one with the greater bytes, everywhere."""
        cdef Value value
        cdef size_t size
        cdef int order
        if write.hlc != entry.hlc or write.rank != entry.rank:
            return later(write.hlc, write.rank, entry.hlc, entry.rank)
        value = self.table.value(entry)
        if write.flags & 0x0F != value.type:
            return write.flags & 0x0F > value.type
        size = write.value_size if write.value_size < value.size else value.size
        order = memcmp(write.value, value.data, size)
        return order > 0 or (order == 0 and write.value_size > value.size)

    cdef bint _changes_another(self, Entry* entry, Write* write) noexcept:
        """Whether the write is a change of another state than this one."""
        return (write.hlc and write.flags & SET_REVISION and not write.quiet and entry != NULL and entry.hlc
                and write.expected != entry.hlc)

    cdef bint _stale(self, Entry* entry, Sink origin, Write* write) noexcept:
        """Whether it is that, and that counts here."""
        return self._changes_another(entry, write) and self._decides(entry, origin)

    cdef bint _late(self, Entry* entry, Sink origin, Write* write) noexcept:
        """Whether an older write counts all the same: that of whoever has the param locked, which was on its way when
        what stands got a later version against somebody else; and with a strategy that does not go by time."""
        cdef Value value
        if entry.lock_holder:
            return entry.lock_holder == origin.writer
        if entry.strategy == STRATEGY_MAX or entry.strategy == STRATEGY_MIN:
            value = self.table.value(entry)
            return (improves(entry.strategy, value.type, value.data, write.flags & 0x0F, write.value)
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

    # ---- locks that are heard of ----

    cdef int _told_flags(self, Entry* entry, Sink origin, Write* write) noexcept:
        """Its flags, without a lock that has come round: nobody has locked here what was last written here, and where a
        ring of routers passes that on, it would hold for ever. Who decides holds what it is told."""
        if (write.hlc and write.flags & SET_LOCK and (write.rank & ~EPOCH_MASK) == self.tag and entry.lock_holder == 0
                and not self._decides(entry, origin)):
            return write.flags & ~SET_LOCK
        return write.flags

    cdef bint _is_locked_to(self, Entry* entry, Sink origin, Write* write) noexcept:
        """Whether a router that says that somebody has it locked there is to hear that somebody else has. Not one that
        tells us, by a ring, of our own lock."""
        if entry.lock_holder == 0 or entry.lock_holder == origin.writer or not self._decides(entry, origin):
            return False
        if (write.rank & ~EPOCH_MASK) != self.tag or self.referee is None:
            return True
        try:
            return self.referee(PyBytes_FromStringAndSize(<const char*>entry_address(entry), entry.address_size),
                                b"", b"")
        except Exception:
            log.exception("who decides about an address could not be found out")
            return False

    cdef void _take_lock(self, Entry* entry, Sink origin, Write* write) noexcept:
        """What the write says of a lock, where it is no news itself: other routers have to hear of it all the same."""
        cdef uint32_t before = entry.lock_holder
        self._lock_told(entry, origin, self._told_flags(entry, origin, write))
        if entry.lock_holder != before:
            self.tell_links(entry, 0, origin, True)
