from libc.stdint cimport uint8_t

from clasp_edge.dataplane.plane cimport Plane
from clasp_edge.dataplane.sink cimport Delivery, Sink


cdef class Adapter(Sink):
    cdef readonly Plane plane
    cdef list inbox


cdef class RawAdapter(Adapter):
    cdef uint8_t* buffer                # of the value that is made of a payload
