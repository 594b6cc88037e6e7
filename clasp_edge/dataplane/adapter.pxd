from clasp_edge.dataplane.outbox cimport Delivery, Sink
from clasp_edge.dataplane.plane cimport Plane


cdef class Adapter(Sink):
    cdef readonly Plane plane
    cdef list inbox
