"""OSC messages of values as the router has them, where nothing but their numbers' precision is to be decided: without a
Python object for a value. What it makes is what `encode.Encoder` would.
"""

from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.math cimport floor, isfinite
from libc.stddef cimport size_t
from libc.stdint cimport int8_t, int16_t, int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memchr, memcpy, memset

from clasp_edge.dataplane.bytes cimport get16, put32, put64
from clasp_edge.dataplane.cursor cimport Cursor, cursor_over, read8, read16, read32, read64, take
from clasp_edge.dataplane.scan cimport MAX_DEPTH
from clasp_edge.dataplane.value_types cimport (
    T_ARRAY,
    T_BOOL,
    T_BYTES,
    T_F32,
    T_F64,
    T_I8,
    T_I16,
    T_I32,
    T_I64,
    T_NULL,
    T_STRING,
)

cdef enum:
    SINGLE_ = 0
    EXACT_ = 1
    DOUBLE_ = 2
    EXACT_IN_SINGLE = 16777216      # encode.py

SINGLE = SINGLE_
"""Floats go out as f,"""

EXACT = EXACT_
"""as f where no digit is lost and else as d,"""

DOUBLE = DOUBLE_
"""or as d, always."""


cdef struct Out:
    uint8_t* tags               # one for each argument: no more than the value has bytes, and one
    size_t tag_count
    uint8_t* data               # four times the bytes of the value (an i8 in a row that goes out as d), and more
    size_t size
    bint has_floats
    bint has_fractions          # among the values that are not within another one


def plain_message(bytes address not None, int value_type, bytes data not None, int floats, bytes known):
    """The message that tells an encoded value at an OSC address, arrays as one row of arguments; None where a map is in
    it, or it cannot be read. `known`: what types there were at the address before, as a type tag string; where a float
    was, a whole number is one as well.

    Returns `(message, its type tags if there are floats among them or None, how many values it tells, whether one of
    these is a fraction)`."""
    cdef Cursor cursor = cursor_over(<const uint8_t*><char*>data, len(data))
    cdef Out out
    cdef size_t address_size = len(address)
    cdef size_t address_room = padded_size(address_size)
    cdef size_t tags_room
    cdef unsigned count = 1
    cdef const uint8_t* before = NULL
    cdef bytes result = None
    cdef bytes tags = None
    cdef uint8_t* p
    if value_type == T_ARRAY and len(data) >= 2:
        count = get16(<const uint8_t*><char*>data)
    if known is not None and <size_t>len(known) == <size_t>count + 1:
        before = <const uint8_t*><char*>known + 1
    out.tag_count = out.size = 0
    out.has_floats = out.has_fractions = False
    out.tags = <uint8_t*>malloc(5 * len(data) + 48)
    if out.tags == NULL:
        raise MemoryError
    out.data = out.tags + len(data) + 8
    try:
        if add(&out, value_type, &cursor, floats, 0, before):
            tags_room = padded_size(1 + out.tag_count)
            result = PyBytes_FromStringAndSize(NULL, <Py_ssize_t>(address_room + tags_room + out.size))
            p = <uint8_t*><char*>result
            memset(p + address_room - 4, 0, 4)
            memcpy(p, <char*>address, address_size)
            p += address_room
            memset(p + tags_room - 4, 0, 4)
            p[0] = c","
            memcpy(p + 1, out.tags, out.tag_count)
            memcpy(p + tags_room, out.data, out.size)
            if out.has_floats:
                tags = PyBytes_FromStringAndSize(<const char*>p, <Py_ssize_t>(1 + out.tag_count))
    finally:
        free(out.tags)
    return None if result is None else (result, tags, count, bool(out.has_fractions))


