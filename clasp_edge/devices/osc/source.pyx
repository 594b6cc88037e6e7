"""Whom packets come from, and whom values go to: what is known of each, and what a delivery says of its origin.

A `Party` hears of every delivery in C, where the message that caused it is still under way: as it was said, in which
bundle, and whether it came from elsewhere. `SourceTable` keeps the senders of datagrams: bounded, the one silent for
longest has to go.
"""

from cpython.bytes cimport PyBytes_FromStringAndSize

from clasp_edge.dataplane cimport sink
from clasp_edge.dataplane.sink cimport Sink
from clasp_edge.devices.osc.delivery cimport Delivery

SCHEDULE = TIMETAGS_SCHEDULE
IGNORE = TIMETAGS_IGNORE
RELATIVE = TIMETAGS_RELATIVE
HOP = MARK_HOP
REMOTE = MARK_REMOTE
END = MARK_END


cdef list _lately = []          # what was delivered since an adapter was handed anything: devices share it
cdef Delivery _last = None      # the newest of it,
cdef uint64_t _last_serial = 0  # and which message that was


cdef class Party(Adapter):
    """A device that values are sent to. `heard_us` is when one of its sources last sent something (monotonic).

    `on_deliveries` gets `delivery.Delivery` objects. Devices that are told the same get the same list, which nobody
    changes."""

    cdef void deliver(self, sink.Delivery* delivery) noexcept:
        cdef Sink origin = <Sink>delivery.origin
        cdef Source source
        cdef int marks = 0
        cdef Delivery newest
        global _last, _last_serial
        try:
            if (_last is not None and delivery.serial and delivery.serial == _last_serial
                    and _last.origin is origin):
                self._take()            # the same message goes to many devices
                return
            tail = None
            number = 0
            if type(origin) is Source:
                source = <Source>origin
                tail = source.spoken()
                number = source.bundle_number
                marks = mark_of(source.loop_mark)
            else:
                number = getattr(origin, "bundle_number", 0)
                if origin.route is not None:
                    marks = MARK_REMOTE | mark_of(origin.route.answer)
                else:
                    marks = mark_of(origin.loop_mark)
            newest = Delivery.__new__(Delivery, origin, delivery.signal, PyBytes_FromStringAndSize(
                <const char*>delivery.frame, delivery.size), tail, number, marks)
            _lately.append(newest)
            _last = newest
            _last_serial = delivery.serial
            self._take()
        except Exception:
            pass                        # no memory: a param is told again with its next change

    cdef int _take(self) except -1:
        """The newest of `_lately` is for this device."""
        cdef Py_ssize_t newest = len(_lately) - 1
        if self.shared is _lately and self.end == newest:
            self.end = newest + 1
            return 0
        if self.shared is not None:     # something between was not for it, or what came before is no longer the newest
            self.inbox.extend(self.shared[self.begin:self.end])
            self.shared = None
        elif not self.inbox:
            self.plane.core.adapters.append(self)
            self.shared = _lately
            self.begin = newest
            self.end = newest + 1
            return 0
        self.inbox.append(_lately[newest])
        return 0

    def run(self):
        """Hand over what has gathered."""
        global _last, _lately
        cdef list shared = self.shared
        if _lately:
            # Also where nobody has a piece of it, but each has its own from between the others': it would grow without
            # end.
            _lately = []                # it is complete: what comes from now on is a list of its own
            _last = None                # which would keep its origin alive
        if shared is None:
            Adapter.run(self)
            return
        self.shared = None
        self.on_deliveries(shared if self.end - self.begin == len(shared) else shared[self.begin:self.end])


cdef inline int mark_of(int answer) noexcept:
    return MARK_HOP if answer == 1 else MARK_END if answer == 2 else 0


cdef class Source(Sink):
    """Where packets come from. `party` is the device it belongs to, if we know one; `link` is the way back to it."""

    def __cinit__(self, bytes key not None, str host not None, int port, link=None):
        self.key = key
        self.host = host
        self.port = port
        self.name = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        self.link = link
        self.confirmed = link is not None
        self.rate = -1

    def __repr__(self):
        return f"<OSC {self.name}>"

    @property
    def tokens(self):
        """What its bucket has: messages; below 0 it is in debt."""
        return self.bucket.tokens

    cpdef bytes spoken(self):
        """Type tags and arguments of the message under way; None where they were not by the book."""
        if self.tail is None and self.tail_data != NULL:
            self.tail = PyBytes_FromStringAndSize(<const char*>self.tail_data, self.tail_size)
        return self.tail


cdef class SourceTable:
    """The senders of datagrams. `control.source_gone(source)` is called when one is forgotten."""

    def __cinit__(self, Plane plane not None, control, *args):
        self.plane = plane
        self.control = control
        self.sources = {}
        self.max_sources = 1

    def add(self, Source source not None):
        """Take a sender of datagrams in; the one that has been silent for longest makes room."""
        while len(self.sources) >= self.max_sources and self.oldest is not None:
            self.evicted += 1
            self.drop(self.oldest)
        self.sources[source.key] = source
        source.listed = True
        source.heard_us = self.plane.core.mono_us
        self._link(source)

    def drop(self, Source source not None):
        """Forget a source; it is a new one when it comes again."""
        if source.dropped:
            return
        source.dropped = True
        if self.last is source:
            self.last = None
        if source.listed:
            self._unlink(source)
            self.sources.pop(source.key, None)
        self.all_overflow -= source.overflow_bytes
        source.overflow = None
        source.behind_wildcard = False
        source.overflow_bytes = 0
        if source.writer:
            self.plane.unregister(source)
        self.control.source_gone(source)

    def known(self):
        """All sources, the one heard last at the end."""
        found = []
        cdef Source source = self.oldest
        while source is not None:
            found.append(source)
            source = source.newer
        return found

    def __len__(self):
        return len(self.sources)

    cdef void _link(self, Source source) noexcept:
        source.older = self.newest
        source.newer = None
        if self.newest is not None:
            self.newest.newer = source
        self.newest = source
        if self.oldest is None:
            self.oldest = source

    cdef void _unlink(self, Source source) noexcept:
        if source.older is not None:
            source.older.newer = source.newer
        else:
            self.oldest = source.newer
        if source.newer is not None:
            source.newer.older = source.older
        else:
            self.newest = source.older
        source.older = None
        source.newer = None
