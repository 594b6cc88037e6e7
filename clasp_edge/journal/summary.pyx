"""Summaries: which addresses a block of the log may have, so that who asks for a few does not read all that is stored.

A summary is a Bloom filter (B. Bloom, 1970) over two keys for each segment of each address in the block: the segment by
itself, and with all that stands before it. It may say yes where there is nothing, never no where there is something.
Stored beside its block in its own few hundred bytes, and made where the block is stored. Knows the block's layout, not
where it came from.
"""

from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset

from clasp_edge.dataplane.blocks cimport SAME_WRITER, BlockHeader, LogRecord
from clasp_edge.dataplane.bytes cimport get16
from clasp_edge.dataplane.hashing cimport clasp_fold, keyed_hash
from clasp_edge.dataplane.view cimport View
from clasp_edge.wire.pattern cimport Pattern


cdef extern from *:
    """
    /* Part of what is stored: with others, summaries that are there would say no to everything. */
    #define SUMMARY_SEED 0x2545F4914F6CDD1DULL
    #define SUMMARY_KEY  0xD6E8FEB86659FD93ULL
    #define SUMMARY_STEP 0x9E3779B97F4A7C15ULL
    """
    const uint64_t SUMMARY_SEED, SUMMARY_KEY, SUMMARY_STEP

cdef enum:
    VERSION = 1
    ADDRESS_AT = 8          # in every SET and PUBLISH with its frame (wire.md 2.3)
    LARGEST_BYTES = 2048    # of a filter: for a block in which each record has an address of its own
    LEAST_BYTES = 16
    SEEN = 2048             # addresses of the same block whose keys are in already

cdef packed struct Head:
    uint32_t crc            # zlib's, of what follows
    uint16_t version
    uint16_t size           # of the filter, a power of two
    uint32_t signals
    uint64_t first          # records
    uint64_t last
    uint64_t min_us
    uint64_t max_us

HEAD_BYTES = sizeof(Head)
CRC_BYTES = 4


cdef inline void _put(uint8_t* filter, size_t bytes_, uint64_t key) noexcept nogil:
    cdef size_t one = key & (bytes_ * 8 - 1)
    cdef size_t other = (key >> 32) & (bytes_ * 8 - 1)
    filter[one >> 3] |= <uint8_t>(1 << (one & 7))
    filter[other >> 3] |= <uint8_t>(1 << (other & 7))


cdef inline bint _has(const uint8_t* filter, size_t bytes_, uint64_t key) noexcept nogil:
    cdef size_t one = key & (bytes_ * 8 - 1)
    cdef size_t other = (key >> 32) & (bytes_ * 8 - 1)
    return filter[one >> 3] & (1 << (one & 7)) and filter[other >> 3] & (1 << (other & 7))


cdef inline uint64_t _segment(const uint8_t* text, size_t size) noexcept nogil:
    return keyed_hash(SUMMARY_SEED, SUMMARY_KEY, text, size)


cdef inline uint64_t _below(uint64_t parent, uint64_t segment) noexcept nogil:
    return clasp_fold(parent ^ SUMMARY_STEP, segment ^ SUMMARY_KEY)


cdef void _put_address(uint8_t* filter, const uint8_t* address, size_t size) noexcept nogil:
    cdef size_t begin = 1
    cdef size_t end
    cdef uint64_t segment
    cdef uint64_t prefix = 0
    while begin <= size:
        end = begin
        while end < size and address[end] != 0x2F:
            end += 1
        segment = _segment(address + begin, end - begin)
        prefix = _below(prefix, segment)
        _put(filter, LARGEST_BYTES, segment)
        _put(filter, LARGEST_BYTES, prefix)
        begin = end + 1


cdef size_t _fold(uint8_t* filter) noexcept nogil:
    """Halve it as long as that leaves most of the bits 0. Returns its size."""
    cdef size_t size = LARGEST_BYTES
    cdef size_t half, i
    cdef uint64_t one, other
    cdef int ones
    while size > LEAST_BYTES:
        half = size >> 1
        ones = 0
        i = 0
        while i < half:
            memcpy(&one, filter + i, 8)
            memcpy(&other, filter + half + i, 8)
            ones += _ones(one | other)
            i += 8
        if ones > <int>half * 2:        # a quarter of the bits: one in sixteen questions gets a wrong yes
            break
        i = 0
        while i < half:
            filter[i] |= filter[half + i]
            i += 1
        size = half
    return size


