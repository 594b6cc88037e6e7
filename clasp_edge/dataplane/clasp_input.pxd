from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stddef cimport size_t

from clasp_edge.dataplane.clasp_sender cimport ClaspSender
from clasp_edge.dataplane.token_bucket cimport TokenBucket


cdef class ClaspInput(ClaspSender):
    cdef public bint greeted            # HELLO was answered: the data plane may act on frames by itself
    cdef public bint paced              # another router: what is beyond its rate waits unread, and is not dropped
    cdef TokenBucket bucket             # what it may send
    cdef uint64_t spared_us             # when a PING above the rate was answered last
    cdef uint64_t complained_us         # when the last ERROR 429 went out
    cdef uint64_t pass_seen
    cdef uint64_t began_us              # of the pass, when it began with what this peer sent
    cdef readonly uint64_t heard_us     # monotonic time of the last inbound bytes
    cdef readonly uint64_t over_rate
    cdef readonly uint64_t held         # how often a router's input was held back for its rate
    cdef uint8_t* deferred              # frames read while the peer does not take its replies, a size before each
    cdef size_t deferred_at             # where the first of them begins
    cdef size_t deferred_end            # 0: there are none
    cdef size_t deferred_room           # which is what is charged for them
    cdef bint input_paused
    cdef bint resuming
    cdef bint yielding                  # what it sends has had its time: the rest waits for its turn
    cdef bint hash_known                # `hash` is that of the address in the frame being handled
    cdef uint32_t hash

    cdef void feed(self, const uint8_t* data, size_t size) noexcept
    cdef void _run_staged(self) noexcept
    cdef void _measure(self) noexcept
    cdef void _turn_over(self) noexcept
    cdef void _take(self, const uint8_t* data, size_t size) noexcept
    cdef bint _defer(self, const uint8_t* data, size_t size) noexcept
    cdef void _forget_deferred(self) noexcept
    cdef bint _holds(self) noexcept
    cdef void end_of_buffer(self) noexcept
    cdef bint _over_rate(self, const uint8_t* data, size_t size) noexcept
    cdef void _handle(self, const uint8_t* data, size_t size) noexcept
