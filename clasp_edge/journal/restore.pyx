"""Params from the journal's state blocks back into the table, as they were: revision, time, writer, remaining life.

For start-up, before anybody is connected; nothing is fanned out. A block has been checked by whoever read it; sizes are
checked again here, because a wrong one would be read as memory that is not ours.
"""

import logging

from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc, qsort
from libc.string cimport memcpy

from clasp_edge.dataplane.blocks cimport (
    CLOCK_SYNCHRONISED,
    RECORD_GONE,
    RECORD_PARAM,
    RECORD_RAW,
    SAME_WRITER,
    STATE_UNREAD,
    STATE_UNRETAINED,
    BlockHeader,
    LogRecord,
    RawSizes,
    StateRecord,
)
from clasp_edge.dataplane.bytes cimport get16
from clasp_edge.dataplane.entry cimport LARGEST_VALUE, value_room
from clasp_edge.dataplane.logged_payload cimport Logged, is_unread, read_logged
from clasp_edge.dataplane.messages cimport is_logged
from clasp_edge.dataplane.payload cimport Typed, fit_payload, is_certain
from clasp_edge.dataplane.plane cimport Plane
from clasp_edge.dataplane.scan cimport utf8_valid, value_size
from clasp_edge.dataplane.sink cimport Raw
from clasp_edge.dataplane.state cimport SNAPSHOT_OVERHEAD
from clasp_edge.dataplane.table cimport FIRST_ID, TTL_DEFAULT, UNREAD, UNREAD_KEPT, Entry, Table, Value
from clasp_edge.dataplane.value_types cimport T_BYTES, T_NULL
from clasp_edge.dataplane.view cimport View

log = logging.getLogger("clasp_edge.dataplane")

cdef enum:
    VERSION_BYTES = 16
    MAX_PAYLOAD = 65535         # wire.md 1
    NAMED = 10                  # params of one block that the log names when they cannot be used
    LARGEST_RAW = (1 << 24) + 65536     # of properties and payload: an MQTT packet's (mqtt.max_packet_kib)


def restore_params(Plane plane not None, source, dict writers not None, bint clock_is_right,
                   uint32_t same_clock_from=0):
    """Apply one state block (header included). Returns how many of its records could not be used; the log names them.

    `writers` is kept between calls: the places of writers' names. `clock_is_right`: the wall clock may be believed now.
    A deadline that a writer set is kept by the wall clock if that could be believed then, too, or was not set since the
    start numbered `same_clock_from` (0: none), which has written the block or one before; otherwise, and for the
    server-wide lifetime, what was left of it is left still: nobody could touch a param while the router was off.
    """
    cdef size_t at = sizeof(BlockHeader)
    cdef View view = View(source)
    cdef const uint8_t* block = view.data
    cdef size_t end = view.size
    cdef StateRecord record
    cdef BlockHeader header
    cdef const uint8_t* p
    cdef uint64_t size
    cdef int refused = 0
    cdef int done = 0
    cdef bint unretained
    if end < sizeof(BlockHeader):
        raise ValueError("shorter than a block's header")
    memcpy(&header, &block[0], sizeof(BlockHeader))
    plane.core.tick()
    clock_is_right = (clock_is_right and header.flags & CLOCK_SYNCHRONISED) or 0 < same_clock_from <= header.run
    while at + sizeof(StateRecord) <= end:
        memcpy(&record, &block[at], sizeof(StateRecord))
        size = record.size
        unretained = record.version_size & STATE_UNRETAINED != 0
        record.version_size &= <uint16_t>~STATE_UNRETAINED
        if (size < sizeof(StateRecord) + <uint64_t>record.address_size + record.writer_size + record.version_size
                or size > end - at or (record.version_size and record.version_size != VERSION_BYTES)
                or record.writer_size > 36):
            log.error("stored params: a record of %d bytes at %d of block %d, the rest of the block is passed over",
                      size, at, header.number)
            return refused + max(1, <long long>header.count - done)
        p = &block[at] + sizeof(StateRecord)
        at += size
        size -= sizeof(StateRecord) + record.address_size + record.writer_size + record.version_size
        if header.version < 2:
            record.qos = 1              # not told: as of a write that did not come by MQTT
        if not _restore(plane, &record, p, <uint32_t>size, writers, clock_is_right, unretained):
            refused += 1
            if refused <= NAMED:
                log.error("stored params: %r in block %d cannot be used and is left out",
                          PyBytes_FromStringAndSize(<const char*>p, record.address_size)[:256], header.number)
        done += 1
    return refused


