"""The loops over the messages of a link, compiled: what the plane delivers is sorted, what waits is taken, and what is
sent gets its ROUTEs. What each of them means is said where it is used (sender.py, queue.py). Knows no connection.
"""

cimport cython
from libc.stdint cimport uint64_t

from clasp_edge.federation.shared.dedup import MAX_HOPS
from clasp_edge.federation.shared.extensions import LARGEST_NUMBER, MAX_RUN, route_frame
from clasp_edge.federation.shared.mqtt_messages import frames_of, split
from clasp_edge.federation.shared.policy import Policy

cdef enum:
    GONE = 0x80             # in the kind of a delivery (relay.pyx)
    QUIET = 0x40
    KIND_AT = 4             # of a frame without a timestamp: the type of its message
    FEDERATION_SYNC = 0x04
    PUBLISH = 0x20

cpdef enum:
    RECORD_HEAD_BYTES = 2   # what a message takes in a BUNDLE beside itself
    FIXED_BYTES = 200       # what a message takes in memory beside its frame

cdef object _LATEST = Policy.LATEST
cdef object _LOG = Policy.LOG
cdef object _route_frame = route_frame
cdef object _UNKNOWN = object()
cdef int _MAX_HOPS = MAX_HOPS
cdef Py_ssize_t _MAX_RUN = MAX_RUN
cdef uint64_t _LARGEST_NUMBER = LARGEST_NUMBER


@cython.final
@cython.no_gc
@cython.freelist(256)
cdef class Item:
    """One message. `number` as its router of origin counts (`route`); `logged`: its number in the journal's log, 0 if
    it is not there. `since_s`: Unix time it came at."""

    cdef readonly bytes frame
    cdef readonly object route          # a Route: no circle can go through it
    cdef readonly uint64_t number
    cdef readonly uint64_t logged
    cdef readonly double since_s

    def __init__(self, bytes frame not None, route, uint64_t number, uint64_t logged, double since_s):
        self.frame = frame
        self.route = route
        self.number = number
        self.logged = logged
        self.since_s = since_s

    def __repr__(self):
        return f"Item({self.frame!r}, {self.route!r}, {self.number}, {self.logged}, {self.since_s})"


cdef Item new_item(bytes frame, object route, uint64_t number, uint64_t logged, double since_s):
    cdef Item item = Item.__new__(Item)
    item.frame = frame
    item.route = route
    item.number = number
    item.logged = logged
    item.since_s = since_s
    return item


def frame_bytes(list items not None):
    """The bytes of their frames together."""
    cdef Item item
    cdef Py_ssize_t size = 0
    for item in items:
        size += len(item.frame)
    return size


def unlogged_of(list items not None):
    """Those that no log holds."""
    cdef Item item
    return [item for item in items if not item.logged]


# ---- what waits ----

def add_all(waiting, list items not None):
    """Append the items to the deque `waiting`; the bytes of their frames together."""
    waiting.extend(items)
    return frame_bytes(items)


def take_read(waiting, list taken not None, Py_ssize_t limit, Py_ssize_t limit_bytes, double too_old_s,
              uint64_t again_up_to):
    """Take items that were read from the log from the left of the deque `waiting` into `taken`, at most so many, and
    of so many bytes unless it is one; none that came before `too_old_s`, and none up to number `again_up_to`. Returns
    `(bytes, the last one's number in the log)`, 0 and 0 where nothing was taken."""
    cdef Item item
    cdef Py_ssize_t size = 0, more
    cdef uint64_t position = 0
    popleft = waiting.popleft
    while waiting and len(taken) < limit:
        item = waiting[0]
        more = len(item.frame) + RECORD_HEAD_BYTES
        if item.since_s < too_old_s or item.logged <= again_up_to or (taken and size + more > limit_bytes):
            break
        taken.append(popleft())
        size += more
        position = item.logged
    return size, position


def take_queued(waiting, list taken not None, Py_ssize_t limit, Py_ssize_t limit_bytes, double too_old_s,
                uint64_t position):
    """As `take_read` with what has come since, and passing over what is in the log up to `position`. Returns `(bytes,
    new position, what goes from the memory used)`."""
    cdef Item item
    cdef Py_ssize_t size = 0, more, freed = 0
    popleft = waiting.popleft
    while waiting and len(taken) < limit:
        item = waiting[0]
        more = len(item.frame) + RECORD_HEAD_BYTES
        if item.since_s < too_old_s or (taken and size + more > limit_bytes):
            break
        popleft()
        freed += len(item.frame) + FIXED_BYTES
        if item.logged:
            if item.logged <= position:
                continue
            position = item.logged
        taken.append(item)
        size += more
    return size, position, freed


