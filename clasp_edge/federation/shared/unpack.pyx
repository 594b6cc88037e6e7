"""SETs and SNAPSHOTs from another router, taken apart without reading their values.

The layouts are those of wire.md 2.3. Works on one whole payload; knows no state.
"""

from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.stdint cimport uint8_t

from clasp_edge.dataplane.bytes cimport get16, get32, get64
from clasp_edge.dataplane.scan cimport value_size


class Unreadable(ValueError):
    """The payload is not what it says it is."""


def set_parts(bytes payload not None):
    """`(address, value type, value, revision, ttl)` of a SET; revision 0 and ttl -1 where it has none.

    Raises Unreadable.
    """
    cdef const uint8_t* p = <const uint8_t*><char*>payload
    cdef size_t size = len(payload)
    cdef size_t at
    cdef Py_ssize_t used
    cdef long long ttl = -1
    revision = 0
    if size < 4 or p[0] != 0x21:
        raise Unreadable("no SET")
    at = 4 + get16(p + 2)
    if at > size:
        raise Unreadable("a SET ends in its address")
    used = value_size(p[1] & 0x0F, p + at, size - at, 0)
    if used < 0:
        raise Unreadable("a SET's value cannot be read")
    address = PyBytes_FromStringAndSize(<const char*>p + 4, at - 4)
    value = PyBytes_FromStringAndSize(<const char*>p + at, used)
    at += <size_t>used
    if p[1] & 0x80:
        if at + 8 > size:
            raise Unreadable("a SET ends in its revision")
        revision = get64(p + at)
        at += 8
    if p[1] & 0x10:
        if at + 4 > size:
            raise Unreadable("a SET ends in its ttl")
        ttl = get32(p + at)
    return address, p[1] & 0x0F, value, revision, ttl


def snapshot_params(bytes payload not None):
    """A list of `(address, value type, value, revision, writer, written_us)`; writer b"" and written_us 0 where they
    are not told. Raises Unreadable."""
    cdef const uint8_t* p = <const uint8_t*><char*>payload
    cdef size_t size = len(payload)
    cdef size_t at = 3
    cdef size_t length
    cdef int count, _i, kind, flags
    cdef Py_ssize_t used
    cdef list found = []
    if size < 3 or p[0] != 0x23:
        raise Unreadable("no SNAPSHOT")
    count = get16(p + 1)
    for _i in range(count):
        if at + 2 > size or at + 3 + get16(p + at) > size:
            raise Unreadable("a SNAPSHOT ends in an address")
        length = get16(p + at)
        address = PyBytes_FromStringAndSize(<const char*>p + at + 2, length)
        at += 2 + length
        kind = p[at] & 0x0F
        at += 1
        used = value_size(kind, p + at, size - at, 0)
        if used < 0 or at + used + 9 > size:
            raise Unreadable("a SNAPSHOT's value cannot be read")
        value = PyBytes_FromStringAndSize(<const char*>p + at, used)
        at += <size_t>used
        revision = get64(p + at)
        flags = p[at + 8]
        at += 9
        writer = b""
        written_us = 0
        if flags & 0x01:
            if at + 2 > size or at + 2 + get16(p + at) > size:
                raise Unreadable("a SNAPSHOT ends in a writer")
            length = get16(p + at)
            writer = PyBytes_FromStringAndSize(<const char*>p + at + 2, length)
            at += 2 + length
        if flags & 0x02:
            if at + 8 > size:
                raise Unreadable("a SNAPSHOT ends in a time")
            written_us = get64(p + at)
            at += 8
        found.append((address, kind, value, revision, writer, written_us))
    return found
