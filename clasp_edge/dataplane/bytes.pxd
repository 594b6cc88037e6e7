"""Big-endian reads and writes on raw memory (wire.md 0). Inline, so that every module gets its own copy."""

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy

cdef extern from "<endian.h>" nogil:
    uint16_t be16toh(uint16_t)
    uint32_t be32toh(uint32_t)
    uint64_t be64toh(uint64_t)
    uint16_t htobe16(uint16_t)
    uint32_t htobe32(uint32_t)
    uint64_t htobe64(uint64_t)


cdef inline uint16_t get16(const uint8_t* p) noexcept nogil:
    cdef uint16_t v
    memcpy(&v, p, 2)
    return be16toh(v)


cdef inline uint32_t get32(const uint8_t* p) noexcept nogil:
    cdef uint32_t v
    memcpy(&v, p, 4)
    return be32toh(v)


cdef inline uint64_t get64(const uint8_t* p) noexcept nogil:
    cdef uint64_t v
    memcpy(&v, p, 8)
    return be64toh(v)


cdef inline void put16(uint8_t* p, uint16_t value) noexcept nogil:
    cdef uint16_t v = htobe16(value)
    memcpy(p, &v, 2)


cdef inline void put32(uint8_t* p, uint32_t value) noexcept nogil:
    cdef uint32_t v = htobe32(value)
    memcpy(p, &v, 4)


cdef inline void put64(uint8_t* p, uint64_t value) noexcept nogil:
    cdef uint64_t v = htobe64(value)
    memcpy(p, &v, 8)
