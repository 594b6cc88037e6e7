"""What devices are delivered: one object for all that are told the same, and what is found out about it once for all.

Where and how it waits is `pending`'s business.
"""

cimport cython
from cpython.bytes cimport PyBytes_FromStringAndSize

from clasp_edge.dataplane.messages cimport PUBLISH, SET, SIGNAL_PARAM, SIGNAL_STREAM, Published, read_publish
from clasp_edge.dataplane.value_types cimport T_NULL

cdef enum:
    HEADER = 4                  # bytes before the payload (wire.md 1)
    ADDRESS_AT = 8              # in a SET or PUBLISH frame that the router sends, behind its length (wire.md 1, 2.3)


# Tens of thousands may wait, and a collection that looks at each would hold everybody up. Who waits lets go of them.
@cython.no_gc
@cython.final
@cython.freelist(256)
cdef class Delivery:
    """`frame` is a whole CLASP frame. `tail` is the type tags and arguments of the OSC message behind it, or None;
    `bundle` a number for all members of a bundle, or 0; `marks` a sum of HOP, REMOTE and END (`source`)."""

    def __cinit__(self, origin, int signal, bytes frame not None, bytes tail=None, uint64_t bundle=0, int marks=0):
        self.origin = origin
        self.signal = signal
        self.frame = frame
        self.tail = tail
        self.bundle = bundle
        self.marks = marks

    @property
    def address(self):
        """That of the param, or of what was published."""
        return self.address_of()

    cdef bytes address_of(self):
        cdef Py_ssize_t size
        if self._address is None:
            if len(self.frame) < ADDRESS_AT:
                raise ValueError("not a SET or PUBLISH frame")
            size = ((<const unsigned char*><char*>self.frame)[ADDRESS_AT - 2] << 8
                    | (<const unsigned char*><char*>self.frame)[ADDRESS_AT - 1])
            self._address = self.frame[ADDRESS_AT:ADDRESS_AT + size]
        return self._address

    cdef bint is_event(self, events) except -1:
        """Whether it is something that happens and no value, also because its address is among `events`
        (`profile.AddressSet`; None: no address is)."""
        if self.signal != SIGNAL_PARAM and self.signal != SIGNAL_STREAM:
            return True
        if events is None:
            return False
        if self.judged_by is not events:
            self.is_one = events.matches(self.address_of())
            self.judged_by = events
        return self.is_one

    @property
    def is_set(self):
        """Whether a param was written: not what was published as one."""
        return len(self.frame) > HEADER and (<const unsigned char*><char*>self.frame)[HEADER] == SET

    @property
    def known(self):
        """The value of a SET: its type, and its data, behind which the revision is and perhaps a lifetime."""
        cdef Py_ssize_t begin, end
        cdef int flags
        if self._known is None:
            begin = ADDRESS_AT + len(self.address_of())
            flags = (<const unsigned char*><char*>self.frame)[HEADER + 1]
            end = len(self.frame) - (8 if flags & 0x80 else 0) - (4 if flags & 0x10 else 0)
            self._known = (flags & 0x0F, self.frame[begin:end])
        return self._known

    @property
    def value(self):
        """The value that was written or published, as `known`. None: there is none, or it is the null of who has no way
        to say that."""
        cdef Published message
        cdef const unsigned char* payload = <const unsigned char*><char*>self.frame + HEADER
        if self.is_set:
            return self.known
        if (len(self.frame) <= HEADER or payload[0] != PUBLISH
                or read_publish(payload, len(self.frame) - HEADER, &message) != 0
                or message.value == NULL or message.value_type == T_NULL):
            return None
        return message.value_type, PyBytes_FromStringAndSize(<const char*>message.value, message.value_size)

    def happens(self, events):
        """`is_event` for Python."""
        return self.is_event(events)
