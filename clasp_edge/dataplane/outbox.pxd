from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stddef cimport size_t

from clasp_edge.dataplane.arena cimport Queue
from clasp_edge.dataplane.core cimport Buffered, Core
from clasp_edge.dataplane.sink cimport Delivery

cdef enum:
    JOBS_AT_ONCE = 16   # snapshots and replays in progress per peer; more wait as unread input


cdef class Outbox(Buffered):
    cdef readonly Core core
    cdef int fd
    cdef object stream                  # takes the bytes in place of a socket; None where there is one
    cdef public size_t room             # bytes that `stream` takes at present
    cdef int watched_fd                 # duplicate of fd while the loop watches it for room
    cdef Queue out
    cdef Queue backlog                  # streams held back: records of u32 size + bytes
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
    cdef Queue withheld                 # confirmations that wait for another router; all else may overtake them
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
    cdef inline bint put(self, const uint8_t* data, size_t size) noexcept:
        # Where that leaves as much to the other peers: however many do not read, those that do have room for what is
        # said to them.
        return self.core.arena.leaves(self.out.size + size) and self.core.arena.append(&self.out, data, size)
    cdef bint reply(self, const uint8_t* data, size_t size) noexcept
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
    cdef bint answer_now(self) noexcept
    cdef void _resume_later(self, double delay_s) noexcept
    cdef void _die(self) noexcept
    cdef void _watch(self) noexcept
    cdef void _unwatch(self) noexcept
    cdef void audit(self, const uint8_t* address, size_t size) noexcept
