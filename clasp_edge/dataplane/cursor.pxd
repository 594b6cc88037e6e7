"""Reads of memory that somebody else has filled: none goes beyond its end, whatever a length in it says.

A `Cursor` is the one way to take such bytes apart: `take` and the `read...` functions move it only where all that they
ask for is there, so no size is ever computed by subtracting what was announced from what has come. Inline; with the
compiler's help they cost what the comparison by hand costs.
"""

from libc.stddef cimport size_t
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

from clasp_edge.dataplane.bytes cimport get16, get32, get64


cdef struct Cursor:
    const uint8_t* at           # the next byte; never NULL
    const uint8_t* end


cdef inline Cursor cursor_over(const uint8_t* data, size_t size) noexcept nogil:
    cdef Cursor cursor
    cursor.at = data
    cursor.end = data + size
    return cursor


cdef inline size_t left(const Cursor* cursor) noexcept nogil:
    return <size_t>(cursor.end - cursor.at)


cdef inline const uint8_t* take(Cursor* cursor, size_t size) noexcept nogil:
    """The next `size` bytes, or NULL, and nothing moved, where there are fewer."""
    cdef const uint8_t* begin = cursor.at
    if size > <size_t>(cursor.end - begin):
        return NULL
    cursor.at = begin + size
    return begin


cdef inline bint read8(Cursor* cursor, uint8_t* value) noexcept nogil:
    cdef const uint8_t* p = take(cursor, 1)
    if p == NULL:
        return False
    value[0] = p[0]
    return True


cdef inline bint read16(Cursor* cursor, uint16_t* value) noexcept nogil:
    cdef const uint8_t* p = take(cursor, 2)
    if p == NULL:
        return False
    value[0] = get16(p)
    return True


cdef inline bint read32(Cursor* cursor, uint32_t* value) noexcept nogil:
    cdef const uint8_t* p = take(cursor, 4)
    if p == NULL:
        return False
    value[0] = get32(p)
    return True


cdef inline bint read64(Cursor* cursor, uint64_t* value) noexcept nogil:
    cdef const uint8_t* p = take(cursor, 8)
    if p == NULL:
        return False
    value[0] = get64(p)
    return True


cdef inline const uint8_t* take_counted(Cursor* cursor, uint16_t* size) noexcept nogil:
    """What the next two bytes count, or NULL where less is there. The two bytes may be used up then."""
    if not read16(cursor, size):
        return NULL
    return take(cursor, size[0])
