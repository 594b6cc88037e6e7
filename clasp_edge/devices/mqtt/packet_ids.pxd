"""A set of packet identifiers: a bit for each, in 8 KiB that are there once one was in it.

Whoever has one forgets it in `__dealloc__`. Knows no packet.
"""

from libc.stdint cimport uint8_t, uint16_t, uint32_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcpy, memset

cdef enum:
    BITMAP_BYTES = 8192


cdef struct PacketIds:
    uint8_t* bits               # NULL: none so far
    uint32_t count


cdef inline bint has_id(const PacketIds* ids, uint16_t id) noexcept nogil:
    return ids.bits != NULL and ids.bits[id >> 3] & (1 << (id & 7)) != 0


cdef inline bint add_id(PacketIds* ids, uint16_t id) noexcept nogil:
    """False without memory."""
    if ids.bits == NULL:
        ids.bits = <uint8_t*>calloc(1, BITMAP_BYTES)
        if ids.bits == NULL:
            return False
    if not has_id(ids, id):
        ids.bits[id >> 3] |= <uint8_t>(1 << (id & 7))
        ids.count += 1
    return True


cdef inline bint drop_id(PacketIds* ids, uint16_t id) noexcept nogil:
    """Whether it was there."""
    if not has_id(ids, id):
        return False
    ids.bits[id >> 3] &= <uint8_t>~(1 << (id & 7))
    ids.count -= 1
    return True


cdef inline void forget_ids(PacketIds* ids) noexcept nogil:
    free(ids.bits)
    ids.bits = NULL
    ids.count = 0


cdef inline void copy_ids(PacketIds* ids, const PacketIds* others) noexcept nogil:
    """The same as are in the others; none without memory."""
    forget_ids(ids)
    if others.count:
        ids.bits = <uint8_t*>malloc(BITMAP_BYTES)
        if ids.bits != NULL:
            memcpy(ids.bits, others.bits, BITMAP_BYTES)
            ids.count = others.count


cdef inline bint fill_ids(PacketIds* ids) noexcept nogil:
    """All there are. False without memory."""
    if ids.bits == NULL:
        ids.bits = <uint8_t*>malloc(BITMAP_BYTES)
        if ids.bits == NULL:
            return False
    memset(ids.bits, 0xFF, BITMAP_BYTES)
    ids.bits[0] = 0xFE          # no packet has 0
    ids.count = 65535
    return True
