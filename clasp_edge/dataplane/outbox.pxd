from cpython.ref cimport PyObject
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stddef cimport size_t

from clasp_edge.dataplane.account cimport Holding
from clasp_edge.dataplane.arena cimport Arena, Queue

cdef enum:
    HEADROOM = 16       # writable bytes before every outgoing frame, for the transport's own header


cdef enum:
    JOBS_AT_ONCE = 16   # snapshots and replays in progress per peer; more wait as unread input


cdef enum:
    SLICE_US = 2000     # of work in parts (snapshots, scans, bundles) in each round of the loop, of all together


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


cdef struct Delivery:
    uint8_t* frame      # HEADROOM writable bytes lie before it; NULL: made when somebody wants it (Plane._frame)
    size_t size
    uint64_t seq        # the table's change counter (params only)
    PyObject* origin    # the Sink that wrote; borrowed
    int signal          # wire.md 5.1; PARAM only where a param was changed: a PUBLISH of that signal comes as an event
    int loss
    # For sinks that do not speak CLASP (Sink.native):
    uint64_t serial             # differs from that of every other message
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


cdef class Core:
    cdef readonly Arena arena
    cdef public object loop
    cdef public size_t high_water       # bytes of an outbox above which a blocked peer is under pressure
    cdef public size_t event_backlog    # bytes that events may take on top of it
    cdef uint64_t wall_us               # clock readings of the current pass
    cdef uint64_t mono_us
    cdef bint in_pass
    cdef list adapters                  # that consumed something in this pass
    cdef object waiting                 # parties with work in parts, in turns; each has `resume`
    cdef bint heavy                     # something was done that takes longer than a plain message
    cdef bint round_due                 # `run_round` is scheduled
    cdef uint64_t measured_us           # how long the pass had lasted when its time was last charged
    cdef uint64_t slice_ends_us         # when work in parts has to stop for this round of the loop (monotonic)
    cdef PyObject** dirty               # outboxes with unsent bytes; owned references
    cdef size_t dirty_count
    cdef size_t dirty_room
    cdef readonly uint64_t passes
    cdef void* last_reader              # whose read the last pass was, and how often in a row it was somebody else's
    cdef uint64_t last_read_us
    cdef int alternations
    cdef bint gathering                 # several peers are busy: write once per round of the loop
    cdef bint gather_scheduled
    cdef int gathered                   # passes since the last common write
    cdef int lonely                     # common writes in a row that served one pass only
    cdef readonly uint64_t sent_bytes
    cdef readonly uint64_t dropped_events
    cdef readonly uint64_t dropped_streams
    cdef readonly uint64_t conflated_params
    cdef readonly uint64_t over_rate        # messages that clients sent above their rate

    cdef void tick(self) noexcept
    cdef void _run_adapters(self) noexcept
    cdef inline void begin(self) noexcept:
        if not self.in_pass:
            self.in_pass = True
            self.passes += 1
            self.tick()
            self.heavy = False
            self.measured_us = 0
            if not self.round_due:
                self.slice_ends_us = self.mono_us + SLICE_US
    cdef void open_round(self) noexcept
    cdef bint is_slice_over(self) noexcept
    cdef uint64_t elapsed_us(self) noexcept
    cdef void finish(self) noexcept
    cdef void end_read(self, void* reader) noexcept
    cdef void mark_dirty(self, Outbox outbox) noexcept

    cdef inline size_t mark(self) noexcept:
        # Dynamic threshold: nobody may hold more than half of what is left, so the arena never runs dry by one peer.
        cdef size_t share = self.arena.free_bytes() >> 1
        return self.high_water if self.high_water < share else share


cdef class Sink:
    cdef public object scopes           # security.Scopes, or None: everything is allowed
    cdef public Holding holding         # what is kept for it, on its principal's account; None for our own parts
    cdef readonly uint32_t writer       # index in the plane's table of writers; 0 until registered
    cdef uint64_t fan_index             # used while a fan-out is built
    cdef bint native                    # wants no CLASP frame
    cdef bint is_link                   # is told of versions
    cdef public object route            # where what it writes at present came from, for other routers; None: from here
    cdef public int loop_mark           # of the write under way: 1 a device's answer to what it was told, 2 loop's end
    cdef public bint reserved          # the router itself, which alone writes below /clasp-edge/
    cdef public uint64_t number         # of the write under way, as the router of origin counts; 0: it has none
    cdef public bytes way               # `route` as the journal keeps it, of at most 200 bytes; None: not at all
    cdef public bytes author            # whom the log names, at most 64 bytes; None: the writer's name
    cdef void deliver(self, Delivery* delivery) noexcept


cdef class Outbox(Sink):
    cdef readonly Core core
    cdef int fd
    cdef object stream                  # takes the bytes in place of a socket; None where there is one
    cdef public size_t room             # bytes that `stream` takes at present
    cdef int watched_fd                 # duplicate of fd while the loop watches it for room
    cdef Queue out
    cdef Queue backlog                  # streams held back: records of u32 size + bytes
    cdef bint is_dirty
    cdef readonly bint blocked          # the socket took less than we had
    cdef readonly bint pressed          # blocked and over the mark
    cdef readonly bint dead
    cdef public bint audited            # an administrator: what it writes is told to `on_audited`
    cdef public uint64_t unaudited      # writes that were not told yet
    cdef uint64_t audit_due_us
    cdef bint silent                    # the last word is queued
    cdef bint converging
    cdef bint filling
    cdef bint resume_due                # `resume` is scheduled
    cdef Queue held_now                 # replies that wait for a commit of the journal, and those for the one after it
    cdef Queue held_next
    cdef uint64_t wrote_in              # epoch of the journal in which the peer last wrote
    cdef uint64_t cursor                # change counter up to which params have been delivered, while converging
    cdef bytes held                     # what the first job yielded and the arena had no room for
    cdef bint wanting                   # `more` has something to send when there is room
    cdef list jobs                      # iterators of wire images, pulled as the socket takes them
    cdef readonly uint64_t progress_us  # when the socket last took something (monotonic)
    cdef readonly uint64_t sent_bytes
    cdef readonly uint64_t dropped_events
    cdef readonly uint64_t dropped_streams
    cdef readonly uint64_t conflated_params
    cdef readonly uint64_t untold_drops

    cdef void push(self, const uint8_t* data, size_t size, Delivery* delivery) noexcept
    cdef bint reply(self, const uint8_t* data, size_t size) noexcept
    cdef void flush(self) noexcept
    cdef ssize_t _write_stream(self) noexcept
    cdef void fill(self) noexcept
    cdef void _under_pressure(self, const uint8_t* data, size_t size, Delivery* delivery) noexcept
    cdef void _hold_back(self, const uint8_t* data, size_t size) noexcept
    cdef size_t _drop_held(self) noexcept
    cdef void _pull_jobs(self, size_t limit) noexcept
    cdef uint64_t last_change(self) noexcept
    cdef void catch_up(self, size_t limit) noexcept
    cdef void more(self, size_t limit) noexcept
    cdef void drained(self) noexcept
    cdef void answer_now(self) noexcept
    cdef void _resume_later(self, double delay_s) noexcept
    cdef void _die(self) noexcept
    cdef void _watch(self) noexcept
    cdef void _unwatch(self) noexcept
    cdef void audit(self, const uint8_t* address, size_t size) noexcept
