"""What one device is still to be told: in order, of a param the newest value that nothing else came behind.

What has come is kept as it came, mostly one list for all devices that are told the same, and is looked through in
parts when the device's turn comes. What all of it takes is counted in bytes: a delivery once, however many wait for it.
Knows no time and no device.
"""

cimport cython
from collections import deque

from libc.stdint cimport uint64_t

from clasp_edge.dataplane.messages cimport SIGNAL_PARAM, SIGNAL_STREAM
from clasp_edge.devices.osc.delivery cimport Delivery

cdef enum:
    HEAD_BYTES = 450            # of a delivery that waits, and of the message that is made of it, beside its frame
    PART_BYTES = 400            # of something that waits by itself, or of what waits of a bundle
    MEMBER_BYTES = 24           # of each delivery in it: memory, and the time to let go of it
    AT_ONCE_ = 32
    BUNDLE_AT_ONCE_ = 128
    BYTES_AT_ONCE_ = 16384

AT_ONCE = AT_ONCE_
"""Deliveries of one device before the next one's; those of one bundle stay together, up to the next number."""

BUNDLE_AT_ONCE = BUNDLE_AT_ONCE_
"""Of a bundle: more of them take a turn by themselves."""

BYTES_AT_ONCE = BYTES_AT_ONCE_
"""Of deliveries of one device, and of a bundle: what is large takes its time."""


def is_little(list deliveries not None):
    """Whether it takes a device little time to be told all of it."""
    cdef Delivery delivery
    cdef Py_ssize_t size = 0
    if len(deliveries) > BUNDLE_AT_ONCE_:
        return False
    for delivery in deliveries:
        size += len(delivery.frame)
    return size <= BYTES_AT_ONCE_ or len(deliveries) == 1


cdef class Ledger:
    """What waits for all devices of one server together, in bytes."""

    cdef readonly Py_ssize_t size

    cdef int hold_one(self, Delivery delivery) except -1:
        if delivery.waits == 0:
            self.size += HEAD_BYTES + len(delivery.frame)
        delivery.waits += 1
        self.size += MEMBER_BYTES
        return 0

    cdef int release_one(self, Delivery delivery) except -1:
        delivery.waits -= 1
        if delivery.waits == 0:
            self.size -= HEAD_BYTES + len(delivery.frame)
        self.size -= MEMBER_BYTES
        return 0

    cdef int hold(self, list some) except -1:
        cdef Delivery delivery
        for delivery in some:
            self.hold_one(delivery)
        self.size += PART_BYTES
        return 0

    cdef int release(self, list some) except -1:
        cdef Delivery delivery
        for delivery in some:
            self.release_one(delivery)
        self.size -= PART_BYTES
        return 0


# There may be tens of thousands, and a collection that looks at each would hold everybody up.
@cython.no_gc
@cython.final
@cython.freelist(256)
cdef class _Part:
    """What is told together: `one`, the value of a param that a newer one may replace, or `some`. Neither: it has been
    told, or replaced."""

    cdef Delivery one
    cdef list some

    cdef Py_ssize_t size(self):
        return 1 if self.one is not None else 0 if self.some is None else len(self.some)

    cdef Py_ssize_t bytes(self):
        cdef Delivery delivery
        cdef Py_ssize_t size = 0
        if self.one is not None:
            return len(self.one.frame)
        for delivery in self.some:
            size += len(delivery.frame)
        return size

    cdef Delivery first(self):
        return self.one if self.one is not None else <Delivery?>self.some[0]


