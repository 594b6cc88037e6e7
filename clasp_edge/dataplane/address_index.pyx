"""The params in the order of their addresses, so that a reader looks at what its pattern can match and not at the rest.

Sorted blocks of ids, four to eight bytes a param: an insertion moves part of one block, a search is two binary ones. A
slash sorts before every other byte, so a subtree is one stretch. A scan skips whatever a literal segment of the pattern
rules out, and can be left and gone on with at any address, whatever has changed meanwhile.
"""

from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.stdlib cimport free, malloc, realloc
from libc.string cimport memcmp, memcpy, memmove

from clasp_edge.dataplane.entry cimport entry_address
from clasp_edge.wire.pattern cimport Pattern

cdef extern from *:
    """
    static inline size_t clasp_common(const unsigned char* a, const unsigned char* b, size_t size) {
        size_t i = 0;
        while (i + 8 <= size) {
            unsigned long long x, y;
            memcpy(&x, a + i, 8);
            memcpy(&y, b + i, 8);
            if (x != y) {
    #if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
                return i + (size_t)(__builtin_ctzll(x ^ y) >> 3);
    #else
                return i + (size_t)(__builtin_clzll(x ^ y) >> 3);
    #endif
            }
            i += 8;
        }
        while (i < size && a[i] == b[i])
            i++;
        return i;
    }
    """
    size_t clasp_common(const uint8_t* a, const uint8_t* b, size_t size) nogil

cdef enum:
    SLASH = 0x2F
    LONGEST_TARGET = 4096       # an address and a segment of a pattern: at most 1,024 bytes each
    STEPS_AHEAD = 4             # neighbours that are tried before a search
    TAIL_KEEPS = 230            # of a full block that grows at its end: in order is how most states are built


cdef int _order(const uint8_t* one, size_t one_size, const uint8_t* other, size_t other_size, bint past) noexcept nogil:
    """Negative when `one` comes first. `past`: `other` stands for the end of the subtree below it."""
    cdef size_t shorter = one_size if one_size < other_size else other_size
    cdef size_t i = clasp_common(one, other, shorter)
    if i == shorter:
        if past and one_size >= other_size and (one_size == other_size or one[i] == SLASH):
            return -1
        return -1 if one_size < other_size else 1 if one_size > other_size else 0
    if one[i] == SLASH:
        return -1
    if other[i] == SLASH:
        return 1
    return -1 if one[i] < other[i] else 1