cdef extern from *:
    int _ones "__builtin_popcountll"(uint64_t word) nogil


cdef bint _fill(const uint8_t* block, size_t end, uint8_t* filter) noexcept nogil:
    """False for a block whose sizes do not add up."""
    cdef uint64_t seen[SEEN]
    cdef size_t at = sizeof(BlockHeader)
    cdef LogRecord record
    cdef size_t head, address_size
    cdef const uint8_t* frame
    cdef uint64_t hash
    memset(seen, 0, sizeof(seen))
    while at < end:
        if end - at < sizeof(LogRecord):
            return False
        memcpy(&record, block + at, sizeof(LogRecord))
        head = sizeof(LogRecord) + (0 if record.writer_size == SAME_WRITER else record.writer_size)
        if record.size > end - at or record.size < head + ADDRESS_AT:
            return False
        frame = block + at + head
        address_size = get16(frame + ADDRESS_AT - 2)
        if address_size > record.size - head - ADDRESS_AT:
            return False
        at += record.size
        hash = keyed_hash(SUMMARY_SEED, SUMMARY_KEY, frame + ADDRESS_AT, address_size)
        if seen[hash & (SEEN - 1)] != hash:
            seen[hash & (SEEN - 1)] = hash
            _put_address(filter, frame + ADDRESS_AT, address_size)
    return True


def summary_of(source):
    """What is to be stored about a log block, but for its checksum in the first four bytes; None where the block's
    sizes do not add up: then it has to be read."""
    cdef View view = View(source)
    cdef uint8_t filter[LARGEST_BYTES]
    cdef BlockHeader header
    cdef Head head
    cdef bint sound
    if view.size < sizeof(BlockHeader):
        return None
    memcpy(&header, view.data, sizeof(BlockHeader))
    if header.size != view.size or header.count == 0:
        return None
    memset(filter, 0, sizeof(filter))
    with nogil:
        sound = _fill(view.data, view.size, filter)
        if sound:
            head.size = <uint16_t>_fold(filter)
    if not sound:
        return None
    head.crc = 0
    head.version = VERSION
    head.signals = header.signals
    head.first = header.number
    head.last = header.number + header.count - 1
    head.min_us = header.min_us
    head.max_us = header.max_us
    return bytearray(PyBytes_FromStringAndSize(<const char*>&head, sizeof(Head))
                     + PyBytes_FromStringAndSize(<const char*>filter, head.size))


cdef class Question:
    """What a reader looks for: `Question(pattern, from_us, to_us, mask)`."""

    cdef list _keys
    cdef uint64_t _from_us
    cdef uint64_t _to_us
    cdef uint32_t _mask

    def __cinit__(self, Pattern pattern not None, uint64_t from_us, uint64_t to_us, uint32_t mask):
        cdef uint64_t prefix = 0
        cdef uint64_t segment
        cdef bint leading = True
        self._from_us = from_us
        self._to_us = to_us
        self._mask = mask
        self._keys = []
        for text in pattern.segments:
            # Of a segment with a wildcard nothing is known; each of the others is a segment of every address that
            # matches, whatever else the pattern asks of it (`Pattern._match_segments`).
            if b"*" in text:
                leading = False
                continue
            segment = _segment(<const uint8_t*><char*>text, len(text))
            self._keys.append(segment)
            if leading:
                prefix = _below(prefix, segment)
                self._keys.append(prefix)

    def rules_out(self, source, uint64_t number):
        """The number of the last record of a block that, by its summary, has nothing of what is looked for; 0 where it
        may have something, and where these bytes are no summary of records from `number` on. (Their checksum is for
        the caller to look at.)"""
        cdef View view = View(source)
        cdef Head head
        cdef uint64_t key
        if view.size < sizeof(Head):
            return 0
        memcpy(&head, view.data, sizeof(Head))
        if (head.version != VERSION or sizeof(Head) + head.size != view.size or head.size < LEAST_BYTES
                or head.size & (head.size - 1) or head.first != number or head.last < number):
            return 0
        if not head.signals & self._mask or head.max_us < self._from_us or head.min_us > self._to_us:
            return head.last
        for key in self._keys:
            if not _has(view.data + sizeof(Head), head.size, key):
                return head.last
        return 0
