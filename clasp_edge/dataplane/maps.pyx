"""Maps laid over one another (strategy `merge`), as the bytes that they are: nothing in them is decoded."""

import os

from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.stddef cimport size_t
from libc.stdint cimport int32_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcmp, memcpy

from clasp_edge.dataplane.bytes cimport get16, put16
from clasp_edge.dataplane.cursor cimport Cursor, cursor_over, left, read16, take
from clasp_edge.dataplane.hashing cimport keyed_hash
from clasp_edge.dataplane.scan cimport value_size

cdef enum:
    MAX_ENTRIES = 65535
    LEAST_ENTRY = 3             # bytes: an empty key's length, and a value's type

cdef uint64_t _seed = int.from_bytes(os.urandom(8), "big")
cdef uint64_t _factor = int.from_bytes(os.urandom(8), "big") | 1


cdef struct Entry:
    const uint8_t* key          # with its length
    const uint8_t* value        # with its type
    uint32_t key_size
    uint32_t value_size
    uint32_t hash
    int32_t next                # of those with the same place, -1: none


cdef class _Entries:
    """What the result has, in its order, each key once."""

    cdef Entry* entries
    cdef int32_t* places
    cdef uint32_t mask
    cdef Py_ssize_t count
    cdef Py_ssize_t room

    def __cinit__(self, Py_ssize_t room):
        cdef uint32_t size = 16
        while size < <uint32_t>room:
            size *= 2
        self.room = room
        self.mask = size - 1
        self.entries = <Entry*>calloc(<size_t>room + 1, sizeof(Entry))
        self.places = <int32_t*>calloc(size, sizeof(int32_t))   # one more than the entry's index
        if self.entries == NULL or self.places == NULL:
            raise MemoryError

    def __dealloc__(self):
        free(self.entries)
        free(self.places)

    cdef int add(self, const uint8_t* key, uint32_t key_size, const uint8_t* value, uint32_t value_bytes) except -1:
        cdef uint32_t hash = <uint32_t>keyed_hash(_seed, _factor, key, key_size)
        cdef int32_t* place = &self.places[hash & self.mask]
        cdef int32_t at = place[0] - 1
        cdef Entry* entry
        while at >= 0:
            entry = &self.entries[at]
            if entry.hash == hash and entry.key_size == key_size and memcmp(entry.key, key, key_size) == 0:
                entry.value = value
                entry.value_size = value_bytes
                return 0
            at = entry.next
        if self.count >= self.room:
            raise ValueError("not a map")
        entry = &self.entries[self.count]
        entry.key = key
        entry.key_size = key_size
        entry.value = value
        entry.value_size = value_bytes
        entry.hash = hash
        entry.next = place[0] - 1
        self.count += 1
        place[0] = <int32_t>self.count
        return 0

    cdef bytes joined(self):
        cdef Py_ssize_t size = 2
        cdef Py_ssize_t i
        cdef bytes result
        cdef uint8_t* p
        for i in range(self.count):
            size += self.entries[i].key_size + self.entries[i].value_size
        result = PyBytes_FromStringAndSize(NULL, size)
        p = <uint8_t*><char*>result
        put16(p, <uint16_t>self.count)
        p += 2
        for i in range(self.count):
            memcpy(p, self.entries[i].key, self.entries[i].key_size)
            p += self.entries[i].key_size
            memcpy(p, self.entries[i].value, self.entries[i].value_size)
            p += self.entries[i].value_size
        return result


def merge_maps(bytes old not None, bytes new not None) -> bytes:
    """The data of a map that has all entries of both, those of `new` where both have one; new ones come last. A key
    that is repeated counts with its last value. Raises ValueError for what is not the data of a map, or fits none."""
    cdef _Entries entries = _Entries(_most(old) + _most(new))
    _read(old, entries)
    _read(new, entries)
    if entries.count > MAX_ENTRIES:
        raise ValueError("a map of more than 65,535 entries")
    return entries.joined()


cdef Py_ssize_t _most(bytes data) except -1:
    """How many entries there are at most."""
    if len(data) < 2:
        raise ValueError("not a map")
    return min(<Py_ssize_t>get16(<const uint8_t*><char*>data), len(data) // LEAST_ENTRY)


cdef int _read(bytes data, _Entries entries) except -1:
    """Add each entry, which stays where it is."""
    cdef Cursor cursor = cursor_over(<const uint8_t*><char*>data, len(data))
    cdef const uint8_t* key
    cdef const uint8_t* value
    cdef uint16_t count = 0
    cdef uint16_t size = 0
    cdef Py_ssize_t used
    if not read16(&cursor, &count):
        raise ValueError("not a map")
    while count:
        count -= 1
        key = cursor.at
        if not read16(&cursor, &size) or take(&cursor, size) == NULL:
            raise ValueError("not a map")
        value = cursor.at
        if take(&cursor, 1) == NULL:
            raise ValueError("not a map")
        used = value_size(value[0], cursor.at, left(&cursor), 0)
        if used < 0 or take(&cursor, <size_t>used) == NULL:
            raise ValueError("not a map")
        entries.add(key, <uint32_t>2 + size, value, <uint32_t>(1 + used))
    return 0
