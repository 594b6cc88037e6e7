"""The one block of memory that all outgoing bytes live in, and byte queues made of its chunks.

The arena is reserved once at start-up; a queue borrows chunks while it holds bytes and gives them back as they are
sent. After a rush its memory goes back to the kernel. Nothing here knows what the bytes mean.
"""

from libc.stdlib cimport calloc, free
from libc.string cimport memcpy

cdef extern from "<sys/mman.h>" nogil:
    void* mmap(void* addr, size_t length, int prot, int flags, int fd, long offset)
    int munmap(void* addr, size_t length)
    int madvise(void* addr, size_t length, int advice)
    int MADV_DONTNEED
    int PROT_READ, PROT_WRITE, MAP_PRIVATE, MAP_ANONYMOUS, MAP_NORESERVE
    void* MAP_FAILED

cdef enum:
    DATA_BYTES = 4080
    RESERVED_PART = 8           # of the total
    PAGE_CHUNKS = 16            # in the largest pages that Linux has on these machines (64 KiB)


cdef class Arena:
    """`Arena(mib)`: `mib` MiB of chunks. Raises MemoryError when the kernel refuses the reservation."""

    def __cinit__(self, size_t mib):
        self.total = mib * 1024 * 1024 // CHUNK_BYTES
        if self.total == 0:
            raise ValueError("the arena needs at least 1 MiB")
        cdef void* block = mmap(NULL, self.total * CHUNK_BYTES, PROT_READ | PROT_WRITE,
                                MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0)
        if block == MAP_FAILED:
            raise MemoryError(f"cannot reserve {mib} MiB for the arena")
        self.base = <uint8_t*>block
        self.free = self.total
        self.fresh = self.total
        self.reserve = self.total // RESERVED_PART
        self.free_list = NULL

    def __dealloc__(self):
        if self.base != NULL:
            munmap(self.base, self.total * CHUNK_BYTES)

    cdef Chunk* take(self) noexcept:
        """A chunk, or NULL when all are lent out. The one returned last comes first: its pages are resident."""
        cdef Chunk* chunk = self.free_list
        if chunk != NULL:
            self.free_list = chunk.next
        elif self.fresh:
            chunk = <Chunk*>(self.base + (self.total - self.fresh) * CHUNK_BYTES)
            self.fresh -= 1
        else:
            return NULL
        self.free -= 1
        chunk.next = NULL
        chunk.begin = 0
        chunk.end = 0
        return chunk

    cdef void give(self, Chunk* chunk) noexcept:
        chunk.next = self.free_list
        self.free_list = chunk
        self.free += 1

    def give_memory_back(self):
        """Return to the kernel what lies behind the last chunk in use, and have those before it used first from now on.
        Returns the bytes."""
        cdef size_t used = self.total - self.fresh
        cdef size_t number
        cdef size_t top = 0
        cdef Chunk* chunk = self.free_list
        cdef uint8_t* is_free = <uint8_t*>calloc(used + 1, 1)
        if is_free == NULL:
            return 0
        while chunk != NULL:
            is_free[(<uint8_t*>chunk - self.base) // CHUNK_BYTES] = 1
            chunk = chunk.next
        for number in range(used):
            if not is_free[number]:
                top = number + 1
        # Pages may be larger than chunks.
        top = min(used, (top + PAGE_CHUNKS - 1) // PAGE_CHUNKS * PAGE_CHUNKS)
        self.free_list = NULL
        number = top
        while number:
            number -= 1
            if is_free[number]:
                chunk = <Chunk*>(self.base + number * CHUNK_BYTES)
                chunk.next = self.free_list
                self.free_list = chunk
        free(is_free)
        if used > top:
            madvise(self.base + top * CHUNK_BYTES, (used - top) * CHUNK_BYTES, MADV_DONTNEED)
            self.fresh = self.total - top
        return (used - top) * CHUNK_BYTES

    cdef bint append(self, Queue* queue, const uint8_t* data, size_t size) noexcept:
        """Add `size` bytes. False, and nothing changed, when the arena has not enough chunks."""
        cdef Chunk* tail = queue.tail
        cdef size_t room = DATA_BYTES - tail.end if tail != NULL else 0
        cdef size_t part
        if size > room and (size - room + DATA_BYTES - 1) // DATA_BYTES > self.free:
            return False
        queue.size += size
        while True:
            if room:
                part = size if size < room else room
                memcpy(&tail.data[tail.end], data, part)
                tail.end += <uint32_t>part
                data += part
                size -= part
            if size == 0:
                return True
            tail = self.take()
            if queue.tail == NULL:
                queue.head = tail
            else:
                queue.tail.next = tail
            queue.tail = tail
            room = DATA_BYTES

    cdef void consume(self, Queue* queue, size_t size) noexcept:
        """Drop the first `size` bytes (at most the queue's size) and return emptied chunks."""
        cdef Chunk* head
        cdef size_t part
        queue.size -= size
        while size:
            head = queue.head
            part = head.end - head.begin
            if size < part:
                head.begin += <uint32_t>size
                return
            size -= part
            queue.head = head.next
            if queue.head == NULL:
                queue.tail = NULL
            self.give(head)

    cdef void copy_out(self, Queue* queue, uint8_t* target, size_t size) noexcept:
        """Copy the first `size` bytes to `target` without consuming them."""
        cdef Chunk* chunk = queue.head
        cdef size_t part
        while size:
            part = chunk.end - chunk.begin
            if part > size:
                part = size
            memcpy(target, &chunk.data[chunk.begin], part)
            target += part
            size -= part
            chunk = chunk.next

    cdef void clear(self, Queue* queue) noexcept:
        self.consume(queue, queue.size)
        # A last chunk that is consumed but not full stays with its queue until here.
        if queue.head != NULL:
            self.give(queue.head)
            queue.head = queue.tail = NULL
