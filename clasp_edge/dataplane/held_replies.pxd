from libc.stdint cimport uint8_t, uint64_t
from libc.stddef cimport size_t

from clasp_edge.dataplane.arena cimport Queue
from clasp_edge.dataplane.core cimport Core
from clasp_edge.dataplane.outbox cimport Outbox


cdef class HeldReplies:
    cdef Core core
    cdef readonly bint failing          # the last commit could not be done
    cdef readonly uint64_t durable      # what was written in an epoch below this one is stored
    cdef list waiting                   # peers whose replies wait for what is collected next
    cdef list covered                   # peers whose replies wait for the commit under way

    cdef bint hold(self, Outbox peer, const uint8_t* data, size_t size, bint confirms) noexcept
    cdef bint hold_delivery(self, Outbox peer, const uint8_t* data, size_t size) noexcept
    cdef void _wake(self) noexcept
    cdef void _due(self)
    cdef void _confirm(self)
    cdef void _put_back(self)
    cdef void _release(self, Outbox peer, Queue* queue, size_t size) noexcept
    cdef void _wait_on(self, Outbox peer)
