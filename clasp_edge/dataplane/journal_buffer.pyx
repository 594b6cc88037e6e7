"""What the journal sees of the data plane: accepted writes as log records, changed params as images, in memory only.

Writes are copied into a preallocated buffer; a param that changed is noted once and encoded when the journal collects,
so that only its newest value is stored. Nothing here waits for a disk: a log record that finds both buffers full is
counted as lost. The replies that wait for a commit in strict mode are kept by `HeldReplies`, from which it comes.
"""

import logging

from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.stdint cimport uint16_t
from libc.stdlib cimport free, realloc
from libc.string cimport memcpy, memset

from clasp_edge.dataplane.blocks cimport (
    CLOCK_SYNCHRONISED,
    LOG_EXACT,
    LOG_UNREAD,
    RECORD_GONE,
    RECORD_PARAM,
    RECORD_RAW,
    SAME_WRITER,
    STATE_UNREAD,
    STATE_UNRETAINED,
    BlockBuffer,
    LogRaw,
    LogRecord,
    RawSizes,
    StateRecord,
    Stream,
)
from clasp_edge.dataplane.bytes cimport put16
from clasp_edge.dataplane.logged_payload cimport logged_size, put_logged
from clasp_edge.dataplane.table cimport (
    FIRST_ID,
    JOURNAL_DIRTY,
    JOURNAL_KNOWN,
    JOURNAL_LOG,
    JOURNAL_STATE,
    UNREAD,
    Value,
    entry_address,
)
from clasp_edge.dataplane.value_types cimport T_BYTES, T_NULL

cdef extern from "<sys/timex.h>" nogil:
    struct timex:
        unsigned int modes
        int status
    int adjtimex(timex* buffer)
    int STA_UNSYNC


log = logging.getLogger("clasp_edge.dataplane")

cdef enum:
    IMAGES_ROOM = 1 << 20       # params stored with one commit; what is left over comes with the next one
    # A param's with its header, and beside it a whole MQTT packet (mqtt.max_packet_kib): untouched before.
    LARGEST_RECORD = (1 << 24) + 330000
    VERSION_BYTES = 16          # rank and hlc of a param or tombstone
    WAY_FIXED = 9               # beside a way: a zero before it, and the write's number behind it
    MANY_DIRTY = 8192           # params that call for a commit before its time: encoding them takes about a millisecond
    GONE_ROOM = 1 << 20         # addresses of removed params between two commits; beyond it everything is written anew
    REWRITTEN_AT_ONCE = 1 << 18     # bytes of a rewriting that go with one commit

LOG_MAGIC = b"CEJL"
STATE_MAGIC = b"CEJS"


def clock_synchronised():
    """Whether the kernel believes that something (NTP, a battery clock's driver) has set the wall clock right."""
    cdef timex state
    state.modes = 0
    return adjtimex(&state) >= 0 and not state.status & STA_UNSYNC


