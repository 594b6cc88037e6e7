"""Variable byte integers of MQTT (5.0, 1.5.5): seven bits a byte, the lowest first, four bytes at most. Inline."""

from libc.stddef cimport size_t
from libc.stdint cimport uint8_t, uint32_t

from clasp_edge.dataplane.cursor cimport Cursor, left


cdef inline int read_varint(const uint8_t* p, size_t available, uint32_t* value) noexcept nogil:
    """How many bytes the one at `p` takes; 0: not all there yet; -1: more than four."""
    cdef uint32_t result = 0
    cdef int i
    for i in range(4):
        if <size_t>i >= available:
            return 0
        result |= <uint32_t>(p[i] & 0x7F) << (7 * i)
        if not p[i] & 0x80:
            value[0] = result
            return i + 1
    return -1


cdef inline int take_varint(Cursor* cursor, uint32_t* value) noexcept nogil:
    """The same of a cursor, which moves where it is all there."""
    cdef int used = read_varint(cursor.at, left(cursor), value)
    if used > 0:
        cursor.at += used
    return used


cdef inline uint8_t* put_varint(uint8_t* p, size_t value) noexcept nogil:
    """Behind what has been put."""
    while value > 0x7F:
        p[0] = <uint8_t>(value & 0x7F | 0x80)
        p += 1
        value >>= 7
    p[0] = <uint8_t>value
    return p + 1


cdef inline size_t varint_size(size_t value) noexcept nogil:
    return 1 if value < 128 else 2 if value < 16384 else 3 if value < 2097152 else 4
