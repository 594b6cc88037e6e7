"""The loops over the records of the log, compiled: which links are told of each of them, as what message, and how much
that is. What they mean is said in log_pass.py. Knows no log and no connection.
"""

cimport cython
from libc.stdint cimport uint64_t

from clasp_edge.federation.shared.batches import Item
from clasp_edge.federation.shared.dedup import MAX_HOPS, route_by

cdef object _Item = Item
cdef int _MAX_HOPS = MAX_HOPS

cdef enum:
    # Of `cursors.Logged`:
    NUMBER = 0
    RUN = 1
    WALL_US = 2
    ADDRESS = 4
    SIGNAL = 5
    FRAME = 6
    WAY = 7
    WAY_NUMBER = 8
    OWN = 10


@cython.final
cdef class Waiting:
    """What waits for a link above a position: messages, their bytes, and since when the first has."""

    cdef readonly uint64_t position, messages, size
    cdef readonly double since_s

    def __init__(self, uint64_t position):
        self.position = position


cdef class Records:
    """Goes through records one after the other, and remembers of the last one what is mostly the same of the next.

    `carried_by(address, signal)`: the links that carry it, by address and signal in `known`; `of_run(run)`: the route
    of what was first written here in a run of the router. Good for as long as `known` is."""

    cdef object carried_by, of_run
    cdef dict known
    cdef bytes address
    cdef object signal, way, run, route
    cdef object links
    cdef uint64_t number            # of the record at its router of origin
    cdef list plain                 # of the record's links, those that its way does not lead back to,
    cdef list doubtful              # and the others
    cdef object plain_of            # the links that these are of
    cdef dict divided               # as these by the identity of a list of links, which it keeps, for one route:
    cdef object divided_on

    def __init__(self, carried_by, dict known not None, of_run):
        self.carried_by = carried_by
        self.known = known
        self.of_run = of_run
        self.divided = {}
        self.divided_on = None
        self.signal = self.way = self.run = self.route = self.links = self.plain_of = None

    cdef object links_of(self, tuple record):
        address, signal = <bytes>record[ADDRESS], record[SIGNAL]
        if self.links is None or signal != self.signal or <bytes>address != self.address:
            self.links = None
            links = self.known.get((address, signal))
            if links is None:
                links = self.carried_by(address, signal)
            self.address, self.signal, self.links = address, signal, links
        return self.links

    cdef int find_way(self, tuple record) except -1:
        """The record's route and number, and its links divided by that. Raises ValueError."""
        way, run = record[WAY], record[RUN]
        if self.route is None or way != self.way or (not way and run != self.run):
            self.route = None
            self.route = route_by(way) if way else self.of_run(run)
            self.way, self.run = way, run
        self.number = record[WAY_NUMBER] if way else record[NUMBER]
        if self.route is not self.divided_on:
            self.divided.clear()
            self.divided_on = self.route
            self.plain_of = None
        if self.links is not self.plain_of:
            found = self.divided.get(id(self.links))
            if found is None:
                found = self.divided[id(self.links)] = self._divide()
            self.plain_of, self.plain, self.doubtful = found
        return 0

    cdef tuple _divide(self):
        """The links, and of them those that the route does not lead back to, and the others."""
        cdef list plain = [], doubtful = []
        origin, _, hops, via, _ = self.route
        for link in self.links:
            neighbour = link.neighbour
            if hops >= _MAX_HOPS or neighbour == via or neighbour == origin:
                doubtful.append(link)
            else:
                plain.append(link)
        return self.links, plain, doubtful

    def tell(self, list records not None, dict told not None, on_fault):
        """Append what each link is told of the records to its list in `told`; `on_fault(record, error)` hears of one
        that cannot be told."""
        cdef dict lists = told
        for record in records:
            try:
                if self.links_of(<tuple>record):
                    self.find_way(<tuple>record)
                    self._tell(record, <tuple>record, lists)
            except Exception as error:
                # One that cannot be told costs the links nothing but itself.
                self.links = self.route = self.plain_of = None
                on_fault(record, error)

    cdef int _tell(self, object record, tuple parts, dict told) except -1:
        plain_item = None
        items = None
        if parts[OWN] is None and parts[SIGNAL]:
            # As it is, for all.
            plain_item = _Item(parts[FRAME], self.route, self.number, parts[NUMBER], parts[WALL_US] / 1e6)
        else:
            items = {}
        for link in self.plain:
            item = plain_item
            if item is None:
                item = self._item(link, record, items)
            if item is not None:
                found = told.get(link)
                if found is None:
                    told[link] = [item]
                else:
                    (<list>found).append(item)
        for link in self.doubtful:
            if link.is_back(self.route, self.number, parts[NUMBER]):
                continue
            item = plain_item
            if item is None:
                item = self._item(link, record, items)
            if item is not None:
                told.setdefault(link, []).append(item)
        return 0

    cdef object _item(self, object link, object record, dict items):
        """By `tells_mqtt`, for all links to share; None: its time is over."""
        mqtt = bool(link.tells_mqtt)
        if mqtt in items:
            return items[mqtt]
        item = items[mqtt] = link.item_of(record, self.route, self.number)
        return item

    def count(self, list records not None, uint64_t last, dict counters not None, on_fault):
        """Add what waits for each link to its `Waiting` in `counters`: of the records up to number `last`."""
        for record in records:
            if (<tuple>record)[NUMBER] > last:
                return
            try:
                if self.links_of(<tuple>record):
                    self._count(<tuple>record, counters)
            except Exception as error:
                self.links = self.route = self.plain_of = None
                on_fault(record, error)

    cdef int _count(self, tuple record, dict counters) except -1:
        cdef Waiting counter
        cdef Py_ssize_t size
        try:
            self.find_way(record)
        except ValueError:
            return 0                # nobody is told of it
        size = len(<bytes>record[FRAME])
        own = record[OWN]
        if own is not None:
            size += len(own.properties) + len(own.payload or b"")
        for links in (self.plain, self.doubtful):
            for link in <list>links:
                counter = counters.get(link)
                if counter is None or record[NUMBER] <= counter.position:
                    continue
                if links is self.doubtful and link.is_back(self.route, self.number, record[NUMBER]):
                    continue
                if not counter.messages:
                    counter.since_s = record[WALL_US] / 1e6
                counter.messages += 1
                counter.size += size
        return 0
