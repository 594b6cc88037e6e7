from cpython.ref cimport PyObject
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stddef cimport size_t

from clasp_edge.dataplane.account cimport Holding

cdef enum:
    HEADROOM = 16       # writable bytes before every outgoing frame, for the transport's own header


cdef enum Loss:         # what may happen to a delivery under pressure (architecture.md 5)
    CONVERGES = 0       # params: the newest value arrives in the end
    BOUNDED = 1         # events, timelines, gesture edges: queued up to a bound, then dropped and told
    OLDEST_FIRST = 2    # streams, gesture moves


cdef enum:
    NO_EXPIRY = 0xFFFFFFFF


cdef struct Raw:                # a message as an MQTT client published it
    const uint8_t* payload
    size_t payload_size
    const uint8_t* properties   # encoded: those that are passed on, without the expiry
    size_t properties_size
    uint32_t expiry_s           # or NO_EXPIRY
    uint8_t qos
    bint retain
    bint exact                  # the typed value alone gives the payload back, and there are no properties
    bint unread                 # of a write under way: its value is not made yet, as nobody may want it


cdef struct Delivery:
    # HEADROOM writable bytes lie before it. NULL: of an event, made when somebody wants it (Routing._frame); of a
    # param, nobody does (Params._stays_unread), or it was cleared and was none.
    uint8_t* frame
    size_t size
    uint64_t seq        # the table's change counter (params only)
    PyObject* origin    # the Sink that wrote; borrowed
    int signal          # wire.md 5.1; PARAM only where a param was changed: a PUBLISH of that signal comes as an event
    int loss
    # For sinks that do not speak CLASP (Sink.native):
    uint64_t serial             # differs from that of every other message
    uint64_t logged             # its number in the journal's log; 0: it has none
    const uint8_t* address
    size_t address_size
    const uint8_t* value        # after its type byte; may be followed by other bytes. NULL: no value
    size_t value_room           # bytes up to the end of what may belong to the value
    int value_type
    Raw* raw                    # NULL unless it came by MQTT
    bint gone                   # the param was cleared
    # For links to routers that know versions (state.pxd):
    bint quiet                  # nothing that a client is told of; `frame` is NULL
    bint tell                   # of what is quiet: not only for the digest
    uint64_t hlc
    uint64_t rank
    uint64_t base               # of a SET: the hlc of the state that it is a change of, and of no other; 0: of any
    uint64_t delta              # what changes in a digest; 0: nothing
    uint32_t entry_id
    uint32_t bucket
    # Of the receiving target:
    uint32_t options
    PyObject* extra


cdef class Sink:
    cdef public object scopes           # security.Scopes, or None: everything is allowed
    cdef public Holding holding         # what is kept for it, on its principal's account; None for our own parts
    cdef readonly uint32_t writer       # index in the plane's table of writers; 0 until registered
    cdef uint64_t fan_index             # used while a fan-out is built
    cdef bint native                    # wants no CLASP frame
    cdef bint takes_raw                 # nor anything else but `raw` of what came by MQTT
    cdef bint is_link                   # is told of versions
    cdef public object route            # where what it writes at present came from, for other routers; None: from here
    cdef public int loop_mark           # of the write under way: 1 a device's answer to what it was told, 2 loop's end
    cdef public bint reserved          # the router itself, which alone writes below /clasp-edge/
    cdef public uint64_t number         # of the write under way, as the router of origin counts; 0: it has none
    cdef public bytes way               # `route` as the journal keeps it, of at most 200 bytes; None: not at all
    cdef public bytes author            # whom the log names, at most 64 bytes; None: the writer's name
    cdef void deliver(self, Delivery* delivery) noexcept


cdef inline void begin_delivery(Delivery* delivery, Sink origin, int signal, int loss) noexcept:
    """A delivery with nothing in it yet; the caller adds the address, and what there is."""
    delivery.frame = NULL
    delivery.size = 0
    delivery.seq = 0
    delivery.signal = signal
    delivery.loss = loss
    delivery.origin = <PyObject*>origin
    delivery.serial = 0
    delivery.logged = 0
    delivery.value = NULL
    delivery.value_room = 0
    delivery.value_type = 0
    delivery.raw = NULL
    delivery.gone = delivery.quiet = delivery.tell = False
    delivery.hlc = delivery.rank = delivery.base = delivery.delta = 0
