"""Subscriptions indexed by the segments of their patterns, and the fan-out list of an address.

The walk follows the same rules as `wire.pattern.Pattern.matches` (wire.md 4.2, `route`); a partial wildcard is followed
as `*` and then verified by the pattern itself, and a pattern with `**` in the middle is found by what stands before it
and verified likewise. Fan-out lists are shared: addresses with the same audience use one list.
"""

from weakref import WeakSet

from cpython.bytes cimport PyBytes_FromStringAndSize
from cpython.dict cimport PyDict_Next
from libc.string cimport memset

from clasp_edge.dataplane.reserved import ONLY_BY_NAME

cdef uint8_t ALL_SIGNALS = 0x1F

cdef bytes _only_by_name = ONLY_BY_NAME

cdef enum:
    PRUNE_FROM = 64     # fan-out lists; with fewer, unused ones are not worth a search
    FANOUT_BYTES = 300  # what a list takes beside its targets, and beside its place
    FILTER_BYTES = 150  # for each filter in it: from the filter to the list there is a way, too
    EXTRA_BYTES = 50
    CHANGES = 64        # patterns of the last changes, against which a cached fan-out is checked
    MANY_EXTRAS = 1024
    AUDIENCES = 8       # of which it is remembered what list they have

# What subscriptions take, as measured with CPython 3.11 (an estimate, and not less than that by more than a fifth): a
# node with one child; a subscription with its places in the trie and at its sink; a pattern, its text (which it has up
# to three times), its segments.
cdef enum:
    NODE_BYTES = 310
    SUBSCRIPTION_BYTES = 350
    PATTERN_BYTES = 250
    BYTES_PER_TEXT_BYTE = 3
    SEGMENT_BYTES = 60

cdef enum:              # how a subscription hangs on the node that its pattern leads to
    HERE = 0            # for addresses that end there
    BELOW = 1           # for those that go on as well: the pattern ends in `**`
    WALKED = 2          # for those that the pattern, with a `**` in the middle, matches when asked


cdef class Subscription:
    """One subscription of a sink. `mask` has bit 1 << signal for each wanted signal type; `filter`, if any, thins out
    what is delivered (an object with `offer(address, signal, frame)`). `options` (trie.pxd, Option) and `identifier`
    mean something to MQTT sinks only."""

    def __cinit__(self, Sink sink not None, uint32_t id, Pattern pattern not None, uint8_t mask, filter=None,
                  uint32_t options=0, uint32_t identifier=0):
        self.sink = sink
        self.id = id
        self.pattern = pattern
        self.mask = mask & ALL_SIGNALS or ALL_SIGNALS
        self.filter = filter
        self.options = options
        self.identifier = identifier


cdef bytes _identifiers(list numbers):
    """Subscription identifier properties (MQTT 5.0, 3.3.2.3.8)."""
    out = bytearray()
    for number in numbers:
        out.append(0x0B)
        while number > 0x7F:
            out.append(number & 0x7F | 0x80)
            number >>= 7
        out.append(number)
    return bytes(out)


cdef class Fanout:
    """Who gets the messages of an address. Valid for the trie's generation it was made in, and for later ones as far as
    no pattern that matches the address came or went (`Trie.holds`)."""

    def __len__(self):
        return self.count


cdef bytes _pointers(list subscriptions):
    """What these are known by for as long as no subscription comes or goes."""
    cdef Py_ssize_t i
    cdef bytes found = PyBytes_FromStringAndSize(NULL, len(subscriptions) * sizeof(PyObject*))
    cdef PyObject** pointers = <PyObject**><char*>found
    for i in range(len(subscriptions)):
        pointers[i] = <PyObject*>subscriptions[i]
    return found


cdef _let_go(fans):
    cdef Fanout fan
    for fan in fans:
        fan.filters = None


cdef class Node:
    def __cinit__(self):
        self.children = {}

    cdef bint empty(self):
        return not (self.children or self.one is not None or self.here or self.below or self.walked)

    cdef dict place(self, int kind):
        """The subscriptions of this kind; a dict, because a session with many of them must go in no time."""
        if kind == HERE:
            if self.here is None:
                self.here = {}
            return self.here
        if kind == BELOW:
            if self.below is None:
                self.below = {}
            return self.below
        if self.walked is None:
            self.walked = {}
        return self.walked


