"""A run of numbered writes that another router has announced: which of them are repetitions, and which really came.

A number proves nothing: whoever may speak can say any number. A write is known by its number *and* its content, and it
counts as having been here only if it was accepted here. Content is a keyed hash of 32 bits, whose key is this process's
own. Knows no origin and no epoch.
"""

import logging
import os

from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.stdint cimport uint64_t
from libc.stdlib cimport free, realloc

from clasp_edge.dataplane.bytes cimport get16
from clasp_edge.dataplane.hashing cimport keyed_hash
from clasp_edge.dataplane.scan cimport value_size
from clasp_edge.dataplane.view cimport View

log = logging.getLogger("clasp_edge.dataplane")

cdef uint64_t SEED = int.from_bytes(os.urandom(8), "little")
cdef uint64_t KEY = int.from_bytes(os.urandom(8), "little") | 1

cdef enum:
    FIRST_ROOM = 64
    SET = 0x21
    PUBLISH = 0x20


cdef inline uint32_t _nonzero(uint64_t hash) noexcept nogil:
    return <uint32_t>hash if <uint32_t>hash else 1


cdef uint32_t set_content(int value_type, const uint8_t* address_and_value, size_t size) noexcept nogil:
    """Of a SET: address, type and value. Revision, lock and lifetime are each router's own."""
    return _nonzero(keyed_hash(SEED ^ <uint64_t>(0x100 | value_type), KEY, address_and_value, size))


cdef uint32_t publish_content(int flags, const uint8_t* address_and_rest, size_t size) noexcept nogil:
    """Of a PUBLISH: all of it, which routers pass on as it is."""
    return _nonzero(keyed_hash(SEED ^ <uint64_t>(0x200 | flags), KEY, address_and_rest, size))


def content_of(payload):
    """The content of a SET or PUBLISH as another router tells it; 0 for what is neither or cannot be read."""
    cdef View view = View(payload)
    return content_at(view.data, view.size)


cdef uint32_t content_at(const uint8_t* p, size_t size) noexcept nogil:
    """`content_of` the `size` bytes at `p`."""
    cdef size_t at
    cdef Py_ssize_t used
    if size < 4:
        return 0
    at = 4 + <size_t>get16(p + 2)
    if at > size:
        return 0
    if p[0] == PUBLISH:
        return publish_content(p[1], p + 4, size - 4)
    if p[0] != SET:
        return 0
    used = value_size(p[1] & 0x0F, p + at, size - at, 0)
    return set_content(p[1] & 0x0F, p + 4, at - 4 + <size_t>used) if used >= 0 else 0


cdef class WriteRun:
    """`begin` with every announcement; then `check` and `finish` for each write, in order."""

    def __dealloc__(self):
        free(self.came)

    def begin(self, bytes known, Py_ssize_t count, Py_ssize_t own=0):
        """The next `count` writes. `known`: 4 bytes for each, what a write of that number said when it came; None where
        none has come. `own`: so many at the beginning are not new, whatever they say."""
        if known is not None and len(known) != 4 * count:
            raise ValueError("4 bytes for each write")
        self.known = known
        self.count = count
        self.own = own
        self.contested = None
        self.at = 0
        self.content = 0

    def came_from(self, Py_ssize_t first):
        """The content of the writes that have come, from number `first` of the run on: 4 bytes each, 0 = refused."""
        if not 0 <= first <= self.at:
            raise ValueError("not a write that has come")
        return PyBytes_FromStringAndSize(<const char*>(self.came + first), 4 * (self.at - first))

    def check(self, bytes payload not None):
        """Whether this write, the next of the run, is a repetition."""
        return self.repeats(content_of(payload))

    def finish(self, bint accepted):
        """The write has been dealt with."""
        self.accepted = accepted
        self.next()

    cdef bint repeats(self, uint32_t content) noexcept:
        self.content = content
        self.accepted = True
        if self.at >= self.count:
            return False
        if self.at < self.own:
            return True
        if self.contested is not None:
            try:
                return bool(self.contested(self.at, content))
            except Exception:
                log.exception("a write's number could not be looked up")
                return False
        return (self.known is not None and content != 0
                and (<const uint32_t*><const char*>self.known)[self.at] == content)

    cdef void next(self) noexcept:
        cdef uint32_t* more
        cdef Py_ssize_t room
        if self.at >= self.count:
            return
        if self.at >= self.room:
            room = 2 * self.room if self.room else FIRST_ROOM
            more = <uint32_t*>realloc(self.came, room * sizeof(uint32_t))
            if more == NULL:
                self.count = self.at    # what comes now is new, and is not remembered
                return
            self.came = more
            self.room = room
        self.came[self.at] = self.content if self.accepted else 0
        self.at += 1
        self.content = 0
