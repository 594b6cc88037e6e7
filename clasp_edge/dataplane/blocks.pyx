"""Blocks: what the journal stores. A header with numbers, times and a checksum, then records back to back.

A `BlockBuffer` is a preallocated piece of memory in which blocks are put together so that each can be stored as it
lies there. Knows nothing of files, params or threads.
"""

from cpython.buffer cimport PyBUF_WRITE
from cpython.memoryview cimport PyMemoryView_FromMemory
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, memset


cdef class Stream:
    """The numbering of one kind of blocks. `per_record`: every record has a number, else every block."""

    def __cinit__(self, bint per_record, uint64_t number, uint64_t base, uint64_t before, uint32_t run):
        self.per_record = per_record
        self.number = number
        self.base = base
        self.before = before
        self.run = run


cdef class BlockBuffer:
    """`BlockBuffer(magic, room, largest)`: room for records, and beyond it for one that is large, up to `largest`
    bytes. The memory is untouched, and so not resident, until it is used."""

    def __cinit__(self, bytes magic not None, size_t room, size_t largest=0):
        if len(magic) != 4:
            raise ValueError("a magic has 4 bytes")
        self.magic = magic
        self.room = room
        self.closed = []
        self.beyond = largest
        self.memory = <uint8_t*>calloc(1, room + largest)
        if self.memory == NULL:
            raise MemoryError

    def __dealloc__(self):
        free(self.memory)

    cdef uint8_t* add(self, size_t size, Stream stream, uint64_t wall_us, int signal) noexcept:
        """Room for one record of `size` bytes, counted in the open block or in a new one; NULL when there is none."""
        cdef BlockHeader* header
        cdef uint8_t* place
        if self.open and self.used - self.begin + size > BLOCK_BYTES:
            self.close(stream)
        if self.used + (0 if self.open else sizeof(BlockHeader)) + size > self.room and (
                size <= BLOCK_BYTES or self.used > self.room
                or self.used + sizeof(BlockHeader) + size > self.room + self.beyond):
            return NULL
        if not self.open:
            self.open_block(stream, wall_us)
        header = <BlockHeader*>(self.memory + self.begin)
        header.count += 1
        header.signals |= 1 << signal
        if wall_us < header.min_us:
            header.min_us = wall_us
        if wall_us > header.max_us:
            header.max_us = wall_us
        if stream.per_record:
            stream.number += 1
        place = self.memory + self.used
        self.used += size
        return place

    cdef bint open_block(self, Stream stream, uint64_t wall_us) noexcept:
        """Begin a block, which may stay without records; False when there is no room. None may be open."""
        cdef BlockHeader* header = <BlockHeader*>(self.memory + self.used)
        if self.used + sizeof(BlockHeader) > self.room + self.beyond:
            return False
        self.begin = self.used
        self.used += sizeof(BlockHeader)
        self.open = True
        memset(header, 0, sizeof(BlockHeader))
        memcpy(header.magic, <char*>self.magic, 4)
        header.version = BLOCK_VERSION
        header.flags = stream.flags
        header.run = stream.run
        header.number = stream.number
        header.base = stream.base
        header.before = stream.before
        header.min_us = wall_us
        header.max_us = wall_us
        return True

    cdef void close(self, Stream stream) noexcept:
        """Finish the open block, if there is one."""
        cdef BlockHeader* header
        if not self.open:
            return
        self.open = False
        header = <BlockHeader*>(self.memory + self.begin)
        header.size = <uint32_t>(self.used - self.begin)
        stream.before += header.size
        if not stream.per_record:
            stream.number += 1
        try:
            self.closed.append((self.begin, self.used - self.begin))
        except MemoryError:
            self.used = self.begin

    cdef void set_base(self, uint64_t base):
        """Have all finished blocks name this first block."""
        for begin, _ in self.closed:
            (<BlockHeader*>(self.memory + <size_t>begin)).base = base

    cdef void clear(self) noexcept:
        self.used = 0
        self.open = False
        self.closed = []

    def views(self):
        """The finished blocks as writable memoryviews; valid until the buffer is used again."""
        return [PyMemoryView_FromMemory(<char*>self.memory + <size_t>begin, <Py_ssize_t>size, PyBUF_WRITE)
                for begin, size in self.closed]