cdef tuple _placed(Pattern pattern):
    """The segments that lead to a pattern's node, and how it hangs there.

    A `**` in the middle ends the way: following it from every position of an address, for every pattern that has one,
    would be work that one client can make enormous. Such a pattern is asked itself, which takes microseconds."""
    cdef tuple segments = pattern.segments
    cdef Py_ssize_t end = len(segments)
    while end and segments[end - 1] == b"**":
        end -= 1
    way = segments[:end]
    if b"**" in way:
        return way[:way.index(b"**")], WALKED
    return way, HERE if end == len(segments) else BELOW


cdef Py_ssize_t _bytes_of(Pattern pattern):
    """What a subscription takes beside the nodes of the trie."""
    return (SUBSCRIPTION_BYTES + PATTERN_BYTES + BYTES_PER_TEXT_BYTE * len(pattern.text)
            + SEGMENT_BYTES * len(pattern.segments) + len(pattern._program) + len(pattern._classes))


def subscription_bytes(Pattern pattern not None):
    """What a subscription with this pattern takes at most: with all nodes of the trie that lead to it."""
    return _bytes_of(pattern) + NODE_BYTES * len(pattern.segments)


def node_bytes():
    """What one node of the trie takes."""
    return NODE_BYTES


cdef class Trie:
    """All subscriptions of the router: `size` of them, on `nodes` nodes, in about `memory_bytes`. Every change raises
    `generation`, which outdates the cached fan-outs of the addresses that it is about. `partial_cost` is the sum of
    what matching takes (`Pattern.cost`)."""

    def __cinit__(self):
        self.root = Node()
        self.interned = {}
        self.filtered = {}
        self.prune_at = PRUNE_FROM
        self.extras = {}
        self.audiences = {}
        self.generation = 1
        self.changes = []
        self.changed_from = 1

    def add(self, Subscription subscription not None):
        cdef Node node = self.root
        cdef Node child
        segments, kind = _placed(subscription.pattern)
        for segment in segments:
            if b"*" in segment:
                if node.one is None:
                    node.one = Node()
                    self.nodes += 1
                node = node.one
            else:
                child = node.children.get(segment)
                if child is None:
                    child = node.children[segment] = Node()
                    self.nodes += 1
                node = child
        node.place(kind)[subscription] = None
        self.size += 1
        self.subscription_bytes += _bytes_of(subscription.pattern)
        self.partial_cost += subscription.pattern.cost
        self._note(subscription)

    def discard(self, Subscription subscription not None):
        """Take the subscription out, and every node that held nothing else."""
        cdef Node node = self.root
        cdef Node parent
        cdef list path = []
        segments, kind = _placed(subscription.pattern)
        for segment in segments:
            path.append((node, segment))
            node = node.one if b"*" in segment else node.children.get(segment)
            if node is None:
                return
        if subscription not in node.place(kind):
            return
        del node.place(kind)[subscription]
        self.size -= 1
        self.subscription_bytes -= _bytes_of(subscription.pattern)
        self.partial_cost -= subscription.pattern.cost
        for parent, segment in reversed(path):
            if not node.empty():
                break
            node = parent
            self.nodes -= 1
            if b"*" in segment:
                node.one = None
            else:
                del node.children[segment]
        if subscription.filter is not None:
            # Entries keep outdated lists until they are written again: those must not keep the filter alive.
            _let_go(self.filtered.pop(subscription.filter, ()))
        self._note(subscription)

    cdef _note(self, Subscription subscription):
        """What was cached for the addresses of this subscription is outdated."""
        self.generation += 1
        self.changes.append(subscription.pattern)
        if len(self.changes) > CHANGES:
            del self.changes[:CHANGES // 2]
            self.changed_from += CHANGES // 2

    cdef bint holds(self, bytes address, uint64_t generation) except -1:
        """Whether the fan-out that `address` had in an earlier generation is still right: nobody's coming and going
        may have all the others' lists made anew."""
        cdef Pattern pattern
        if generation < self.changed_from:
            return False
        for pattern in self.changes[generation - self.changed_from:]:
            if pattern.matches(address):
                return False
        return True

    @property
    def memory_bytes(self):
        """Memory that all subscriptions take, about."""
        return self.subscription_bytes + self.nodes * NODE_BYTES

    def invalidate(self):
        """Outdate every cached fan-out (scopes changed)."""
        self.extras.clear()
        self.generation += 1
        self.changes.clear()
        self.changed_from = self.generation
        for fans in self.filtered.values():
            _let_go(fans)
        self.filtered.clear()

    def matching(self, bytes address not None):
        """The subscriptions whose pattern matches `address`, in no particular order. Below ONLY_BY_NAME a pattern
        matches nothing but itself."""
        cdef list found = []
        cdef list asked = []
        cdef list matching = []
        cdef Subscription subscription
        self._walk(self.root, address.split(b"/")[1:], 0, found, asked)
        for subscription in found:
            if not subscription.pattern.partial or subscription.pattern.matches(address):
                matching.append(subscription)
        for subscription in asked:
            if subscription.pattern.matches(address):
                matching.append(subscription)
        if address.startswith(_only_by_name):
            return [subscription for subscription in matching if subscription.pattern.text == address]
        return matching

    cdef _walk(self, Node node, list segments, Py_ssize_t at, list found, list asked):
        cdef Node child
        if node.below:
            found.extend(node.below)
        if node.walked:
            asked.extend(node.walked)
        if at == len(segments):
            if node.here:
                found.extend(node.here)
            return
        child = node.children.get(segments[at])
        if child is not None:
            self._walk(child, segments, at + 1, found, asked)
        if node.one is not None:
            self._walk(node.one, segments, at + 1, found, asked)

    cdef Fanout fan_out(self, bytes address):
        """The fan-out list of `address`: one target per sink, and one more for each of its filters."""
        cdef Subscription subscription
        cdef Fanout fan
        cdef dict by_sink = {}
        cdef dict native = {}
        cdef Py_ssize_t i
        found = self._audience(address)
        audience = _pointers(found)
        fan = self._known(audience)
        if fan is not None:
            return fan
        for subscription in found:
            plain, filters = by_sink.get(subscription.sink, (0, ()))
            if subscription.filter is None:
                plain |= subscription.mask
            else:
                filters += (subscription,)
            by_sink[subscription.sink] = (plain, filters)
            if subscription.sink.native:
                native[subscription.sink] = _joined(native.get(subscription.sink), subscription)
        fan = Fanout.__new__(Fanout)
        fan.filters = []
        fan.size = FANOUT_BYTES
        # At most: what goes to the sink as it comes, and each of its filters.
        count = sum([1 + len(filters) for _, filters in by_sink.values()])
        fan.key = PyBytes_FromStringAndSize(NULL, count * sizeof(Target))
        fan.targets = <Target*><char*>fan.key       # ours alone until it is a key
        memset(fan.targets, 0, count * sizeof(Target))
        i = 0
        for sink, (plain, filters) in by_sink.items():
            taken = plain
            if plain or not filters:
                fan.targets[i].sink = <PyObject*>sink
                fan.targets[i].plain = plain
                if sink in native:
                    fan.targets[i].native = True
                    fan.targets[i].takes_raw = (<Sink>sink).takes_raw
                    options, identifiers = native[sink]
                    fan.targets[i].options = _own_apart(options)
                    if identifiers:
                        extra = _identifiers(list(identifiers))
                        # The same object for the same identifiers, so that lists can be shared.
                        if len(self.extras) >= MANY_EXTRAS:
                            self.extras.clear()
                            self.audiences.clear()      # their keys name identifiers by where they are
                        extra = self.extras.setdefault(extra, extra)
                        fan.filters.append(extra)
                        fan.size += EXTRA_BYTES + len(<bytes>extra)
                        fan.targets[i].extra = <PyObject*>extra
                i += 1
            for subscription in filters:
                # One copy per session: a signal that one subscription delivers is not delivered again by the next.
                wanted = subscription.mask & ~taken
                if not wanted:
                    continue
                taken |= wanted
                fan.targets[i].sink = <PyObject*>sink
                fan.targets[i].filter = <PyObject*>subscription.filter
                fan.targets[i].filtered = wanted
                fan.filters.append(subscription.filter)
                fan.size += FILTER_BYTES
                i += 1
        fan.count = i
        fan.takes_raw = True
        for i in range(fan.count):
            fan.takes_raw = fan.takes_raw and fan.targets[i].takes_raw != 0
        i = fan.count
        if i < count:
            fan.key = fan.key[:i * sizeof(Target)]
            fan.targets = <Target*><char*>fan.key
        fan.size += i * sizeof(Target)
        fan = self._shared(fan)
        self.audiences[audience] = fan.key
        return fan

    cdef list _audience(self, bytes address):
        """The subscriptions that match, of those who may read this."""
        cdef Subscription subscription
        cdef list found = []
        for subscription in self.matching(address):
            if subscription.sink.scopes is None or subscription.sink.scopes.allows("read", address):
                found.append(subscription)
        return found

    cdef Fanout _known(self, bytes audience):
        """The list that an address with these subscriptions has got lately: hundreds of new addresses may come at
        once, and each list is made of hundreds of subscriptions."""
        cdef Fanout known
        if self.audience_generation != self.generation or len(self.audiences) >= AUDIENCES:
            self.audiences.clear()
            self.audience_generation = self.generation
        key = self.audiences.get(audience)
        if key is None:
            return None
        known = self.interned.get(key)
        return known if known is not None and known.filters is not None else None

    cdef Fanout _shared(self, Fanout fan):
        """The list that others with the same targets use already, or this one, for others to come.

        Also from earlier generations, or a hundred thousand addresses would end up with a list each when subscriptions
        come and go: a list is nothing but its targets, and those are the same ones."""
        cdef Fanout known = <Fanout>self.interned.get(fan.key)
        if known is None:
            if len(self.interned) >= self.prune_at:
                self.prune()
            self.interned[fan.key] = known = fan
            self.fan_bytes += fan.size
        elif known.filters is None:
            known.filters = fan.filters
        else:
            return known
        for item in fan.filters:
            if not isinstance(item, bytes):
                fans = self.filtered.get(item)
                if fans is None:
                    fans = self.filtered[item] = WeakSet()
                fans.add(known)
        return known

    cdef void let_go(self, Fanout fan):
        """The caller's reference to the list is the last one beside the trie's own, or there are others."""
        if (<PyObject*>fan).ob_refcnt <= 2 and self.interned.pop(fan.key, None) is not None:
            self.fan_bytes -= fan.size

    cdef prune(self):
        """Let go of the lists that no entry uses."""
        cdef PyObject* key
        cdef PyObject* fan
        cdef Py_ssize_t at = 0
        cdef list unused = []
        while PyDict_Next(self.interned, &at, &key, &fan):
            if fan.ob_refcnt == 1:
                unused.append(<object>key)
        for text in unused:
            self.fan_bytes -= (<Fanout>self.interned.pop(text)).size
        # So that each list is looked at a few times in its life, however many there are.
        self.prune_at = max(PRUNE_FROM, 2 * len(self.interned))


def _joined(known, Subscription subscription):
    """`(options, identifiers)` of one sink's subscriptions that match the same address: one copy is delivered, at the
    highest QoS of them [MQTT-3.3.4-2], with the identifiers of all [MQTT-3.3.4-4]. For what the sink itself published
    only those count that do not refuse it [MQTT-3.8.3-3]; their options are kept OPTION_OWN_SHIFT bits further up."""
    added = (subscription.identifier,) if subscription.identifier else ()
    options = subscription.options
    if not options & OPTION_NO_LOCAL:
        options |= options << OPTION_OWN_SHIFT
    if known is None:
        return options, added
    before, identifiers = known
    joined = before & options & OPTION_NO_LOCAL
    for shift in (0, OPTION_OWN_SHIFT):
        qos = max(before >> shift & OPTION_QOS, options >> shift & OPTION_QOS)
        joined |= (qos | (before | options) >> shift & OPTION_RETAIN_AS_PUBLISHED) << shift
    return joined, identifiers + added


def _own_apart(options):
    """The options a target carries: those for what its sink published itself only where they differ."""
    general, own = options & (1 << OPTION_OWN_SHIFT) - 1, options >> OPTION_OWN_SHIFT
    if general & OPTION_NO_LOCAL or general == own:
        return general
    return options | OPTION_OWN_APART
