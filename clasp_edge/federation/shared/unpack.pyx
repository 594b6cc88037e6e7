"""SETs and SNAPSHOTs from another router, taken apart without reading their values.

The layouts are those of wire.md 2.3. Works on one whole payload; knows no state.
"""

from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.stdint cimport uint8_t, uint16_t, uint64_t

from clasp_edge.dataplane.cursor cimport Cursor, cursor_over, left, read8, read16, read64, take, take_counted
from clasp_edge.dataplane.messages cimport SET, SET_TTL, Write, read_set
from clasp_edge.dataplane.scan cimport value_size

cdef enum:
    SNAPSHOT = 0x23


class Unreadable(ValueError):
    """The payload is not what it says it is."""


def set_parts(bytes payload not None):
    """`(address, value type, value, revision, ttl)` of a SET; revision 0 and ttl -1 where it has none.

    Raises Unreadable.
    """
    cdef Write write
    cdef long long ttl = -1
    write.address = NULL
    if len(payload) == 0 or (<const uint8_t*><char*>payload)[0] != SET:
        raise Unreadable("no SET")
    if read_set(<const uint8_t*><char*>payload, len(payload), &write) != 0:
        if write.address == NULL:
            raise Unreadable("a SET ends in its address")
        raise Unreadable("a SET's value cannot be read" if write.value == NULL else "a SET ends behind its value")
    if write.flags & SET_TTL:
        ttl = write.ttl
    return (PyBytes_FromStringAndSize(<const char*>write.address, write.address_size), write.flags & 0x0F,
            PyBytes_FromStringAndSize(<const char*>write.value, write.value_size), write.expected, ttl)


def snapshot_params(bytes payload not None):
    """A list of `(address, value type, value, revision, writer, written_us)`; writer b"" and written_us 0 where they
    are not told. Raises Unreadable."""
    cdef Cursor cursor = cursor_over(<const uint8_t*><char*>payload, len(payload))
    cdef const uint8_t* p
    cdef uint16_t count, length
    cdef uint8_t kind, flags
    cdef uint64_t revision, written_us
    cdef Py_ssize_t used
    cdef int _i
    cdef list found = []
    if not read8(&cursor, &kind) or kind != SNAPSHOT or not read16(&cursor, &count):
        raise Unreadable("no SNAPSHOT")
    for _i in range(count):
        p = take_counted(&cursor, &length)
        if p == NULL or not read8(&cursor, &kind):
            raise Unreadable("a SNAPSHOT ends in an address")
        address = PyBytes_FromStringAndSize(<const char*>p, length)
        kind &= 0x0F
        used = value_size(kind, cursor.at, left(&cursor), 0)
        if used < 0:
            raise Unreadable("a SNAPSHOT's value cannot be read")
        value = PyBytes_FromStringAndSize(<const char*>take(&cursor, <size_t>used), used)
        if not read64(&cursor, &revision) or not read8(&cursor, &flags):
            raise Unreadable("a SNAPSHOT ends in a revision")
        writer = b""
        written_us = 0
        if flags & 0x01:
            p = take_counted(&cursor, &length)
            if p == NULL:
                raise Unreadable("a SNAPSHOT ends in a writer")
            writer = PyBytes_FromStringAndSize(<const char*>p, length)
        if flags & 0x02 and not read64(&cursor, &written_us):
            raise Unreadable("a SNAPSHOT ends in a time")
        found.append((address, kind, value, revision, writer, written_us))
    return found
