"""Finds the records of a log block that a REPLAY asks for. Knows the block's layout, not where it came from."""

from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy

from clasp_edge.dataplane.blocks cimport CLOCK_SYNCHRONISED, SAME_WRITER, BlockHeader, LogRecord
from clasp_edge.dataplane.bytes cimport get16, put16
from clasp_edge.dataplane.logged_payload cimport Logged, is_unread, put_meant, read_logged
from clasp_edge.dataplane.messages cimport FRAME_HEAD, LAST_SIGNAL, is_logged
from clasp_edge.dataplane.view cimport View
from clasp_edge.dataplane.write_run cimport content_at
from clasp_edge.wire.pattern cimport Pattern

cdef extern from "<time.h>" nogil:
    struct timespec:
        long tv_sec
        long tv_nsec
    int clock_gettime(int clock, timespec* result)
    int CLOCK_MONOTONIC


cdef enum:
    WAY_FIXED = 9           # a zero before a way, a number behind it (blocks.pxd)
    ADDRESS_AT = 8          # in every SET and PUBLISH (wire.md 2.3)
    REMEMBERED = 131072     # bytes of addresses whose answers are kept during one replay,
    ANSWER_BYTES = 120      # with so much for each beside its text
    LONG_NS = 1000000       # of one part of a selection
    RECORDS_AT_ONCE = 64    # between two looks at the clock
    READ_AT_ONCE = 512      # bytes of a payload whose value is made: they count as a record
    FRAME_ROOM = 65600


cdef int64_t _now_ns() noexcept nogil:
    cdef timespec now
    clock_gettime(CLOCK_MONOTONIC, &now)
    return <int64_t>now.tv_sec * 1000000000 + now.tv_nsec


def is_logged_frame(bytes frame not None, int signal):
    """Whether a record of this signal can have this frame: a whole SET for params, else a PUBLISH of the signal."""
    cdef size_t size
    return is_logged(<const uint8_t*><char*>frame, len(frame), signal, &size) and size == <size_t>len(frame)


