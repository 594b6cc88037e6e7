"""How near two values are that are numbers, or arrays of numbers: what `epsilon` of a subscription asks (router.md 13).

Works on encoded values. An array of thousands of numbers in each message is compared within microseconds.
"""

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy

from cpython.bytes cimport PyBytes_FromStringAndSize

from clasp_edge.dataplane.bytes cimport get16, get32, get64
from clasp_edge.dataplane.cursor cimport Cursor, cursor_over, left, read16, take
from clasp_edge.dataplane.messages cimport PUBLISH, SET, Published, Write, framed_payload, read_publish, read_set
from clasp_edge.dataplane.scan cimport value_size
from clasp_edge.dataplane.value_types cimport T_ARRAY


cdef bint _read_number(int type_code, const uint8_t* p, double* value, int64_t* whole, bint* is_whole) noexcept nogil:
    """A number whose bytes are known to be there."""
    cdef uint64_t bits
    cdef uint32_t half
    cdef float single
    is_whole[0] = True
    if type_code == 0x02:
        whole[0] = <signed char>p[0]
    elif type_code == 0x03:
        whole[0] = <short>get16(p)
    elif type_code == 0x04:
        whole[0] = <int>get32(p)
    elif type_code == 0x05:
        whole[0] = <int64_t>get64(p)
    elif type_code == 0x06:
        half = get32(p)
        memcpy(&single, &half, 4)
        value[0] = single
        is_whole[0] = False
    elif type_code == 0x07:
        bits = get64(p)
        memcpy(value, &bits, 8)
        is_whole[0] = False
    else:
        return False
    if is_whole[0]:
        value[0] = <double>whole[0]
    return True


cdef bint _is_numeric(int type_code, Cursor* cursor) noexcept nogil:
    """Whether a number or an array of numbers, of any depth, stands here; goes past it."""
    cdef uint16_t count = 0
    cdef const uint8_t* head
    cdef Py_ssize_t used
    if type_code == T_ARRAY:
        if not read16(cursor, &count):
            return False
        while count:
            count -= 1
            head = take(cursor, 1)
            if head == NULL or not _is_numeric(head[0], cursor):
                return False
        return True
    if not 0x02 <= type_code <= 0x07:
        return False
    used = value_size(type_code, cursor.at, left(cursor), 0)
    return used >= 0 and take(cursor, <size_t>used) != NULL


cdef bint _near(int one_type, Cursor* one, int other_type, Cursor* other, double epsilon) noexcept nogil:
    cdef uint16_t count = 0
    cdef uint16_t others = 0
    cdef const uint8_t* one_head
    cdef const uint8_t* other_head
    cdef double a = 0, b = 0
    cdef int64_t m = 0, n = 0
    cdef bint m_whole = False, n_whole = False
    cdef Py_ssize_t used
    if one_type == T_ARRAY or other_type == T_ARRAY:
        if one_type != other_type or not read16(one, &count) or not read16(other, &others) or count != others:
            return False
        while count:
            count -= 1
            one_head = take(one, 1)
            other_head = take(other, 1)
            if one_head == NULL or other_head == NULL or not _near(one_head[0], one, other_head[0], other, epsilon):
                return False
        return True
    used = value_size(one_type, one.at, left(one), 0)
    if used < 0 or not _read_number(one_type, one.at, &a, &m, &m_whole) or take(one, <size_t>used) == NULL:
        return False
    used = value_size(other_type, other.at, left(other), 0)
    if used < 0 or not _read_number(other_type, other.at, &b, &n, &n_whole) or take(other, <size_t>used) == NULL:
        return False
    if m_whole and n_whole:
        # Exactly, however large they are.
        return <double>(<uint64_t>m - <uint64_t>n if m > n else <uint64_t>n - <uint64_t>m) < epsilon
    return -epsilon < a - b < epsilon


def numbers_of(bytes frame not None):
    """The value of a SET or PUBLISH frame with its type in front, if it is a number or an array of them; else None."""
    cdef Write write
    cdef Published message
    cdef size_t size = 0
    cdef const uint8_t* payload = framed_payload(<const uint8_t*><char*>frame, len(frame), &size)
    cdef const uint8_t* value
    cdef size_t value_bytes
    cdef int type_code
    cdef Cursor cursor
    if payload == NULL:
        return None
    if payload[0] == SET:
        if read_set(payload, size, &write):
            return None
        value, value_bytes, type_code = write.value, write.value_size, write.flags & 0x0F
    elif payload[0] == PUBLISH:
        if read_publish(payload, size, &message) or message.value == NULL:
            return None
        value, value_bytes, type_code = message.value, message.value_size, message.value_type
    else:
        return None
    cursor = cursor_over(value, value_bytes)
    if not _is_numeric(type_code, &cursor):
        return None
    return bytes((type_code,)) + PyBytes_FromStringAndSize(<const char*>value, value_bytes)


def near(bytes one not None, bytes other not None, double epsilon):
    """Whether two values of `numbers_of` are numbers, or equally long arrays of them, less than `epsilon` apart."""
    cdef Cursor first = cursor_over(<const uint8_t*><char*>one, len(one))
    cdef Cursor second = cursor_over(<const uint8_t*><char*>other, len(other))
    cdef const uint8_t* first_type = take(&first, 1)
    cdef const uint8_t* second_type = take(&second, 1)
    if first_type == NULL or second_type == NULL:
        return False
    return _near(first_type[0], &first, second_type[0], &second, epsilon)
