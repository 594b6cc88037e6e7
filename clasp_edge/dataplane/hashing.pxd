"""A keyed hash of bytes from outside. Inline, so that every module gets its own copy."""

from libc.stddef cimport size_t
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy

cdef extern from *:
    """
    #ifndef CLASP_FOLD
    #define CLASP_FOLD
    static inline unsigned long long clasp_fold(unsigned long long a, unsigned long long b) {
        unsigned __int128 product = (unsigned __int128)a * b;
        return (unsigned long long)product ^ (unsigned long long)(product >> 64);
    }
    #endif
    """
    uint64_t clasp_fold(uint64_t a, uint64_t b) nogil


cdef inline uint64_t keyed_hash(uint64_t seed, uint64_t key, const uint8_t* p, size_t size) noexcept nogil:
    """Multiply and fold, eight bytes at a time. The multiplier is secret too: with a known one, differences that
    cancel each other out could be written down without knowing the seed."""
    cdef uint64_t h = seed ^ (size * <uint64_t>0x9E3779B97F4A7C15)
    cdef uint64_t word = 0
    cdef const uint8_t* last
    if size >= 8:
        # The last word overlaps the one before it: with the size in the hash nothing is lost, and no length is copied
        # that the compiler does not know.
        last = p + (size - 8)
        while p < last:
            memcpy(&word, p, 8)
            h = clasp_fold(h ^ word, key)
            p += 8
        memcpy(&word, last, 8)
        h = clasp_fold(h ^ word, key)
    elif size:
        memcpy(&word, p, size)
        h = clasp_fold(h ^ word, key)
    return clasp_fold(h, key)