cdef class Pending:
    """`events` says which addresses are events (`Delivery.is_event`); it is since `since_us` that something waits."""

    cdef readonly uint64_t since_us
    cdef Ledger ledger
    cdef object events
    cdef object batches         # what has come behind all that is in `parts`, each as it came
    cdef Py_ssize_t at          # so many deliveries of the first of them are in `parts`
    cdef object parts
    cdef dict places            # the newest value of each param that nothing else has come behind
    cdef _Part run              # the last of the parts, where it has events and takes more of them,
    cdef Py_ssize_t run_bytes   # and what is in it
    cdef readonly Py_ssize_t count
    cdef readonly bint may_let_go   # there may be values, which can be told later as they stand then

    def __cinit__(self, Ledger ledger not None, events, uint64_t since_us):
        self.ledger = ledger
        self.events = events
        self.since_us = since_us
        self.batches = deque()
        self.parts = deque()
        self.places = {}

    def __len__(self):
        """How many deliveries wait."""
        return self.count

    def add(self, list batch not None):
        """This has come. Nobody changes the list any more."""
        cdef Delivery delivery
        if not self.may_let_go:
            for delivery in batch:
                if delivery.signal == SIGNAL_PARAM or delivery.signal == SIGNAL_STREAM:
                    self.may_let_go = True
                    break
        self.batches.append(batch)
        self.count += len(batch)
        self.ledger.hold(batch)

    def look_through(self, Py_ssize_t at_once):
        """Look through some of what has come; whether that was all of it."""
        cdef list batch
        cdef Delivery delivery
        cdef Py_ssize_t end, size
        while self.batches:
            batch = <list>self.batches[0]
            while self.at < len(batch):
                if at_once <= 0:
                    return False
                delivery = <Delivery?>batch[self.at]
                end = self.at + 1
                if delivery.bundle:
                    size = len(delivery.frame)
                    while (end < len(batch) and end - self.at < BUNDLE_AT_ONCE_ and size <= BYTES_AT_ONCE_
                           and (<Delivery?>batch[end]).bundle == delivery.bundle):
                        size += len((<Delivery?>batch[end]).frame)
                        end += 1
                    self._append(batch[self.at:end])
                elif delivery.signal == SIGNAL_PARAM and not delivery.is_event(self.events):
                    self._append_value(delivery)
                else:
                    self._append_to_run(delivery)
                at_once -= end - self.at
                self.at = end
            self._drop_batch()
        return True

    def take_some(self):
        """What is next, all of which has been looked through; no bundle is taken apart further."""
        cdef list some = []
        cdef _Part part
        cdef Py_ssize_t size
        cdef Py_ssize_t taken = 0
        while self.parts:
            part = <_Part>self.parts[0]
            size = part.size()
            if size:
                taken += part.bytes()
                if some and (len(some) + size > AT_ONCE_ or taken > BYTES_AT_ONCE_):
                    break
                if part.one is not None:
                    some.append(part.one)
                else:
                    some.extend(part.some)
                self._forget(part)
            self.parts.popleft()
        return some

    def let_go(self):
        """Let go of the values, which are told later as they stand then; whether there were any."""
        cdef Py_ssize_t before = self.count
        cdef _Part part
        cdef list left
        cdef list batch
        parts = deque()
        batches = deque()
        for part in self.parts:
            left = None if part.some is None else self._lasting(part.some, 0)
            if left and len(left) == len(part.some):
                parts.append(part)
                continue
            self._forget(part)
            if left:
                part = _Part.__new__(_Part)
                part.some = left
                parts.append(part)
                self.count += len(left)
                self.ledger.hold(left)
        for batch in self.batches:
            left = self._lasting(batch, self.at)
            if len(left) == len(batch):
                batches.append(batch)   # which others have, too
                continue
            self.count -= len(batch) - self.at - len(left)
            self.at = 0
            if left:
                self.ledger.hold(left)
                batches.append(left)
            self.ledger.release(batch)
        self.parts = parts
        self.batches = batches
        self.places = {}
        self.run = None
        self.may_let_go = False
        return self.count < before

    def lose_half(self):
        """Let go of the older half of what waits. Returns how many that were, and the address of the first."""
        cdef Py_ssize_t before = self.count
        cdef _Part part
        cdef bytes first = None
        self.places = {}
        self.run = None
        while 2 * self.count > before:
            if self.parts:
                part = <_Part>self.parts.popleft()
                if first is None and part.size():
                    first = part.first().address_of()
                self._forget(part)
            else:
                if first is None:
                    first = (<Delivery?>(<list>self.batches[0])[self.at]).address_of()
                self.count -= len(<list>self.batches[0]) - self.at
                self._drop_batch()
        return before - self.count, first

    def clear(self):
        """Let go of everything."""
        while self.count:
            self.lose_half()

    # ---- inside ----

    cdef _drop_batch(self):
        self.ledger.release(<list>self.batches.popleft())
        self.at = 0

    cdef _Part _append(self, list some):
        cdef _Part part = _Part.__new__(_Part)
        part.some = some
        self.ledger.hold(some)
        self.places = {}
        self.run = None
        self.parts.append(part)
        return part

    cdef _append_to_run(self, Delivery delivery):
        if self.run is not None and len(self.run.some) < AT_ONCE_ and self.run_bytes <= BYTES_AT_ONCE_:
            self.run.some.append(delivery)      # the list is this device's own
            self.ledger.hold_one(delivery)
            self.run_bytes += len(delivery.frame)
        else:
            self.run = self._append([delivery])
            self.run_bytes = len(delivery.frame)

    cdef _append_value(self, Delivery delivery):
        cdef bytes address = delivery.address_of()
        cdef _Part part = _Part.__new__(_Part)
        before = self.places.get(address)
        if before is not None:
            self._forget(<_Part>before)
        part.one = delivery
        self.ledger.hold_one(delivery)
        self.ledger.size += PART_BYTES
        self.places[address] = part
        self.run = None
        self.parts.append(part)

    cdef _forget(self, _Part part):
        """It waits no longer: it was told, or something newer takes its place."""
        cdef Delivery one = part.one
        if one is not None:
            self.ledger.release_one(one)
            self.ledger.size -= PART_BYTES
            self.count -= 1
            part.one = None
            if self.places.get(one.address_of()) is part:
                del self.places[one.address_of()]
        elif part.some is not None:
            self.ledger.release(part.some)
            self.count -= len(part.some)
            part.some = None
            if part is self.run:
                self.run = None

    cdef list _lasting(self, list some, Py_ssize_t begin):
        cdef list left = []
        cdef Py_ssize_t at
        for at in range(begin, len(some)):
            if (<Delivery?>some[at]).is_event(self.events):
                left.append(some[at])
        return left
