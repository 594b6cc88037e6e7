"""Maps laid over one another (strategy `merge`), as the bytes that they are: nothing in them is decoded."""

from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.stdint cimport uint8_t, uint16_t

from clasp_edge.dataplane.cursor cimport Cursor, cursor_over, left, read16, take
from clasp_edge.dataplane.scan cimport value_size

cdef enum:
    MAX_ENTRIES = 65535


def merge_maps(bytes old not None, bytes new not None) -> bytes:
    """The data of a map that has all entries of both, those of `new` where both have one; new ones come last. A key
    that is repeated counts with its last value. Raises ValueError for what is not the data of a map, or fits none."""
    cdef dict entries = {}
    _read(old, entries)
    _read(new, entries)
    if len(entries) > MAX_ENTRIES:
        raise ValueError("a map of more than 65,535 entries")
    parts = [len(entries).to_bytes(2, "big")]
    for key, value in entries.items():
        parts.append(key)
        parts.append(value)
    return b"".join(parts)


cdef int _read(bytes data, dict entries) except -1:
    """Add each entry: the key with its length, the value with its type."""
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
        entries[PyBytes_FromStringAndSize(<const char*>key, 2 + <Py_ssize_t>size)] = PyBytes_FromStringAndSize(
            <const char*>value, 1 + used)
    return 0
