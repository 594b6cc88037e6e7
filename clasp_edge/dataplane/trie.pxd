from cpython.ref cimport PyObject
from libc.stdint cimport uint8_t, uint32_t, uint64_t

from clasp_edge.dataplane.sink cimport Sink
from clasp_edge.wire.pattern cimport Pattern

cdef class Subscription:
    cdef readonly Sink sink
    cdef readonly uint32_t id
    cdef readonly Pattern pattern
    cdef readonly uint8_t mask
    cdef readonly object filter
    cdef readonly uint32_t options      # for native sinks: Option bits
    cdef readonly uint32_t identifier   # for native sinks: MQTT subscription identifier, 0 = none


cdef enum Option:           # of an MQTT subscription, as a target carries them
    OPTION_QOS = 3
    OPTION_NO_LOCAL = 4
    OPTION_RETAIN_AS_PUBLISHED = 8
    OPTION_OWN_APART = 16   # what the sink itself published goes by the options OPTION_OWN_SHIFT bits further up
    OPTION_OWN_SHIFT = 8
    # One of a group gets it: who that is stands in no log.
    OPTION_SHARED = 1 << 20


cdef struct Target:
    PyObject* sink          # borrowed: a fan-out is used only while its generation is the trie's
    PyObject* filter        # borrowed from Fanout.filters, or NULL
    PyObject* extra         # borrowed from Fanout.filters, or NULL: encoded subscription identifiers (bytes)
    uint32_t options
    bint native             # the sink wants no CLASP frame
    uint8_t takes_raw       # nor a value, of what came by MQTT
    uint8_t plain           # signals delivered as they come
    uint8_t filtered        # signals that go through `filter` first


cdef class Fanout:
    cdef bytes key          # the targets, as which the trie knows the list
    cdef Target* targets    # in `key`
    cdef Py_ssize_t count
    cdef Py_ssize_t size    # bytes that the list takes
    cdef bint takes_raw     # all of them do
    cdef list filters
    cdef object __weakref__


cdef class Node:
    cdef dict children
    cdef Node one           # `*` and segments with a partial wildcard
    cdef dict here          # subscriptions as keys: to be found, taken out and kept in order at no cost
    cdef dict below
    cdef dict walked

    cdef bint empty(self)
    cdef dict place(self, int kind)


cdef class Trie:
    cdef Node root
    cdef dict interned      # fan-out lists by their targets, for all entries to share
    cdef readonly Py_ssize_t fan_bytes      # that these take
    cdef dict extras        # encoded subscription identifiers of this generation, by themselves
    cdef dict audiences     # keys of `interned` by the subscriptions (_pointers) they are made of, in one generation
    cdef uint64_t audience_generation
    cdef dict filtered      # by filter: the lists that it is in
    cdef list changes       # patterns of the subscriptions that came or went, the first of them after `changed_from`
    cdef uint64_t changed_from
    cdef Py_ssize_t prune_at
    cdef readonly uint64_t generation
    cdef readonly Py_ssize_t size
    cdef readonly Py_ssize_t nodes
    cdef readonly Py_ssize_t partial_cost
    cdef Py_ssize_t subscription_bytes

    cdef _note(self, Subscription subscription)
    cdef bint holds(self, bytes address, uint64_t generation) except -1
    cdef Fanout fan_out(self, bytes address)
    cdef list _audience(self, bytes address)
    cdef Fanout _known(self, bytes audience)
    cdef Fanout _shared(self, Fanout fan)
    cdef void let_go(self, Fanout fan)
    cdef prune(self)
    cdef _walk(self, Node node, list segments, Py_ssize_t at, list found, list asked)
