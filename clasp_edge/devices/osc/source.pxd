from libc.stdint cimport uint8_t, uint64_t

from clasp_edge.dataplane.adapter cimport Adapter
from clasp_edge.dataplane.plane cimport Plane
from clasp_edge.dataplane.sink cimport Sink
from clasp_edge.dataplane.token_bucket cimport TokenBucket

cdef enum Timetags:
    TIMETAGS_SCHEDULE = 0
    TIMETAGS_IGNORE = 1
    TIMETAGS_RELATIVE = 2

cdef enum Mark:                 # what a delivery to a Party says of its origin
    MARK_HOP = 1                # a device's answer to what it was told
    MARK_REMOTE = 2             # it came from another router
    MARK_END = 4                # it ends a loop: the value that a hand made last


cdef class Party(Adapter):
    cdef public uint64_t heard_us
    cdef public uint64_t datagrams
    # What has gathered for it, where that is one piece of what was delivered to anybody; else it is in the inbox:
    cdef list shared
    cdef Py_ssize_t begin, end

    cdef int _take(self) except -1


cdef class Source(Sink):
    cdef readonly bytes key
    cdef readonly str name
    cdef readonly str host
    cdef readonly int port
    cdef public Party party
    cdef public object link
    cdef public object sock             # the socket it sends to
    cdef readonly bint dropped
    cdef bint listed                    # among the senders of datagrams, which make room for one another
    cdef readonly uint64_t heard_us
    cdef public uint64_t messages
    cdef public uint64_t packets
    cdef public uint64_t received_bytes     # with the headers of IPv4 and UDP
    cdef public uint64_t answered_bytes     # sent to it while it was not confirmed (allowance.py)
    cdef public bint expands                # a message of its with wildcards waits: what comes behind that waits too
    cdef uint64_t wild                      # the last bundle or message with wildcards of what waits: its key
    cdef public bint confirmed              # it is really there: it has renewed, or it is a connection
    cdef public uint64_t bad
    cdef public uint64_t over_rate
    cdef public uint64_t refused
    cdef public object complaints       # what was wrong with it, by kind; None: nothing
    # What the device it belongs to is configured to:
    cdef public bytes base              # what goes before its addresses; None: the namespace
    cdef public object events           # .matches(address): which of its messages are events; None: no address says so
    cdef public object outside          # .matches(address): which of its addresses are whole; None: none
    cdef public bint asks               # a message without arguments is a question
    cdef public int timetags
    cdef public double rate             # messages per second, 0 for any; below 0: the receiver's
    # Of bundles for later:
    cdef public uint64_t waiting_bytes
    cdef public bint clock_told
    cdef public object clock            # what is known of its clock (timetags = "relative")
    # Of the message under way:
    cdef bytes tail                     # type tags and arguments as they were said
    cdef const uint8_t* tail_data
    cdef size_t tail_size
    cdef public uint64_t bundle_number  # 0: not in a bundle
    # The rate:
    cdef TokenBucket bucket
    cdef public object overflow         # packets above the rate, params by their address; None: none
    cdef public uint64_t overflow_bytes
    cdef public bint behind_wildcard    # what waits keeps its place behind a wildcard; it need not be above the rate
    cdef Source older, newer

    cpdef bytes spoken(self)


cdef class SourceTable:
    cdef readonly Plane plane
    cdef object control
    cdef public Py_ssize_t max_sources
    cdef dict sources
    cdef Source oldest, newest
    cdef Source last                    # that the last packet came from
    cdef uint64_t all_overflow          # bytes of all sources' messages that wait above the rate
    cdef readonly uint64_t evicted

    cdef void _link(self, Source source) noexcept
    cdef void _unlink(self, Source source) noexcept