cdef inline size_t padded_size(size_t size) noexcept nogil:
    """Of an OSC string: one to four NULs behind it, to a multiple of four bytes."""
    return (size // 4 + 1) * 4


cdef bint add(Out* out, int value_type, Cursor* cursor, int floats, int depth, const uint8_t* before) noexcept nogil:
    """One value more; False where it cannot be. `before`: the types that there were, of as many values, or NULL."""
    cdef uint8_t small
    cdef uint16_t medium
    cdef uint32_t word
    cdef uint64_t wide
    cdef float single
    cdef double number
    cdef const uint8_t* text
    if value_type == T_F64:
        if not read64(cursor, &wide):
            return False
        memcpy(&number, &wide, 8)
        add_float(out, number, floats, depth)
    elif value_type == T_I64:
        if not read64(cursor, &wide):
            return False
        add_int(out, <int64_t>wide, floats, depth, before)
    elif value_type == T_BOOL:
        if not read8(cursor, &small):
            return False
        tag(out, c"T" if small else c"F")
    elif value_type == T_NULL:
        tag(out, c"N")
    elif value_type == T_I8:
        if not read8(cursor, &small):
            return False
        add_int(out, <int8_t>small, floats, depth, before)
    elif value_type == T_I16:
        if not read16(cursor, &medium):
            return False
        add_int(out, <int16_t>medium, floats, depth, before)
    elif value_type == T_I32:
        if not read32(cursor, &word):
            return False
        add_int(out, <int32_t>word, floats, depth, before)
    elif value_type == T_F32:
        if not read32(cursor, &word):
            return False
        memcpy(&single, &word, 4)
        add_float(out, single, floats, depth)
    elif value_type == T_STRING or value_type == T_BYTES:
        if not read16(cursor, &medium):
            return False
        text = take(cursor, medium)
        if text == NULL:
            return False
        # No OSC string can hold a NUL; as a blob nothing is lost.
        if value_type == T_STRING and memchr(text, 0, medium) == NULL:
            tag(out, c"s")
            add_bytes(out, text, medium, padded_size(medium))
        else:
            tag(out, c"b")
            put32(out.data + out.size, medium)
            out.size += 4
            add_bytes(out, text, medium, (<size_t>medium + 3) // 4 * 4)
    elif value_type == T_ARRAY:
        if depth >= MAX_DEPTH or not read16(cursor, &medium):
            return False
        while medium:
            medium -= 1
            if not read8(cursor, &small) or not add(out, small, cursor, floats, depth + 1, before):
                return False
            if depth == 0 and before != NULL:
                before += 1
    else:
        return False
    return True


cdef inline void tag(Out* out, uint8_t one) noexcept nogil:
    out.tags[out.tag_count] = one
    out.tag_count += 1


cdef inline void add_bytes(Out* out, const uint8_t* text, size_t size, size_t room) noexcept nogil:
    """`room` is a multiple of four bytes, with at most four more than `size`."""
    if room:
        memset(out.data + out.size + room - 4, 0, 4)
    memcpy(out.data + out.size, text, size)
    out.size += room


cdef inline void add_int(Out* out, int64_t value, int floats, int depth, const uint8_t* before) noexcept nogil:
    if (before != NULL and depth <= 1 and (before[0] == c"f" or before[0] == c"d")
            and -EXACT_IN_SINGLE <= value <= EXACT_IN_SINGLE):
        add_float(out, <double>value, floats, depth)
    elif -2147483648 <= value <= 2147483647:
        tag(out, c"i")
        put32(out.data + out.size, <uint32_t><int32_t>value)
        out.size += 4
    else:
        tag(out, c"h")
        put64(out.data + out.size, <uint64_t>value)
        out.size += 8


cdef inline void add_float(Out* out, double value, int floats, int depth) noexcept nogil:
    cdef float single
    cdef uint32_t word
    cdef uint64_t wide
    out.has_floats = True
    if depth <= 1 and isfinite(value) and value != floor(value):
        out.has_fractions = True
    if floats != DOUBLE_:
        single = <float>value
        if floats == SINGLE_ or <double>single == value or value != value:
            memcpy(&word, &single, 4)
            tag(out, c"f")
            put32(out.data + out.size, word)
            out.size += 4
            return
    memcpy(&wide, &value, 8)
    tag(out, c"d")
    put64(out.data + out.size, wide)
    out.size += 8
