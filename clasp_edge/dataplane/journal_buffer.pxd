from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stddef cimport size_t

from clasp_edge.dataplane.blocks cimport BlockBuffer, Stream
from clasp_edge.dataplane.core cimport Core
from clasp_edge.dataplane.held_replies cimport HeldReplies
from clasp_edge.dataplane.logged_payload cimport Logged
from clasp_edge.dataplane.messages cimport Write
from clasp_edge.dataplane.sink cimport Raw, Sink
from clasp_edge.dataplane.table cimport Entry, Table


cdef class JournalBuffer(HeldReplies):
    cdef Table table
    cdef list writer_texts
    cdef public object owner
    cdef readonly bint strict
    cdef public int signals             # 1 << signal for each kind that the log keeps
    cdef public double ration           # bytes a second that one principal may have logged, 0 = as many as it likes
    cdef readonly uint64_t rationed     # records dropped for it
    cdef public bint whole_messages     # what MQTT clients publish is logged with its own bytes
    cdef bint woken                     # the owner knows that there is something
    cdef readonly Stream log
    cdef readonly Stream state
    cdef BlockBuffer filling            # log records since the last `collect`
    cdef BlockBuffer stored             # those that the writer thread is storing
    cdef BlockBuffer images             # params, likewise
    cdef bint in_flight
    cdef bint again                     # what is in `stored` could not be stored yet
    cdef uint32_t last_writer
    cdef bytes last_way                 # of the last record, where it came from another router; its number there
    cdef bytes last_author
    cdef uint64_t last_way_number
    cdef uint32_t* dirty                # ids of params that changed since they were last collected
    cdef size_t dirty_count
    cdef size_t dirty_room
    cdef uint8_t* gone                  # addresses of params that are no more: u16 size + bytes
    cdef size_t gone_used
    cdef size_t gone_room
    cdef readonly bint incomplete       # what is stored lacks changes: everything has to be written again
    cdef uint32_t rewriting             # id up to which a rewriting of everything has come, 0 = none under way
    cdef uint64_t rewrite_from          # the state block that it began with
    cdef readonly uint64_t rewrite_before   # bytes of state blocks before it
    cdef readonly bint repairing        # ... and until it is complete, the store lacks changes
    cdef uint64_t oldest_us             # monotonic time of the first change since the last `collect`
    cdef readonly uint64_t kept         # log records
    cdef readonly uint64_t last_number  # the log record of the write under way, 0 = it has none
    cdef readonly uint64_t lost         # log records that found both buffers full
    cdef readonly uint64_t epoch        # counts `collect`s that left nothing behind
    cdef bint covering                  # the batch under way left nothing behind

    cdef uint64_t changed(self, Entry* entry, const uint8_t* frame, size_t size, Sink origin, const Raw* raw,
                          const Write* write) noexcept
    cdef uint64_t published(self, Entry* entry, const uint8_t* frame, size_t size, int signal, Sink origin,
                            const Raw* raw) noexcept
    cdef bint logs(self, Entry* entry, int signal) noexcept
    cdef void prolonged(self, Entry* entry) noexcept
    cdef void forgotten(self, Entry* entry) noexcept
    cdef void _select(self, Entry* entry) noexcept
    cdef void _mark(self, Entry* entry) noexcept
    cdef void _full(self) noexcept
    cdef void _append_unread(self, Entry* entry, Logged* unread, int signal, Sink origin, const Raw* raw) noexcept
    cdef void _append(self, const uint8_t* frame, size_t size, int signal, Sink origin, const Raw* raw,
                      const Logged* unread) noexcept
    cdef bint _image(self, Entry* entry) noexcept
    cdef bint _gone_images(self) noexcept
    cdef void _repair(self) noexcept
    cpdef void rewrite(self) noexcept
    cpdef void mark_incomplete(self) noexcept
