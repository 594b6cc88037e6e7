"""Measures and checks a value without building it (wire.md 2.2): the data plane relays the bytes as they came, so all
it needs is where the value ends and that every reader will be able to decode it.
"""

from libc.stdint cimport uint64_t
from libc.string cimport memcpy

from clasp_edge.dataplane.bytes cimport get16
from clasp_edge.dataplane.view cimport View


cdef bint utf8_valid(const uint8_t* p, size_t size) noexcept nogil:
    """Strict UTF-8 (no surrogates, no overlong forms, at most U+10FFFF), eight ASCII bytes at a time."""
    cdef const uint8_t* end = p + size
    cdef uint64_t word
    cdef uint8_t c, low, high
    cdef int more
    while p < end:
        while end - p >= 8:
            memcpy(&word, p, 8)
            if word & <uint64_t>0x8080808080808080:
                break
            p += 8
        if p >= end:
            return True
        c = p[0]
        p += 1
        if c < 0x80:
            continue
        low, high = 0x80, 0xBF
        if 0xC2 <= c <= 0xDF:
            more = 1
        elif 0xE0 <= c <= 0xEF:
            more = 2
            if c == 0xE0:
                low = 0xA0
            elif c == 0xED:
                high = 0x9F
        elif 0xF0 <= c <= 0xF4:
            more = 3
            if c == 0xF0:
                low = 0x90
            elif c == 0xF4:
                high = 0x8F
        else:
            return False
        if end - p < more or not low <= p[0] <= high:
            return False
        p += 1
        while more > 1:
            if p[0] & 0xC0 != 0x80:
                return False
            p += 1
            more -= 1
    return True


cdef Py_ssize_t value_size(int type_code, const uint8_t* p, size_t available, int depth) noexcept nogil:
    """Bytes that the data of a value of `type_code` takes at `p`, or a negative `Fault`."""
    cdef size_t size, used
    cdef Py_ssize_t part
    cdef unsigned count
    cdef bint is_map
    if type_code == 0x07 or type_code == 0x05:      # f64, i64: what nearly all traffic is
        return 8 if available >= 8 else TRUNCATED
    if type_code == 0x08 or type_code == 0x09:      # string, bytes
        if available < 2:
            return TRUNCATED
        size = 2 + <size_t>get16(p)
        if available < size:
            return TRUNCATED
        if type_code == 0x08 and not utf8_valid(p + 2, size - 2):
            return BAD_UTF8
        return <Py_ssize_t>size
    if type_code == 0x00:
        return 0
    if type_code == 0x01 or type_code == 0x02:
        size = 1
    elif type_code == 0x03:
        size = 2
    elif type_code == 0x04 or type_code == 0x06:
        size = 4
    elif type_code == 0x0A or type_code == 0x0B:
        if depth >= MAX_DEPTH:
            return TOO_DEEP
        if available < 2:
            return TRUNCATED
        count = get16(p)
        used = 2
        is_map = type_code == 0x0B
        while count:
            count -= 1
            if is_map:
                part = value_size(0x08, p + used, available - used, 0)
                if part < 0:
                    return part
                used += part
            if used >= available:
                return TRUNCATED
            part = value_size(p[used], p + used + 1, available - used - 1, depth + 1)
            if part < 0:
                return part
            used += 1 + part
        return <Py_ssize_t>used
    else:
        return UNKNOWN_TYPE
    return <Py_ssize_t>size if available >= size else TRUNCATED


def measure_value(int type_code, data) -> int:
    """The size in bytes of the value that starts `data`, or the negative fault code; for tests and cold paths."""
    cdef View view = View(data)
    return value_size(type_code, view.data, view.size, 0)
