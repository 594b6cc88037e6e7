# The same text as in reserved.py, of a size that the compiler knows: the gate looks at it for each message.

from libc.stddef cimport size_t
from libc.stdint cimport uint8_t
from libc.string cimport memcmp

cdef enum:
    RESERVED_BYTES = 12


cdef inline bint is_reserved(const uint8_t* address, size_t size) noexcept nogil:
    """Whether an address is one of the router's own (reserved.py)."""
    return size >= RESERVED_BYTES and memcmp(address, <const char*>b"/clasp-edge/", RESERVED_BYTES) == 0
