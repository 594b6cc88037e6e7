from libc.stdint cimport uint8_t, uint32_t
from libc.stddef cimport size_t

cdef enum:
    # One chunk of the arena. Small enough that a thousand idle outboxes with a few bytes each fit the default arena,
    # large enough that a full outbox goes out in a few iovecs.
    CHUNK_BYTES = 4096


cdef struct Chunk:
    Chunk* next
    uint32_t begin      # first byte not yet consumed
    uint32_t end        # one past the last byte written
    uint8_t data[4080]  # CHUNK_BYTES less the 16 bytes above


cdef struct Queue:
    Chunk* head
    Chunk* tail
    size_t size         # bytes between begin and end of all chunks


cdef class Arena:
    cdef uint8_t* base
    cdef Chunk* free_list
    cdef size_t fresh           # chunks never used so far: untouched memory costs no RSS
    cdef readonly size_t total  # chunks
    cdef readonly size_t free   # chunks

    cdef readonly size_t reserve    # chunks that only those get who hold next to nothing

    cdef inline size_t free_bytes(self) noexcept:
        return self.free * 4080

    cdef inline size_t share(self) noexcept:
        """Bytes that are left but for the reserve: as much as anybody may hold (a dynamic threshold), and a chunk for
        everybody."""
        return (self.free - self.reserve) * 4080 if self.free > self.reserve + 2 else 2 * 4080

    cdef inline bint leaves(self, size_t held) noexcept:
        """Whether a queue that holds `held` bytes leaves as much to the others, and the reserve. One chunk is nobody's
        too much."""
        return held <= 4080 or (self.free > self.reserve and held <= (self.free - self.reserve) * 4080)

    cdef Chunk* take(self) noexcept
    cdef void give(self, Chunk* chunk) noexcept

    cdef bint append(self, Queue* queue, const uint8_t* data, size_t size) noexcept
    cdef void consume(self, Queue* queue, size_t size) noexcept
    cdef void copy_out(self, Queue* queue, uint8_t* target, size_t size) noexcept
    cdef void clear(self, Queue* queue) noexcept
