"""The strategies max and min on encoded values: numbers of all types, compared exactly (wire.md 5.1)."""

from libc.math cimport trunc
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy

from clasp_edge.dataplane.bytes cimport get16, get32, get64
from clasp_edge.dataplane.table cimport STRATEGY_MAX, STRATEGY_MIN


cdef bint _number(int type_code, const uint8_t* p, double* value) noexcept nogil:
    """The value as a double, if it is a number."""
    cdef uint64_t bits
    cdef uint32_t half
    cdef float single
    if type_code == 0x07:
        bits = get64(p)
        memcpy(value, &bits, 8)
    elif type_code == 0x06:
        half = get32(p)
        memcpy(&single, &half, 4)
        value[0] = single
    elif type_code == 0x05:
        value[0] = <double><long long>get64(p)
    elif type_code == 0x04:
        value[0] = <double><int>get32(p)
    elif type_code == 0x03:
        value[0] = <double><short>get16(p)
    elif type_code == 0x02:
        value[0] = <double><signed char>p[0]
    else:
        return False
    return True


cdef bint _integer(int type_code, const uint8_t* p, long long* value) noexcept nogil:
    """The value of an integer, all of its bits."""
    if type_code == 0x05:
        value[0] = <long long>get64(p)
    elif type_code == 0x04:
        value[0] = <int>get32(p)
    elif type_code == 0x03:
        value[0] = <short>get16(p)
    elif type_code == 0x02:
        value[0] = <signed char>p[0]
    else:
        return False
    return True


cdef int _order(long long a, double b) noexcept nogil:
    """The sign of a - b, exactly; `b` is no NaN."""
    cdef double whole
    cdef long long c
    if b >= 9223372036854775808.0:
        return -1
    if b < -9223372036854775808.0:
        return 1
    whole = trunc(b)
    c = <long long>whole
    if a != c:
        return 1 if a > c else -1
    return 0 if b == whole else (-1 if b > whole else 1)


cdef int _compare(int one_type, const uint8_t* one, int other_type, const uint8_t* other) noexcept nogil:
    """The sign of one - other, exactly, whatever types of numbers they are; neither is NaN."""
    cdef double a = 0, b = 0
    cdef long long m = 0, n = 0
    cdef bint a_whole = _integer(one_type, one, &m)
    cdef bint b_whole = _integer(other_type, other, &n)
    if a_whole and b_whole:
        return (m > n) - (m < n)
    _number(one_type, one, &a)
    _number(other_type, other, &b)
    if a_whole:
        return _order(m, b)
    if b_whole:
        return -_order(n, a)
    return (a > b) - (a < b)


cdef bint improves(int strategy, int old_type, const uint8_t* old, int new_type, const uint8_t* new) noexcept nogil:
    """Whether max or min take the new value: strictly greater or smaller. Anything that is not two numbers, always;
    but NaN, which is neither greater nor smaller, never takes the place of a number, and any number takes its."""
    cdef double a, b
    cdef int order
    if strategy != STRATEGY_MAX and strategy != STRATEGY_MIN:
        return True
    if not (_number(old_type, old, &a) and _number(new_type, new, &b)):
        return True
    if a != a or b != b:
        return b == b
    order = _compare(new_type, new, old_type, old)
    return order > 0 if strategy == STRATEGY_MAX else order < 0