cdef bint _restore(Plane plane, StateRecord* record, const uint8_t* address, size_t size, dict writers,
                   bint clock_is_right, bint unretained) except -1:
    """Apply one record; `size`: what comes after the writer's name. False if it cannot be used."""
    cdef Table table = plane.table
    cdef uint32_t hash = table.hash_of(address, record.address_size)
    cdef Entry* entry = table.find(address, record.address_size, hash)
    cdef const uint8_t* value = address + record.address_size + record.writer_size + record.version_size
    # Of what was stored before there were versions, the time of the write is the best there is.
    cdef uint64_t hlc = record.written_us & ~<uint64_t>1
    cdef uint64_t rank = 0
    cdef uint64_t remaining_ms = record.remaining_ms
    cdef uint64_t now_ms = plane.core.mono_us // 1000
    cdef uint64_t lifetime_ms
    cdef uint32_t writer = 0
    cdef RawSizes sizes
    cdef Raw raw
    cdef Value stored               # what the table gets
    cdef uint8_t made[LARGEST_VALUE]
    cdef bint unread = remaining_ms & ~(STATE_UNREAD - 1) == STATE_UNREAD
    if unread:
        remaining_ms -= STATE_UNREAD
    if record.version_size:
        memcpy(&rank, value - VERSION_BYTES, 8)
        memcpy(&hlc, value - VERSION_BYTES + 8, 8)
        if hlc > plane.hlc:
            plane.hlc = hlc | 1
    if record.kind == RECORD_GONE:
        if record.version_size and hlc:
            if entry == NULL:
                entry = _place(plane, address, record.address_size, hash)
                if entry == NULL:
                    return False
            plane._bury(entry, hlc, rank, None, False, True)
        elif entry != NULL:
            plane._forget(entry)
        return True
    if ((record.kind != RECORD_PARAM and record.kind != RECORD_RAW) or record.revision == 0
            or record.revision >> 63 or record.qos > 2):
        return False
    sizes.value_size = <uint32_t>size
    if record.kind == RECORD_RAW:
        if size < sizeof(RawSizes):
            return False
        memcpy(&sizes, value, sizeof(RawSizes))
        value += sizeof(RawSizes)
        size -= sizeof(RawSizes)
        if <uint64_t>sizes.value_size + sizes.properties_size > size:
            return False
        raw.properties = value + sizes.value_size
        raw.properties_size = sizes.properties_size
        raw.payload = raw.properties + sizes.properties_size
        raw.payload_size = size - sizes.value_size - sizes.properties_size
    stored.type = record.value_type
    stored.data = value
    stored.size = sizes.value_size
    if unread:
        if not _take_payload(plane, record, &stored, &raw, made):
            return False
    elif value_size(record.value_type, value, sizes.value_size, 0) != <Py_ssize_t>sizes.value_size:
        return False
    # As of any write: what is kept has to fit into a frame, and into the buffers that are made for one.
    elif record.address_size + <size_t>sizes.value_size + SNAPSHOT_OVERHEAD > MAX_PAYLOAD:
        return False
    if not utf8_valid(address + record.address_size, record.writer_size):
        return False
    if record.kind == RECORD_RAW and size - sizes.value_size > LARGEST_RAW:
        return False
    if record.ttl == TTL_DEFAULT:
        lifetime_ms = <uint64_t>plane.param_ttl_s * 1000
        if record.deadline_us == 0 or remaining_ms > lifetime_ms:
            remaining_ms = lifetime_ms
    elif record.deadline_us:
        lifetime_ms = 1
        if clock_is_right:
            left_ms = <long long>(record.deadline_us // 1000) - <long long>(plane.core.wall_us // 1000)
            remaining_ms = 0 if left_ms < 0 else left_ms if <uint64_t>left_ms < remaining_ms else remaining_ms
    else:
        lifetime_ms = 0
    if lifetime_ms and remaining_ms == 0:
        if record.version_size:
            if entry == NULL:
                entry = _place(plane, address, record.address_size, hash)
                if entry == NULL:
                    return False
            plane._bury(entry, hlc | 1, rank, None, False, True)
        elif entry != NULL:
            plane._forget(entry)
        return True
    if entry == NULL:
        entry = _place(plane, address, record.address_size, hash)
        if entry == NULL:
            return False
        table.make_param(entry)
        entry.revision = record.revision        # counted as a param from here on
    elif entry.revision == 0:
        table.make_param(entry)
        entry.revision = record.revision
    else:
        plane._release_writer(entry.writer)
        entry.writer = 0
    entry = table.store(entry, stored.type, stored.data, stored.size)
    if entry == NULL:
        raise MemoryError
    if record.kind == RECORD_RAW:
        if not table.keep(entry, &raw):
            raise MemoryError
    else:
        table.drop_kept(entry)
    entry.qos = record.qos
    table.mark_unretained(entry, unretained)
    entry.revision = record.revision
    entry.hlc = hlc
    entry.rank = rank
    entry.written_us = record.written_us
    entry.ttl = record.ttl
    if record.writer_size:
        name = PyBytes_FromStringAndSize(<const char*>address + record.address_size, record.writer_size)
        writer = _writer(plane, name, writers)
        plane.writer_uses[writer] += 1
    entry.writer = writer
    table.seq += 1
    entry.seq = table.seq
    table.touch(entry)
    table.expires(entry, now_ms + remaining_ms if lifetime_ms else 0)
    return True


cdef Entry* _place(Plane plane, const uint8_t* address, size_t size, uint32_t hash) except? NULL:
    """A new entry, or NULL for what is no address."""
    cdef Entry* entry
    try:
        route, strategy = plane.control.classify(PyBytes_FromStringAndSize(<const char*>address, size))
    except ValueError:
        return NULL
    entry = plane.table.insert(address, size, hash)
    entry.route = route
    entry.strategy = strategy
    return entry


cdef bint _take_payload(Plane plane, StateRecord* record, Value* stored, const Raw* raw, uint8_t* made) noexcept:
    """A payload in the place of the value that it means: left as it is, where that value can wait, as it could when the
    message came. False if it cannot be used."""
    cdef const uint8_t* payload = stored.data + 2
    cdef size_t size
    cdef Typed typed
    cdef bint exact
    if record.address_size + SNAPSHOT_OVERHEAD + 16 > LARGEST_VALUE:
        return False
    if record.value_type == T_BYTES:
        if stored.size < 2 or stored.size - 2 != get16(stored.data):
            return False
        size = stored.size - 2
        stored.type = UNREAD
    elif record.value_type == T_NULL and record.kind == RECORD_RAW and stored.size == 0:
        payload = raw.payload
        size = raw.payload_size
        stored.type = UNREAD_KEPT
    else:
        return False
    if plane.evict and is_certain(payload, size, value_room(record.address_size), &exact):
        stored.data = payload
        stored.size = <uint32_t>size if stored.type == UNREAD else 0
        return True
    # Where nothing may go for it, room is judged by the value.
    fit_payload(payload, size, made, value_room(record.address_size), &typed)
    if typed.size < 0:
        return False
    stored.data = made
    stored.size = <uint32_t>typed.size
    stored.type = typed.type
    return True


def finish_restore(Plane plane not None):
    """After the last block: order the params by their last write, and keep no more of them than the configuration
    allows now. Returns how many were dropped, oldest first; none where `state.eviction` says that nothing is."""
    cdef Table table = plane.table
    cdef uint32_t dropped = 0
    cdef uint32_t id
    cdef size_t count = 0
    cdef size_t i
    cdef Entry** found = <Entry**>malloc((table.params + 1) * sizeof(Entry*))
    if found == NULL:
        raise MemoryError
    for id in range(FIRST_ID, table.top):
        if table.entries[id] != NULL and table.entries[id].revision:
            found[count] = table.entries[id]
            count += 1
    # A rewriting of the store has lost the order; the writers' clock is the best there is.
    qsort(found, count, sizeof(Entry*), _by_time)
    for i in range(count):
        table.seq += 1
        found[i].seq = table.seq
        table.touch(found[i])
    free(found)
    while plane.evict and table.params > 1 and (
            (plane.max_params and table.params > plane.max_params) or plane._over(0)):
        plane._evict_oldest()
        dropped += 1
    return dropped


cdef int _by_time(const void* one, const void* other) noexcept nogil:
    cdef uint64_t first = (<Entry**>one)[0].written_us
    cdef uint64_t second = (<Entry**>other)[0].written_us
    if first != second:
        return -1 if first < second else 1
    # In the order in which they came: a restore goes through the blocks from the oldest on.
    first = (<Entry**>one)[0].seq
    second = (<Entry**>other)[0].seq
    return -1 if first < second else 1


cdef uint32_t _writer(Plane plane, bytes name, dict writers) except 0:
    """The place of a writer who is not there any more: it lasts as long as a param names it."""
    cdef uint32_t place
    found = writers.get(name)
    if found is not None and plane.writer_uses[<uint32_t>found] and plane.writer_texts[found] == name:
        return found
    if plane.free_writers:
        place = plane.free_writers.pop()
        plane.writer_texts[place] = name
    else:
        place = <uint32_t>len(plane.writer_texts)
        plane.writer_texts.append(name)
        if place >= plane.writer_room:
            plane._writer_room(plane.writer_room * 2)
    plane.writer_uses[place] = 0
    plane.writer_locks[place] = 0
    writers[name] = place
    return place


def refill_history(Plane plane not None, source):
    """Put the frames of a log block into the ring that `history` is served from."""
    cdef size_t at = sizeof(BlockHeader)
    cdef View view = View(source)
    cdef const uint8_t* block = view.data
    cdef size_t end = view.size
    cdef LogRecord record
    cdef size_t head, frame_size
    cdef const uint8_t* frame
    cdef Logged logged
    cdef Raw raw
    if plane.ring.size == 0:
        return
    while at + sizeof(LogRecord) <= end:
        memcpy(&record, &block[at], sizeof(LogRecord))
        head = sizeof(LogRecord) + (0 if record.writer_size == SAME_WRITER else record.writer_size)
        if record.size < head or record.size > end - at:
            return                  # whoever reads the log says so
        frame = &block[at] + head
        at += record.size
        if not is_logged(frame, record.size - head, record.signal, &frame_size):
            continue
        if not is_unread(frame + frame_size, record.size - head - frame_size):
            plane.ring.append(frame, frame_size, record.signal, 8, get16(frame + 6))
        elif not read_logged(frame, frame_size, &logged):
            continue
        elif logged.is_set:
            raw.payload = logged.payload
            raw.payload_size = logged.payload_size
            plane.ring.append_raw_set(logged.address, logged.address_size, &raw, logged.flags, logged.revision,
                                      logged.ttl)
        else:
            plane.ring.append_raw(logged.address, logged.address_size, logged.payload, logged.payload_size)