cdef class AddressIndex:
    """Ids of params by address. Whoever owns the entries says when one becomes a param and when it goes."""

    def __dealloc__(self):
        cdef size_t i
        for i in range(self.used):
            free(self.blocks[i])
        free(self.blocks)

    cdef bint _fits(self, Entry** entries, size_t at, const uint8_t* address, size_t size) noexcept:
        """Whether block `at` is the one for this address."""
        cdef Entry* first
        if at >= self.used:
            return False
        if at:                          # only the first block may be empty: what it begins with is not looked at
            first = entries[self.blocks[at].ids[0]]
            if _order(address, size, entry_address(first), first.address_size, False) < 0:
                return False
        if at + 1 < self.used:
            first = entries[self.blocks[at + 1].ids[0]]
            if _order(address, size, entry_address(first), first.address_size, False) >= 0:
                return False
        return True

    cdef size_t _block_of(self, Entry** entries, const uint8_t* address, size_t size) noexcept:
        """The last block that begins at or before the address, else the first."""
        cdef size_t low = 0
        cdef size_t high = self.used
        cdef size_t middle
        cdef Entry* first
        if self._fits(entries, self.last, address, size):
            return self.last
        while high - low > 1:
            middle = (low + high) >> 1
            first = entries[self.blocks[middle].ids[0]]
            if _order(entry_address(first), first.address_size, address, size, False) <= 0:
                low = middle
            else:
                high = middle
        return low

    cdef int insert(self, Entry** entries, Entry* entry) except -1:
        """Take an entry in that is not there yet."""
        cdef Block* block
        cdef size_t at
        cdef uint32_t place
        if self.used == 0:
            self._split(0, 0)
        at = self._block_of(entries, entry_address(entry), entry.address_size)
        if self.blocks[at].count == BLOCK_IDS:
            place = _place_in(self.blocks[at], entries, entry_address(entry), entry.address_size, False)
            self._split(at, TAIL_KEEPS if place == BLOCK_IDS else BLOCK_IDS // 2)
            at = self._block_of(entries, entry_address(entry), entry.address_size)
        block = self.blocks[at]
        place = _place_in(block, entries, entry_address(entry), entry.address_size, False)
        memmove(&block.ids[place + 1], &block.ids[place], (block.count - place) * sizeof(uint32_t))
        block.ids[place] = entry.id
        block.count += 1
        self.last = at
        return 0

    cdef void _split(self, size_t at, size_t keep) except *:
        """Move all but the first `keep` ids of a block into a new one behind it; an index without blocks gets one."""
        cdef Block** grown
        cdef Block* block
        cdef Block* full
        if self.used == self.room:
            grown = <Block**>realloc(self.blocks, (self.room * 2 + 8) * sizeof(Block*))
            if grown == NULL:
                raise MemoryError
            self.blocks = grown
            self.room = self.room * 2 + 8
        block = <Block*>malloc(sizeof(Block))
        if block == NULL:
            raise MemoryError
        block.count = 0
        if self.used:
            full = self.blocks[at]
            block.count = full.count - <uint32_t>keep
            memcpy(&block.ids[0], &full.ids[keep], block.count * sizeof(uint32_t))
            full.count = <uint32_t>keep
            at += 1
            memmove(&self.blocks[at + 1], &self.blocks[at], (self.used - at) * sizeof(Block*))
        self.blocks[at] = block
        self.used += 1

    cdef void remove(self, Entry** entries, Entry* entry) noexcept:
        """Take an entry out; `entries` still has it."""
        cdef size_t at
        cdef Block* block
        cdef uint32_t place
        if self.used == 0:
            return
        at = self._block_of(entries, entry_address(entry), entry.address_size)
        block = self.blocks[at]
        place = _place_in(block, entries, entry_address(entry), entry.address_size, False)
        if place >= block.count or block.ids[place] != entry.id:
            return
        block.count -= 1
        memmove(&block.ids[place], &block.ids[place + 1], (block.count - place) * sizeof(uint32_t))
        self.last = at
        if block.count == 0:
            free(block)
            self.used -= 1
            memmove(&self.blocks[at], &self.blocks[at + 1], (self.used - at) * sizeof(Block*))
        elif at + 1 < self.used and block.count + self.blocks[at + 1].count <= BLOCK_IDS // 2:
            self._join(at)
        elif at and block.count + self.blocks[at - 1].count <= BLOCK_IDS // 2:
            self._join(at - 1)

    cdef void _join(self, size_t at) noexcept:
        """Put two neighbours that are nearly empty into one block."""
        cdef Block* block = self.blocks[at]
        cdef Block* behind = self.blocks[at + 1]
        memcpy(&block.ids[block.count], &behind.ids[0], behind.count * sizeof(uint32_t))
        block.count += behind.count
        free(behind)
        self.used -= 1
        memmove(&self.blocks[at + 1], &self.blocks[at + 2], (self.used - at - 1) * sizeof(Block*))


cdef uint32_t _place_in(Block* block, Entry** entries, const uint8_t* address, size_t size, bint past) noexcept:
    """How many of a block's entries come before the address (`past`: before the end of its subtree)."""
    cdef uint32_t low = 0
    cdef uint32_t high = block.count
    cdef uint32_t middle
    cdef Entry* entry
    while low < high:
        middle = (low + high) >> 1
        entry = entries[block.ids[middle]]
        if _order(entry_address(entry), entry.address_size, address, size, past) < 0:
            low = middle + 1
        else:
            high = middle
    return low


cdef class AddressScan:
    """The params that `pattern` (not a literal one) matches, in the order of their addresses, from `cursor` on.

    `stay` leaves it: what is written, added or removed until it goes on does not matter."""

    def __cinit__(self, Pattern pattern not None, bytes cursor=None):
        self.pattern = pattern
        self.cursor = cursor or pattern.prefix

    cdef Entry* next(self, AddressIndex index, Entry** entries, uint64_t now_ms, uint32_t* steps) noexcept:
        """The next match, or NULL: at the end (`done`), or after looking at `steps` addresses in vain."""
        cdef Block* block
        cdef Entry* entry
        if self.done:
            return NULL
        if not self.placed:
            self.placed = True
            self.block = 0
            self.place = 0
            self._search(index, entries, <const uint8_t*><char*>self.cursor, len(self.cursor), False)
        while steps[0]:
            if self.block >= index.used:
                self.done = True
                return NULL
            block = index.blocks[self.block]
            if self.place >= block.count:
                self.block += 1
                self.place = 0
                continue
            steps[0] -= 1
            self.begun = True
            entry = entries[block.ids[self.place]]
            try:
                if self.pattern.matches(PyBytes_FromStringAndSize(<const char*>entry_address(entry),
                                                                  entry.address_size)):
                    self.place += 1
                    if entry.deadline_ms and entry.deadline_ms <= now_ms:
                        continue
                    return entry
                self._skip(index, entries, entry_address(entry), entry.address_size)
            except MemoryError:
                self.place += 1
            if self.done:
                return NULL
        return NULL

    cdef void back(self) noexcept:
        """The last match has not been dealt with: it comes again."""
        self.place -= 1

    cdef void stay(self, AddressIndex index, Entry** entries) except *:
        """Note where to go on. Until `next` is called again, anything may change."""
        cdef Entry* entry
        self.begun = False
        if self.done or not self.placed:
            return
        while self.block < index.used and self.place >= index.blocks[self.block].count:
            self.block += 1
            self.place = 0
        self.placed = False
        if self.block >= index.used:
            self.done = True
            return
        entry = entries[index.blocks[self.block].ids[self.place]]
        self.cursor = PyBytes_FromStringAndSize(<const char*>entry_address(entry), entry.address_size)

    cdef void _search(self, AddressIndex index, Entry** entries, const uint8_t* address, size_t size,
                      bint past) noexcept:
        """Go to the first address from here on that is not before this one (`past`: not before the end of its
        subtree)."""
        cdef size_t low, high, middle
        cdef Entry* entry
        cdef int tries = STEPS_AHEAD
        while tries and self.block < index.used:
            if self.place >= index.blocks[self.block].count:
                self.block += 1
                self.place = 0
                continue
            entry = entries[index.blocks[self.block].ids[self.place]]
            if _order(entry_address(entry), entry.address_size, address, size, past) >= 0:
                return
            self.place += 1
            tries -= 1
        low = self.block
        high = index.used
        if low >= high:
            return
        # The last block that begins before it; `low` does, or nothing from here on does.
        while high - low > 1:
            middle = (low + high) >> 1
            entry = entries[index.blocks[middle].ids[0]]
            if _order(entry_address(entry), entry.address_size, address, size, past) < 0:
                low = middle
            else:
                high = middle
        if low != self.block:
            self.block = low
            self.place = 0
        middle = _place_in(index.blocks[low], entries, address, size, past)
        if middle > self.place:
            self.place = middle

    cdef void _skip(self, AddressIndex index, Entry** entries, const uint8_t* address, size_t size) except *:
        """Go on from an address that does not match to the next one that may."""
        cdef uint8_t target[LONGEST_TARGET]
        cdef tuple segments = self.pattern.segments
        cdef bytes segment
        cdef const uint8_t* text
        cdef size_t text_size, end, i
        cdef size_t at = 1
        cdef size_t wild = 0            # where the last wildcard's segment of the address ends, 0 = none so far
        cdef bint open
        cdef int order
        for segment in segments:
            text = <const uint8_t*><char*>segment
            text_size = len(segment)
            if text_size == 2 and text[0] == b"*" and text[1] == b"*":
                break
            if at > size:
                break                   # what is below it comes next
            end = at
            while end < size and address[end] != SLASH:
                end += 1
            # What stands before a wildcard must be there as well.
            i = 0
            open = False
            while i < text_size:
                if text[i] == b"*":
                    open = True
                    break
                i += 1
            if open:
                i = 0
                while text[i] not in (b"*", b"?", b"[", b"{", b"\\"):
                    i += 1
                text_size = i
                if end - at >= text_size and memcmp(address + at, text, text_size) == 0:
                    wild = end
                    at = end + 1
                    continue
                order = _order(address + at, end - at, text, text_size, False)
            else:
                order = _order(address + at, end - at, text, text_size, False)
                if order == 0:
                    at = end + 1
                    continue
            if order < 0 and at + text_size <= LONGEST_TARGET:
                memcpy(target, address, at)
                memcpy(target + at, text, text_size)
                self._search(index, entries, target, at + text_size, False)
            elif wild:
                memcpy(target, address, wild)
                self._search(index, entries, target, wild, True)
            else:
                self.done = True
            return
        else:
            if at <= size:
                # Deeper than the pattern goes.
                memcpy(target, address, at - 1)
                self._search(index, entries, target, at - 1, True)
                return
        self.place += 1