def select_records(source, Pattern pattern not None, scopes, dict known not None,
                   uint64_t first, uint64_t last, uint64_t from_us, uint64_t to_us, int mask, Py_ssize_t limit,
                   dict faults not None, list resume=None):
    """The frames of the records numbered `first` to `last`, made from `from_us` to `to_us`, of the signals in `mask`.

    At most `limit` of them. A SET comes without lock, unlock and ttl (router.md 8.4): replaying must not read as an
    order. `scopes` (None: everything) is asked about each address; `known` keeps the answers between calls.
    A record that cannot be used is passed over, and what comes behind it in the block where its size cannot be
    believed; `faults` gets why, by its number. Returns `(frames, number of the last one or 0)`.

    With `resume`, a list of two numbers that are 0 at the beginning, this returns after a millisecond and says in there
    where it goes on; the first is 0 again at the block's end.
    """
    cdef size_t at = sizeof(BlockHeader)
    cdef View view = View(source)
    cdef const uint8_t* block = view.data
    cdef size_t end = view.size
    cdef BlockHeader header
    cdef LogRecord record
    cdef size_t head, frame_size
    cdef const uint8_t* frame
    cdef uint64_t number
    cdef uint64_t matched = 0
    cdef list frames = []
    cdef int looked_at = 0
    cdef int64_t ends_ns = 0
    cdef Py_ssize_t kept = 0
    cdef Logged logged
    cdef uint8_t made[FRAME_ROOM]
    if end < sizeof(BlockHeader):
        return frames, 0
    memcpy(&header, &block[0], sizeof(BlockHeader))
    if not header.signals & mask or header.max_us < from_us or header.min_us > to_us:
        return frames, 0
    number = header.number - 1
    if resume is not None:
        ends_ns = _now_ns() + LONG_NS
        if resume[0]:
            at, number = resume
        resume[0] = 0
    while at + sizeof(LogRecord) <= end and limit > 0:
        # An address that was not looked at before takes as long as many that were.
        if looked_at >= RECORDS_AT_ONCE and resume is not None:
            looked_at = 0
            if _now_ns() >= ends_ns:
                resume[0], resume[1] = at, number
                break
        number += 1
        looked_at += 1
        memcpy(&record, &block[at], sizeof(LogRecord))
        head = sizeof(LogRecord) + (0 if record.writer_size == SAME_WRITER else record.writer_size)
        if record.size < head or record.size > end - at:
            faults[number] = f"a record of {record.size} bytes at {at}"
            break
        frame = &block[at] + head
        at += record.size
        if (number < first or record.signal > LAST_SIGNAL or not mask & (1 << record.signal)
                or not from_us <= record.wall_us <= to_us):
            continue
        if number > last:
            break
        # Behind the frame may be what an MQTT client published, as it was.
        if not is_logged(frame, record.size - head, record.signal, &frame_size):
            faults[number] = "no frame that a record of its signal has"
            continue
        address = PyBytes_FromStringAndSize(<const char*>frame + 8, get16(frame + 6))
        wanted = known.get(address)
        if wanted is None:
            wanted = pattern.matches(address) and (scopes is None or scopes.allows("read", address))
            kept = known.get(None, 0) + ANSWER_BYTES + len(address)
            if kept > REMEMBERED:
                known.clear()
                kept = ANSWER_BYTES + len(address)
            known[None] = kept
            known[address] = wanted
            looked_at += 16 + <int>(pattern.cost >> 2)
        if wanted:
            if is_unread(frame + frame_size, record.size - head - frame_size):
                frame_size = put_meant(made, &logged) if read_logged(frame, frame_size, &logged) else 0
                if frame_size == 0:
                    faults[number] = "no payload that a value can be made of"
                    continue
                frame = made
                looked_at += <int>(logged.payload_size // READ_AT_ONCE)
            frames.append(_plain(frame, frame_size))
            matched = number
            limit -= 1
    return frames, matched


def logged_in(source, uint64_t sequence, list found not None, Py_ssize_t size, Py_ssize_t limit_records,
              Py_ssize_t limit_bytes, dict faults not None, kind, message_of, dict known=None, wanted=None):
    """Append the records of a checked log block numbered above `sequence` to `found`, each as the tuple `kind`
    (`cursors.Logged`), as long as there are at most so many and of so many bytes; one is always given.

    `size`: the bytes of what is in `found` already. Returns `(size, whether that was all)`. `message_of(frame, bytes)`
    takes the frame together with what is behind it, `(frame as it was told, Own)`, or raises ValueError. `faults` gets,
    by its number, why a record was passed over; behind one whose sizes do not add up the block is given up. The same as
    `format.records`, in a tenth of the time.

    With `known`, what lies at an address that is false there is left out; `wanted(address)` is asked about others.
    """
    cdef size_t at = sizeof(BlockHeader)
    cdef View view = View(source)
    cdef const uint8_t* block = view.data
    cdef size_t end, head, frame_size, rest, whole
    cdef BlockHeader header
    cdef LogRecord record
    cdef const uint8_t* frame
    cdef const uint8_t* name
    cdef uint64_t number, way_number = 0
    cdef size_t name_size, name_end
    cdef bytes author = b""
    cdef bytes way = b""
    cdef bytes told
    cdef bint synchronised
    cdef object own
    cdef Py_ssize_t more
    memcpy(&header, block, sizeof(BlockHeader))
    end = header.size if header.size < view.size else view.size
    synchronised = header.flags & CLOCK_SYNCHRONISED
    number = header.number - 1
    while at < end:
        number += 1
        if at + sizeof(LogRecord) > end:
            faults[max(sequence + 1, number)] = f"a record without a header at {at}"
            break
        memcpy(&record, &block[at], sizeof(LogRecord))
        name_size = 0 if record.writer_size == SAME_WRITER else record.writer_size
        head = sizeof(LogRecord) + name_size
        if record.size < head or record.size > end - at:
            faults[max(sequence + 1, number)] = f"a record of {record.size} bytes at {at}"
            break
        if record.writer_size != SAME_WRITER:
            name = &block[at] + sizeof(LogRecord)
            name_end = 0
            while name_end < name_size and name[name_end]:
                name_end += 1
            author = PyBytes_FromStringAndSize(<const char*>name, name_end).decode("utf-8", "replace").encode()
            way = b""
            way_number = 0
            if name_end + WAY_FIXED <= name_size:
                way = PyBytes_FromStringAndSize(<const char*>name + name_end + 1, name_size - name_end - WAY_FIXED)
                memcpy(&way_number, name + name_size - 8, 8)
        elif way_number:
            way_number += 1
        frame = &block[at] + head
        rest = record.size - head
        at += record.size
        if number <= sequence:
            continue
        if known is not None and rest > ADDRESS_AT and <size_t>ADDRESS_AT + get16(frame + ADDRESS_AT - 2) <= rest:
            address = PyBytes_FromStringAndSize(<const char*>frame + ADDRESS_AT, get16(frame + ADDRESS_AT - 2))
            answer = known.get(address)
            if answer is None:
                answer = wanted(address)
            if not answer:
                continue
        own = None
        whole = rest
        if header.version >= 3 and rest > FRAME_HEAD and <size_t>FRAME_HEAD + get16(frame + 2) < rest:
            whole = FRAME_HEAD + get16(frame + 2)
        if not is_logged(frame, whole, record.signal, &frame_size) or frame_size != whole:
            faults[number] = "no frame that a record of its signal has"
            continue
        told = PyBytes_FromStringAndSize(<const char*>frame, whole)
        if whole < rest:
            try:
                told, own = message_of(told, PyBytes_FromStringAndSize(<const char*>frame + whole, rest - whole))
            except ValueError as error:
                faults[number] = str(error)
                continue
        more = len(told)
        if own is not None and own.payload is not None:
            more += len(own.payload)
        if found and (size + more > limit_bytes or len(found) >= limit_records):
            return size, True
        size += more
        found.append(tuple.__new__(kind, (
            number, header.run, record.wall_us, author,
            PyBytes_FromStringAndSize(<const char*>frame + 8, get16(frame + 6)), record.signal,
            told, way, way_number, synchronised, own)))
    return size, False


def ways_in(source):
    """Of the records of a log block that came from other routers: `(way, first number, contents)` for each run of
    consecutive numbers, `contents` as of `dataplane.write_run`. Those without a number are left out. Raises ValueError
    for a block whose sizes do not add up.
    """
    cdef size_t at = sizeof(BlockHeader)
    cdef View view = View(source)
    cdef const uint8_t* block = view.data
    cdef size_t end = view.size
    cdef LogRecord record
    cdef const uint8_t* name
    cdef size_t size, head
    cdef uint32_t content
    cdef uint64_t number = 0
    cdef bytes way = b""
    cdef bytearray contents = bytearray()
    cdef list found = []
    cdef const uint8_t* frame
    cdef Logged logged
    cdef uint8_t made[FRAME_ROOM]
    while at + sizeof(LogRecord) <= end:
        memcpy(&record, &block[at], sizeof(LogRecord))
        head = sizeof(LogRecord) + (0 if record.writer_size == SAME_WRITER else record.writer_size)
        if record.size < head or record.size > end - at:
            raise ValueError(f"a record of {record.size} bytes at {at}")
        if record.writer_size != SAME_WRITER:
            if number:
                found.append((way, number, bytes(contents)))
            number = 0
            contents = bytearray()
            name = &block[at] + sizeof(LogRecord)
            size = 0
            while size < record.writer_size and name[size]:
                size += 1
            if size + WAY_FIXED < record.writer_size:
                way = PyBytes_FromStringAndSize(<const char*>name + size + 1,
                                                record.writer_size - size - WAY_FIXED)
                memcpy(&number, name + record.writer_size - 8, 8)
        if number:
            # What has no frame that can be read has no content; the numbers go on behind it all the same.
            content = 0
            frame = &block[at] + head
            if is_logged(frame, record.size - head, record.signal, &size):
                if is_unread(frame + size, record.size - head - size):
                    # What the other router said, and will say again, has the value.
                    size = put_meant(made, &logged) if read_logged(frame, size, &logged) else 0
                    frame = made
                if size:
                    content = content_at(frame + FRAME_HEAD, size - FRAME_HEAD)
            contents += PyBytes_FromStringAndSize(<const char*>&content, 4)
        at += record.size
    if number:
        found.append((way, number, bytes(contents)))
    return found


cdef bytes _plain(const uint8_t* frame, size_t size):
    cdef uint8_t* p
    cdef bytes copy
    if frame[4] != 0x21 or not frame[5] & 0x70:
        return PyBytes_FromStringAndSize(<const char*>frame, size)
    if frame[5] & 0x10:
        size -= 4
    copy = PyBytes_FromStringAndSize(<const char*>frame, size)
    p = <uint8_t*><char*>copy       # a fresh object that nobody else has seen yet
    p[5] &= 0x8F
    put16(p + 2, <uint16_t>(size - 4))
    return copy