def routes_of(list items not None):
    """The routes of these, each once."""
    cdef Item item
    cdef set found = set()
    last = None
    for item in items:
        if item.route is not last:
            last = item.route
            found.add(last)
    return found


def sets_among(list items not None):
    """The frames of those that are not a PUBLISH by itself."""
    cdef Item item
    return [item.frame for item in items if (<const unsigned char*><char*>item.frame)[KIND_AT] != PUBLISH]


# ---- what is sent ----

def with_routes(list items not None, bint tells_mqtt):
    """Their frames, with a ROUTE before each run of one origin and of consecutive numbers. A number that no ROUTE may
    have, from somebody who says more than it has announced, is none: the neighbour would end this link for it."""
    cdef Item item, first
    cdef uint64_t number
    cdef Py_ssize_t begin = 0, end, step, count = len(items)
    cdef list frames = []
    while begin < count:
        first = items[begin]
        number = first.number if first.number <= _LARGEST_NUMBER else 0
        step = 1 if number else 0
        end = begin + 1
        while end < count and end - begin < _MAX_RUN:
            item = items[end]
            if item.number != first.number + step * (end - begin):
                break
            if item.route is not first.route and item.route != first.route:
                break
            end += 1
        frames.append(_route_frame(first.route, number, end - begin))
        while begin < end:
            item = items[begin]
            begin += 1
            if (<const unsigned char*><char*>item.frame)[KIND_AT] != FEDERATION_SYNC:
                frames.append(item.frame)
            elif tells_mqtt:
                frames.extend(frames_of(item.frame))
            else:
                frames.append(split(item.frame)[1])
    return frames


def deliver(sender, list deliveries not None, bint pressed):
    """`PeerSender.on_deliveries`: send what can go now, offer to the backlog what must arrive. `pressed`: the way to
    the neighbour takes nothing but that."""
    cdef tuple delivery, way
    cdef int kind
    cdef uint64_t number, logged
    cdef bint back = False, offered = False
    cdef list sending = [], written = [], offering = []
    cdef double now_s = sender._wall_s()
    cdef dict known = sender.policies.known
    cdef dict pending = sender._pending
    of, neighbour, port = sender.policies.of, sender.neighbour, sender._port
    backlog, draining = sender.backlog, sender._draining
    logged_route, unlogged_route = sender.logged_route, sender.unlogged_route
    buries = backlog is not None and sender._checkpoints and not sender.versioned
    last_route = None
    for delivery in deliveries:
        address = delivery[1]
        carried = known.get(address, _UNKNOWN)
        if carried is _UNKNOWN:
            carried = of(address)
        if carried is None:
            continue
        route = delivery[3]
        if route is not None:
            if route is not last_route:
                last_route = route
                way = <tuple>route
                back = neighbour == way[0] or neighbour == way[3] or way[2] >= _MAX_HOPS
            if back:
                continue
        kind = delivery[0]
        if kind & QUIET:
            if not pressed:
                sending.append(new_item(delivery[2], unlogged_route, 0, 0, 0))
            elif port is not None:
                pending[address] = (None, 0)
                sender.pump_soon()
            continue
        number, logged = delivery[4], delivery[5]
        if buries:
            if kind == GONE:
                sender._bury(address)
            elif kind == 0 and sender.tombstones:
                sender.tombstones.pop(address, None)
        policy = (<tuple>carried)[kind & ~GONE]
        if policy is _LOG and backlog is not None:
            if sending and draining:
                # In the order in which they came: what has been gathered goes first.
                sender._send(sending, written)
                sending, written = [], []
            frame = delivery[2]
            if kind & ~GONE == 0:
                frame = sender.without_version(frame)
            if route is not None:
                offering.append(new_item(frame, route, number, logged, now_s))
            elif logged:
                offering.append(new_item(frame, logged_route, logged, logged, now_s))
            else:
                offering.append(new_item(frame, unlogged_route, number, 0, now_s))
            offered = draining
            continue
        if offered:
            offered = False
            backlog.offer_all(offering)
            offering = []
            sender._drain()
        if pressed:
            if policy is not _LATEST:
                sender.dropped["away" if port is None else "pressure"] += 1
            elif port is not None:
                pending[address] = (route, kind)
                sender.pump_soon()
            continue
        if route is not None:
            sending.append(new_item(delivery[2], route, number, logged, now_s))
        elif logged:
            sending.append(new_item(delivery[2], logged_route, logged, logged, now_s))
        else:
            sending.append(new_item(delivery[2], unlogged_route, number, 0, now_s))
        if kind & ~GONE == 0:
            if pending:
                pending.pop(address, None)
            written.append(address)
    if offering:
        backlog.offer_all(offering)
    if offered:
        sender._drain()
    if sending:
        sender._send(sending, written)
