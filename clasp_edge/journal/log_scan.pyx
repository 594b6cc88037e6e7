"""Finds the records of a log block that a REPLAY asks for. Knows the block's layout, not where it came from."""

from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy

from clasp_edge.dataplane.blocks cimport SAME_WRITER, BlockHeader, LogRecord
from clasp_edge.dataplane.bytes cimport get16, put16
from clasp_edge.wire.pattern cimport Pattern

from clasp_edge.dataplane.write_run import content_of

cdef enum:
    WAY_FIXED = 9           # a zero before a way, a number behind it (blocks.pxd)
    REMEMBERED = 10000      # addresses whose answer is kept during one replay


def select_records(const uint8_t[::1] block not None, Pattern pattern not None, scopes, dict known not None,
                   uint64_t first, uint64_t last, uint64_t from_us, uint64_t to_us, int mask, Py_ssize_t limit):
    """The frames of the records numbered `first` to `last`, made from `from_us` to `to_us`, of the signals in `mask`.

    At most `limit` of them. A SET comes without lock, unlock and ttl (router.md 8.4): replaying must not read as an
    order. `scopes` (None: everything) is asked about each address; `known` keeps the answers between calls.
    Returns `(frames, number of the last one or 0)`. Raises ValueError for a block whose sizes do not add up.
    """
    cdef size_t at = sizeof(BlockHeader)
    cdef size_t end = <size_t>block.shape[0]
    cdef BlockHeader header
    cdef LogRecord record
    cdef size_t head, frame_size
    cdef const uint8_t* frame
    cdef uint64_t number
    cdef uint64_t matched = 0
    cdef list frames = []
    if end < sizeof(BlockHeader):
        raise ValueError("shorter than a block's header")
    memcpy(&header, &block[0], sizeof(BlockHeader))
    if not header.signals & mask or header.max_us < from_us or header.min_us > to_us:
        return frames, 0
    number = header.number - 1
    while at + sizeof(LogRecord) <= end and limit > 0:
        number += 1
        memcpy(&record, &block[at], sizeof(LogRecord))
        head = sizeof(LogRecord) + (0 if record.writer_size == SAME_WRITER else record.writer_size)
        if record.size < head + 8 or record.size > end - at:
            raise ValueError(f"a record of {record.size} bytes at {at}")
        frame = &block[at] + head
        # Behind it may be what an MQTT client published, as it was.
        frame_size = 4 + <size_t>get16(frame + 2)
        if frame_size > record.size - head:
            raise ValueError(f"a frame of {frame_size} bytes at {at}")
        at += record.size
        if number < first or not mask & (1 << (record.signal & 7)) or not from_us <= record.wall_us <= to_us:
            continue
        if number > last:
            break
        if frame_size < 8 + <size_t>get16(frame + 6):
            raise ValueError(f"a frame of {frame_size} bytes at {at}")
        address = PyBytes_FromStringAndSize(<const char*>frame + 8, get16(frame + 6))
        wanted = known.get(address)
        if wanted is None:
            wanted = pattern.matches(address) and (scopes is None or scopes.allows("read", address))
            if len(known) >= REMEMBERED:
                known.clear()
            known[address] = wanted
        if wanted:
            frames.append(_plain(frame, frame_size))
            matched = number
            limit -= 1
    return frames, matched


def ways_in(const uint8_t[::1] block not None):
    """Of the records of a log block that came from other routers: `(way, first number, contents)` for each run of
    consecutive numbers, `contents` as of `dataplane.write_run`. Those without a number are left out. Raises ValueError
    for a block whose sizes do not add up.
    """
    cdef size_t at = sizeof(BlockHeader)
    cdef size_t end = <size_t>block.shape[0]
    cdef LogRecord record
    cdef const uint8_t* name
    cdef size_t size, head
    cdef uint32_t content
    cdef uint64_t number = 0
    cdef bytes way = b""
    cdef bytearray contents = bytearray()
    cdef list found = []
    while at + sizeof(LogRecord) <= end:
        memcpy(&record, &block[at], sizeof(LogRecord))
        head = sizeof(LogRecord) + (0 if record.writer_size == SAME_WRITER else record.writer_size)
        if record.size < head + 8 or record.size > end - at:
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
            size = 4 + <size_t>get16(&block[at] + head + 2)
            if size > record.size - head:
                raise ValueError(f"a frame of {size} bytes at {at}")
            content = content_of(block[at + head + 4:at + head + size])
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