cdef class JournalBuffer(HeldReplies):
    """Made by `Plane.open_journal_buffer`. The owner (the journal) has `select(address) -> bits` (1 log, 2 state),
    `wake()` called at the first change after a `collect`, and `full()` called when a buffer is full: it may `collect`
    at once.
    """

    def __cinit__(self, Core core not None, Table table not None, list writer_texts not None, object owner not None,
                  bint strict, size_t buffer_bytes, Stream log_stream not None, Stream state_stream not None):
        self.table = table
        self.writer_texts = writer_texts
        self.owner = owner
        self.strict = strict
        self.log = log_stream
        self.state = state_stream
        self.filling = BlockBuffer(LOG_MAGIC, buffer_bytes, LARGEST_RECORD)
        self.stored = BlockBuffer(LOG_MAGIC, buffer_bytes, LARGEST_RECORD)
        self.images = BlockBuffer(STATE_MAGIC, GONE_ROOM * 2 + IMAGES_ROOM + 660000, LARGEST_RECORD)
        self.epoch = 1

    def __dealloc__(self):
        free(self.dirty)
        free(self.gone)

    # ---- what the plane reports ----

    cdef uint64_t changed(self, Entry* entry, const uint8_t* frame, size_t size, Sink origin, const Raw* raw,
                          const Write* write) noexcept:
        """A SET was applied; `frame` tells it to subscribers. `raw`: what an MQTT client published, or NULL. Where the
        frame is NULL, what `raw` means is not made yet: then `write` has the rest of it. Returns the number of the
        record, 0 if there is none."""
        cdef Logged unread
        self.last_number = 0
        if not entry.journal & JOURNAL_KNOWN:
            self._select(entry)
        if entry.journal & JOURNAL_STATE and not entry.journal & JOURNAL_DIRTY:
            self._mark(entry)
        if entry.journal & JOURNAL_LOG and self.signals & 1:
            if frame != NULL:
                self._append(frame, size, 0, origin, raw, NULL)
            else:
                unread.is_set = True
                unread.revision = entry.revision
                unread.flags = write.flags
                unread.ttl = write.ttl
                self._append_unread(entry, &unread, 0, origin, raw)
        return self.last_number

    cdef uint64_t published(self, Entry* entry, const uint8_t* frame, size_t size, int signal, Sink origin,
                            const Raw* raw) noexcept:
        """A PUBLISH was accepted. One of signal param is stored nowhere: in the log, PARAM means a SET. The frame of an
        event may be NULL, if `raw` fits the log as it is. Returns the number of the record, 0 if there is none."""
        cdef Logged unread
        self.last_number = 0
        if signal == 0 or not self.logs(entry, signal):
            return 0
        if frame != NULL:
            self._append(frame, size, signal, origin, raw, NULL)
        else:
            unread.is_set = False
            unread.flags = 0
            self._append_unread(entry, &unread, signal, origin, raw)
        return self.last_number

    cdef bint logs(self, Entry* entry, int signal) noexcept:
        """Whether a SET (signal 0) or a PUBLISH of this signal goes into the log."""
        if not self.signals & (1 << signal):
            return False
        if not entry.journal & JOURNAL_KNOWN:
            self._select(entry)
        return entry.journal & JOURNAL_LOG

    cdef void prolonged(self, Entry* entry) noexcept:
        """A param's life was prolonged by being read."""
        if entry.journal & JOURNAL_STATE and not entry.journal & JOURNAL_DIRTY:
            self._mark(entry)

    cdef void forgotten(self, Entry* entry) noexcept:
        """A param is about to be removed, or (without a revision) a tombstone has taken its place."""
        cdef uint8_t* grown
        cdef size_t room
        if not entry.journal & JOURNAL_KNOWN:
            self._select(entry)
        if not entry.journal & JOURNAL_STATE or self.incomplete:
            return
        if self.gone_used + 2 + entry.address_size + VERSION_BYTES > self.gone_room:
            room = self.gone_room * 2 if self.gone_room else 4096
            grown = <uint8_t*>realloc(self.gone, room) if room <= GONE_ROOM else NULL
            if grown == NULL:
                self.mark_incomplete()
                self._wake()
                return
            self.gone = grown
            self.gone_room = room
        memcpy(self.gone + self.gone_used, &entry.address_size, 2)
        memcpy(self.gone + self.gone_used + 2, entry_address(entry), entry.address_size)
        self.gone_used += 2 + entry.address_size
        if entry.revision:
            memset(self.gone + self.gone_used, 0, VERSION_BYTES)
        else:
            memcpy(self.gone + self.gone_used, &entry.rank, 8)
            memcpy(self.gone + self.gone_used + 8, &entry.hlc, 8)
        self.gone_used += VERSION_BYTES
        self._wake()

    cdef void _select(self, Entry* entry) noexcept:
        cdef int bits = 3
        try:
            bits = self.owner.select(PyBytes_FromStringAndSize(<const char*>entry_address(entry), entry.address_size))
        except Exception:
            log.exception("an address could not be matched against journal.patterns")
        entry.journal = ((entry.journal & JOURNAL_DIRTY) | JOURNAL_KNOWN
                         | (JOURNAL_LOG if bits & 1 else 0) | (JOURNAL_STATE if bits & 2 else 0))

    def reselect(self):
        """The selection has changed: ask again about every address."""
        cdef uint32_t id
        for id in range(FIRST_ID, self.table.top):
            if self.table.entries[id] != NULL:
                self.table.entries[id].journal &= JOURNAL_DIRTY

    cdef void _mark(self, Entry* entry) noexcept:
        cdef uint32_t* grown
        if self.incomplete:
            return              # everything will be written anyway
        if self.dirty_count == self.dirty_room:
            grown = NULL
            # An id comes twice when its param was replaced by another one; with that, the list could grow for ever.
            if self.dirty_room <= <size_t>self.table.capacity * 2:
                grown = <uint32_t*>realloc(self.dirty, (self.dirty_room * 2 + 256) * sizeof(uint32_t))
            if grown == NULL:
                self.mark_incomplete()
                self._wake()
                return
            self.dirty = grown
            self.dirty_room = self.dirty_room * 2 + 256
        entry.journal |= JOURNAL_DIRTY
        self.dirty[self.dirty_count] = entry.id
        self.dirty_count += 1
        if not self.woken:
            self._wake()
        elif self.dirty_count == MANY_DIRTY:
            self._full()

    cdef void _append_unread(self, Entry* entry, Logged* unread, int signal, Sink origin, const Raw* raw) noexcept:
        unread.address = entry_address(entry)
        unread.address_size = entry.address_size
        unread.payload = raw.payload
        unread.payload_size = raw.payload_size
        self._append(NULL, logged_size(unread), signal, origin, raw, unread)

    cdef void _append(self, const uint8_t* frame, size_t size, int signal, Sink origin, const Raw* raw,
                      const Logged* unread) noexcept:
        """A record with this frame; where `unread` is given, with that of a message whose value is not made."""
        cdef LogRecord* record
        cdef LogRaw own
        cdef uint8_t* place = NULL
        cdef uint32_t writer = origin.writer
        cdef bytes author = origin.author
        cdef bytes text = author if author is not None else <bytes>self.writer_texts[writer]
        cdef size_t name_size = len(text)
        cdef size_t text_size = name_size
        cdef bytes way = origin.way
        cdef uint64_t number = origin.number
        cdef size_t own_size = 0
        cdef int attempt
        if way is not None:
            if name_size + len(way) + WAY_FIXED < SAME_WRITER:
                text_size += len(way) + WAY_FIXED
            else:
                way = None
        if raw != NULL:
            if self.whole_messages or unread != NULL:
                own.exact = LOG_UNREAD if unread != NULL else LOG_EXACT if raw.exact else 0
                own_size = sizeof(LogRaw) + raw.properties_size + (0 if own.exact else raw.payload_size)
            else:
                raw = NULL
        if self.ration > 0 and origin.holding is not None and not origin.holding.account.may_log(
                sizeof(LogRecord) + size + own_size, self.ration, self.core.mono_us):
            self.rationed += 1
            return
        for attempt in range(2):
            # A new block names its first writer; whether this record opens one is known only when it has its place.
            place = self.filling.add(sizeof(LogRecord) + text_size + size + own_size, self.log, self.core.wall_us,
                                     signal)
            if place != NULL:
                break
            if attempt == 0:
                self._full()
        if place == NULL:
            self.lost += 1
            return
        self.kept += 1
        self.last_number = self.log.number - 1
        record = <LogRecord*>place
        if (writer == self.last_writer and place != self.filling.memory + self.filling.begin + 72
                and way is self.last_way and author is self.last_author
                and (way is None or number == (self.last_way_number + 1 if self.last_way_number else 0))):
            self.filling.used -= text_size
            text_size = 0
            record.writer_size = SAME_WRITER
        else:
            record.writer_size = <uint8_t>text_size
            self.last_writer = writer
            self.last_way = way
            self.last_author = author
        self.last_way_number = number
        record.size = <uint32_t>(sizeof(LogRecord) + text_size + size + own_size)
        record.wall_us = self.core.wall_us
        record.signal = <uint8_t>signal
        place += sizeof(LogRecord)
        if text_size:
            memcpy(place, <const char*>text, name_size)
            if way is not None:
                place[name_size] = 0
                memcpy(place + name_size + 1, <const char*>way, len(way))
                memcpy(place + text_size - 8, &number, 8)
        if unread == NULL:
            memcpy(place + text_size, frame, size)
        else:
            put_logged(place + text_size, unread)
        if raw != NULL:
            place += text_size + size
            own.expiry_s = raw.expiry_s
            own.properties_size = <uint32_t>raw.properties_size
            own.qos = raw.qos
            own.retain = raw.retain
            memcpy(place, &own, sizeof(LogRaw))
            place += sizeof(LogRaw)
            if raw.properties_size:     # or it may be nowhere
                memcpy(place, raw.properties, raw.properties_size)
            if raw.payload_size and not own.exact:
                memcpy(place + raw.properties_size, raw.payload, raw.payload_size)
        if not self.woken:
            self._wake()

    cdef void _wake(self) noexcept:
        if self.woken:
            return
        self.woken = True
        self.oldest_us = self.core.mono_us
        try:
            self.owner.wake()
        except Exception:
            log.exception("the journal could not be woken")

    cdef void _full(self) noexcept:
        if self.in_flight:
            return
        try:
            self.owner.full()
        except Exception:
            log.exception("the journal could not take what is due")

    # ---- handing over to the writer thread ----

    @property
    def oldest_monotonic_us(self):
        """When the first change since the last `collect` was made; 0 if there is none."""
        return self.oldest_us if self.woken else 0

    @property
    def unstored(self):
        """Whether something has changed that no commit has stored yet."""
        return self.woken or self.in_flight or self.again

    @property
    def busy(self):
        """Whether what was collected last has not been released."""
        return self.in_flight

    cpdef void mark_incomplete(self) noexcept:
        """What is in the store lacks changes: from the next `collect` on everything is written again."""
        cdef size_t i
        for i in range(self.dirty_count):
            if self.table.entries[self.dirty[i]] != NULL:
                self.table.entries[self.dirty[i]].journal &= ~JOURNAL_DIRTY
        self.dirty_count = 0
        self.gone_used = 0
        self.rewriting = 0
        self.incomplete = True

    cpdef void rewrite(self) noexcept:
        """Start to write every param again, so that older blocks can be dropped; changes go on being noted."""
        if not self.rewriting:
            self.images.close(self.state)
            self.rewrite_from = self.state.number
            self.rewrite_before = self.state.before
            self.rewriting = FIRST_ID

    cdef void _repair(self) noexcept:
        self.incomplete = False
        # In strict mode an ACK may rest on a param whose last change the store has missed.
        self.repairing = True
        self.rewriting = 0
        self.rewrite()

    @property
    def is_rewriting(self):
        return self.rewriting != 0

    def collect(self, bint anyway=False):
        """Take what has changed: `(state blocks, log blocks, drained, base)`, or None. Blocks are memoryviews.

        `anyway`: there is something else to store, so that None is not an answer.

        `drained`: nothing was left behind. `base`: with these blocks a rewriting is complete and state blocks with
        lower numbers are not needed any more; 0 = it is not. `release` must be called before the next `collect`.
        """
        cdef Entry* entry
        cdef size_t i = 0
        cdef size_t left = 0
        cdef size_t target
        cdef bint drained
        base = 0
        if self.in_flight:
            raise RuntimeError("the last batch has not been released")
        self.core.tick()
        self.log.flags = self.state.flags = CLOCK_SYNCHRONISED if clock_synchronised() else 0
        self.images.clear()
        if self.incomplete:
            self._repair()
        drained = self._gone_images()
        while i < self.dirty_count and self.images.used < IMAGES_ROOM + GONE_ROOM:
            entry = self.table.entries[self.dirty[i]]
            i += 1
            if entry != NULL and entry.journal & JOURNAL_DIRTY and entry.revision and not self._image(entry):
                i -= 1
                break
        if i < self.dirty_count:
            drained = False
            left = self.dirty_count - i
            for target in range(left):
                self.dirty[target] = self.dirty[i + target]
        self.dirty_count = left
        if self.rewriting and drained:
            target = self.images.used + (IMAGES_ROOM if self.repairing else REWRITTEN_AT_ONCE)
            while self.rewriting < self.table.top and self.images.used < target:
                entry = self.table.entries[self.rewriting]
                if entry != NULL and (entry.revision or entry.hlc):
                    if not entry.journal & JOURNAL_KNOWN:
                        self._select(entry)
                    if entry.journal & JOURNAL_STATE and not self._image(entry):
                        break
                self.rewriting += 1
            if self.rewriting >= self.table.top:
                self.rewriting = 0
                self.repairing = False
                base = self.rewrite_from
                self.state.base = base
            else:
                drained = not self.repairing
        self.images.close(self.state)
        if base and self.state.number == base:
            # No param is left. A block says so, with a number of its own: nothing else tells a reader of the bare
            # file that the blocks that still lie in freed pages do not count any more.
            self.images.open_block(self.state, self.core.wall_us)
            self.images.close(self.state)
        if base:
            # This batch is stored as a whole or not at all: with it, only what the rewriting has stored counts.
            self.images.set_base(base)
        if self.again:
            # First what a failed commit has left; what came since stays where it is, and so does who waits for it.
            drained = drained and self.filling.used == 0
        else:
            self.filling.close(self.log)
            self.filling, self.stored = self.stored, self.filling
            self.filling.clear()
            self.last_writer = 0
        self.woken = not drained
        self.covering = drained
        if drained:
            self.epoch += 1
            self._due()
        states, logs = self.images.views(), self.stored.views()
        if not states and not logs and not base and not self.covered and not anyway:
            return None
        self.in_flight = True
        return states, logs, drained, base

    def release(self, bint stored):
        """The batch has been stored, or (not `stored`) could not be: then it will be tried again, with everything that
        has changed by then. Until it is stored, log records have only the other half of the buffer's memory."""
        self.in_flight = False
        self.failing = self.failing and not stored
        self.again = not stored and self.stored.used > 0
        if stored:
            self.stored.clear()
        else:
            self.mark_incomplete()
            self.woken = True
            self._put_back()
            self.cannot_store()
            return
        if self.covering:
            self.durable = self.epoch
        self._confirm()

    def tail(self, uint64_t first, size_t most=<size_t>-1):
        """Copies of the log blocks that are only in memory and hold records from `first` on; no further ones once they
        have `most` bytes."""
        cdef list found = []
        cdef size_t size = 0
        self.filling.close(self.log)
        for view in [*self.stored.views(), *self.filling.views()]:
            if size >= most:
                break
            if int.from_bytes(view[24:32], "little") + int.from_bytes(view[16:20], "little") > first:
                found.append(bytes(view))
                size += <size_t>len(view)
        self.last_writer = 0
        return found

    @property
    def tail_begins(self):
        """The number of the first log record that is not in the store yet."""
        cdef BlockBuffer buffer
        for buffer in (self.stored, self.filling):
            views = buffer.views()
            if views:
                return int.from_bytes(views[0][24:32], "little")
            if buffer.open:
                return int.from_bytes((<char*>buffer.memory + buffer.begin)[24:32], "little")
        return self.log.number

    # ---- images of params ----

    cdef bint _image(self, Entry* entry) noexcept:
        """The param as it is now; False when the buffer is full."""
        cdef bytes writer = <bytes>self.writer_texts[entry.writer]
        cdef size_t raw_size = 0
        cdef size_t version_size = VERSION_BYTES if entry.hlc else 0
        cdef Value value = self.table.stored(entry)
        cdef bint unread = value.type >= UNREAD
        cdef uint32_t head = 2 if value.type == UNREAD else 0   # of a payload, before it
        cdef size_t size = sizeof(StateRecord) + entry.address_size + len(writer) + version_size + head + value.size
        cdef uint8_t* place
        cdef StateRecord* record
        cdef RawSizes sizes
        cdef uint64_t now_ms = self.core.mono_us // 1000
        if entry.kept != NULL:
            raw_size = entry.kept.properties_size + entry.kept.payload_size
            size += sizeof(RawSizes) + raw_size
        place = self.images.add(size, self.state, self.core.wall_us, 0)
        if place == NULL:
            return False
        record = <StateRecord*>place
        entry.journal &= ~JOURNAL_DIRTY
        record.size = <uint32_t>size
        record.kind = RECORD_GONE if entry.revision == 0 else RECORD_PARAM if entry.kept == NULL else RECORD_RAW
        record.value_type = <uint8_t>(value.type if not unread else T_BYTES if head else T_NULL)
        record.writer_size = <uint8_t>len(writer)
        record.qos = entry.qos
        record.address_size = entry.address_size
        record.version_size = <uint16_t>(version_size | (STATE_UNRETAINED if entry.unretained else 0))
        record.ttl = entry.ttl
        record.revision = entry.revision
        record.written_us = entry.written_us
        record.deadline_us = 0
        record.remaining_ms = 0
        if entry.deadline_ms:
            record.remaining_ms = entry.deadline_ms - now_ms if entry.deadline_ms > now_ms else 0
            record.deadline_us = self.core.wall_us + record.remaining_ms * 1000
        if unread:
            record.remaining_ms |= STATE_UNREAD
        place += sizeof(StateRecord)
        memcpy(place, entry_address(entry), entry.address_size)
        place += entry.address_size
        memcpy(place, <const char*>writer, len(writer))
        place += len(writer)
        if version_size:
            memcpy(place, &entry.rank, 8)
            memcpy(place + 8, &entry.hlc, 8)
            place += VERSION_BYTES
        if entry.kept != NULL:
            sizes.value_size = head + value.size
            sizes.properties_size = entry.kept.properties_size
            memcpy(place, &sizes, sizeof(RawSizes))
            memcpy(place + sizeof(RawSizes) + sizes.value_size, &entry.kept.data[0], raw_size)
            place += sizeof(RawSizes)
        if head:
            put16(place, <uint16_t>value.size)
        memcpy(place + head, value.data, value.size)
        return True

    cdef bint _gone_images(self) noexcept:
        """The removed params, before any image: an address may be in use again."""
        cdef size_t at = 0
        cdef StateRecord* record
        cdef uint8_t* place
        cdef uint16_t size
        while at < self.gone_used:
            memcpy(&size, self.gone + at, 2)
            place = self.images.add(sizeof(StateRecord) + size + VERSION_BYTES, self.state, self.core.wall_us, 0)
            if place == NULL:
                # More, and shorter, addresses than the room was made for.
                self.mark_incomplete()
                self._repair()
                return True
            record = <StateRecord*>place
            memset(record, 0, sizeof(StateRecord))
            record.size = <uint32_t>(sizeof(StateRecord) + size + VERSION_BYTES)
            record.kind = RECORD_GONE
            record.address_size = size
            record.version_size = VERSION_BYTES
            memcpy(place + sizeof(StateRecord), self.gone + at + 2, size + VERSION_BYTES)
            at += 2 + size + VERSION_BYTES
        self.gone_used = 0
        return True
