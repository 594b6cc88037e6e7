from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stddef cimport size_t

from clasp_edge.dataplane.entry cimport Entry
from clasp_edge.wire.pattern cimport Pattern

cdef enum:
    BLOCK_IDS = 250         # ids in one block: 1 KiB


cdef struct Block:
    uint32_t count
    uint32_t ids[BLOCK_IDS]


cdef class AddressIndex:
    cdef Block** blocks
    cdef size_t used
    cdef size_t room
    cdef size_t last        # block of the last insertion: the next one is often beside it

    cdef int insert(self, Entry** entries, Entry* entry) except -1
    cdef void remove(self, Entry** entries, Entry* entry) noexcept
    cdef size_t _block_of(self, Entry** entries, const uint8_t* address, size_t size) noexcept
    cdef bint _fits(self, Entry** entries, size_t at, const uint8_t* address, size_t size) noexcept
    cdef void _split(self, size_t at, size_t keep) except *
    cdef void _join(self, size_t at) noexcept


cdef class AddressScan:
    cdef Pattern pattern
    cdef readonly bytes cursor  # the first address that is still to be looked at
    cdef readonly bint done
    cdef bint begun         # something has been looked at since `stay`
    cdef bint placed        # `block` and `place` tell where it is; between two slices only `cursor` does
    cdef size_t block
    cdef size_t place

    cdef Entry* next(self, AddressIndex index, Entry** entries, uint64_t now_ms, uint32_t* steps) noexcept
    cdef void back(self) noexcept
    cdef void stay(self, AddressIndex index, Entry** entries) except *
    cdef void _search(self, AddressIndex index, Entry** entries, const uint8_t* address, size_t size,
                      bint past) noexcept
    cdef void _skip(self, AddressIndex index, Entry** entries, const uint8_t* address, size_t size) except *
