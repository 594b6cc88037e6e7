"""Looking around in the params without reading them all: the branches below an address, and addresses with a text.

Each answer is bounded in what it looks at, and says where to go on. Walks the sorted index; a branch is skipped as a
whole, whatever is in it.
"""

from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memcmp, memcpy

from clasp_edge.dataplane.address_index cimport AddressIndex, AddressScan
from clasp_edge.dataplane.entry cimport Entry, entry_address
from clasp_edge.dataplane.state cimport State
from clasp_edge.wire.pattern cimport Pattern

cdef enum:
    SLASH = 0x2F
    LONGEST = 2048      # an address has at most 1,024 bytes, and so has what is asked for

cdef Pattern EVERYTHING = Pattern(b"/**")


cdef class _Walk:
    """Where one is in the index. Nothing may change while it is used."""

    cdef AddressIndex index
    cdef Entry** entries
    cdef AddressScan scan
    cdef uint64_t now_ms

    def __cinit__(self, State state not None):
        self.index = state.table.index
        self.entries = state.table.entries
        self.now_ms = state.core.mono_us // 1000
        self.scan = AddressScan(EVERYTHING)
        self.scan.block = 0
        self.scan.place = 0

    cdef void go(self, const uint8_t* address, size_t size, bint past) noexcept:
        """To the first address that is not before this one (`past`: not before the end of its subtree)."""
        self.scan._search(self.index, self.entries, address, size, past)

    cdef Entry* here(self) noexcept:
        """The param that is the next one, NULL at the end."""
        cdef Entry* entry
        while self.scan.block < self.index.used:
            if self.scan.place >= self.index.blocks[self.scan.block].count:
                self.scan.block += 1
                self.scan.place = 0
                continue
            entry = self.entries[self.index.blocks[self.scan.block].ids[self.scan.place]]
            if not entry.deadline_ms or entry.deadline_ms > self.now_ms:
                return entry
            self.scan.place += 1
        return NULL


def branches(State state not None, bytes parent not None, bytes after not None, int limit):
    """What there is one level below `parent` (b"" is the root), as `(segment, is a param, has something below)`, in
    order, after the segment `after` (b"": from the beginning); and the segment to go on after, b"" at the end.

    `limit` bounds the work: each branch costs a search or two, whatever is in it.
    """
    cdef _Walk walk = _Walk(state)
    cdef uint8_t target[LONGEST + 2]
    cdef size_t base = len(parent) + 1
    cdef size_t end, size
    cdef const uint8_t* text
    cdef Entry* entry
    cdef bint param, below
    segment = b""
    found = []
    if base + len(after) > LONGEST:
        return found, b""
    memcpy(target, <const uint8_t*><char*>parent, base - 1)
    target[base - 1] = SLASH
    if after:
        memcpy(target + base, <const uint8_t*><char*>after, len(after))
        walk.go(target, base + len(after), True)
    else:
        walk.go(target, base, False)
    while True:
        entry = walk.here()
        if entry == NULL or entry.address_size < base or memcmp(entry_address(entry), target, base) != 0:
            return found, b""
        if len(found) >= limit:
            return found, segment
        text = entry_address(entry)
        size = entry.address_size
        end = base
        while end < size and text[end] != SLASH:
            end += 1
        segment = PyBytes_FromStringAndSize(<const char*>text + base, end - base)
        param = end == size
        below = not param
        memcpy(target + base, text + base, end - base)
        if param:
            walk.scan.place += 1
            entry = walk.here()
            below = (entry != NULL and entry.address_size > end and entry_address(entry)[end] == SLASH
                     and memcmp(entry_address(entry), target, end) == 0)
        found.append((segment, param, below))
        if below:
            walk.go(target, end, True)


def addresses_with(State state not None, bytes text not None, bytes cursor not None, int limit, uint32_t looks):
    """Up to `limit` addresses in which `text` occurs (letters of ASCII in either case), from the address `cursor` on
    (b"": from the beginning), and the address to go on from, b"" at the end. Looks at `looks` addresses at most."""
    cdef _Walk walk = _Walk(state)
    cdef bytes wanted = text.lower()
    cdef const uint8_t* needle = <const uint8_t*><char*>wanted
    cdef size_t size = len(wanted)
    cdef Entry* entry
    found = []
    walk.go(<const uint8_t*><char*>cursor, len(cursor), False)
    while True:
        entry = walk.here()
        if entry == NULL:
            return found, b""
        if looks == 0 or len(found) >= limit:
            return found, PyBytes_FromStringAndSize(<const char*>entry_address(entry), entry.address_size)
        looks -= 1
        if _contains(entry_address(entry), entry.address_size, needle, size):
            found.append(PyBytes_FromStringAndSize(<const char*>entry_address(entry), entry.address_size))
        walk.scan.place += 1


def written_since(State state not None, uint64_t since_us, bytes cursor not None, int limit, uint32_t looks):
    """Up to `limit` params that were written after `since_us` (Unix microseconds), as `(when, address)`, in the order
    of their addresses, from `cursor` on (b"": from the beginning), and the address to go on from, b"" at the end. Looks
    at `looks` addresses at most."""
    cdef _Walk walk = _Walk(state)
    cdef Entry* entry
    found = []
    walk.go(<const uint8_t*><char*>cursor, len(cursor), False)
    while True:
        entry = walk.here()
        if entry == NULL:
            return found, b""
        if looks == 0 or len(found) >= limit:
            return found, PyBytes_FromStringAndSize(<const char*>entry_address(entry), entry.address_size)
        looks -= 1
        if entry.revision and entry.written_us > since_us:
            found.append((entry.written_us,
                          PyBytes_FromStringAndSize(<const char*>entry_address(entry), entry.address_size)))
        walk.scan.place += 1


def addresses_matching(State state not None, Pattern pattern not None, bytes cursor not None, int limit,
                       uint32_t looks):
    """Up to `limit` addresses of params that match, in order, from `cursor` on (b"": from the beginning), and the
    cursor to go on with, b"" at the end. Looks at `looks` addresses at most."""
    cdef AddressScan scan
    cdef Entry* entry
    found = []
    if pattern.literal:
        entry = state.live(<const uint8_t*><char*>pattern.text, len(pattern.text),
                           state.table.hash_of(<const uint8_t*><char*>pattern.text, len(pattern.text)))
        return ([pattern.text] if entry != NULL and entry.revision else found), b""
    scan = AddressScan(pattern, cursor)
    while len(found) < limit and looks and not scan.done:
        entry = scan.next(state.table.index, state.table.entries, state.core.mono_us // 1000, &looks)
        if entry != NULL:
            found.append(PyBytes_FromStringAndSize(<const char*>entry_address(entry), entry.address_size))
    scan.stay(state.table.index, state.table.entries)
    return found, b"" if scan.done else scan.cursor


cdef bint _contains(const uint8_t* text, size_t size, const uint8_t* needle, size_t needle_size) noexcept:
    cdef size_t at, i
    cdef uint8_t c
    if needle_size > size:
        return False
    for at in range(size - needle_size + 1):
        i = 0
        while i < needle_size:
            c = text[at + i]
            if c >= 65 and c <= 90:
                c += 32
            if c != needle[i]:
                break
            i += 1
        if i == needle_size:
            return True
    return False
