from cpython.ref cimport PyObject
from libc.stdint cimport uint64_t
from libc.stddef cimport size_t

from clasp_edge.dataplane.arena cimport Arena
from clasp_edge.dataplane.sink cimport Sink

cdef enum:
    SLICE_US = 2000     # of work in parts (snapshots, scans, bundles) in each round of the loop, of all together


cdef class Buffered(Sink):
    cdef bint is_dirty                  # among those that are written to at the end of the pass
    cdef void flush(self) noexcept


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
    cdef void mark_dirty(self, Buffered outbox) noexcept

    cdef inline size_t mark(self) noexcept:
        # Dynamic threshold: nobody may hold more than half of what is left, so the arena never runs dry by one peer.
        cdef size_t share = self.arena.share() >> 1
        return self.high_water if self.high_water < share else share
