from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.stddef cimport size_t

from clasp_edge.dataplane.outbox cimport Outbox
from clasp_edge.dataplane.plane cimport Plane
from clasp_edge.dataplane.sink cimport Delivery

cdef enum:
    FRAMED_WS = 0       # one WebSocket binary message per frame
    FRAMED_TCP = 1      # a big-endian u32 length before each frame (wire.md 6.2)
    FRAMED_QUIC = 2     # nothing between frames: each tells its length (quic.md 3)


cdef class ClaspSender(Outbox):
    cdef readonly Plane plane
    cdef public int framing

    cdef uint8_t* _transport_header(self, uint8_t* frame, size_t size) noexcept
    cdef void _send(self, uint8_t* frame, size_t size) noexcept
