from libc.stdint cimport uint8_t
from libc.stddef cimport size_t

from clasp_edge.dataplane.account cimport Holding
from clasp_edge.devices.mqtt.receiver cimport MqttReceiver

cdef enum:              # what a read has brought
    READ_MORE = 1       # something, or nothing yet: there may be more
    READ_ENDED = 2      # the peer has closed its side
    READ_FAILED = 3


cdef class ReadBuffer:
    cdef bytearray bytes
    cdef object view
    cdef uint8_t* data
    cdef size_t size


cdef class SocketInput:
    cdef public MqttReceiver session
    cdef bytes beginning                # of a packet, charged to `holding`
    cdef size_t rest_charged
    cdef public Holding holding         # of what is coming in; None: nothing has been kept so far
    cdef public object input
    cdef public bint closing
    cdef public bint awaits_login
    cdef public bint local
    cdef public size_t missing          # of the packet that `input` begins with: bytes to come; 0: not known
    cdef ReadBuffer shared

    cdef int read(self, int fd) except -1
    cdef ssize_t _read_own(self, int fd) except? -2
    cdef int _updated(self, Py_ssize_t nbytes, bint together) except -1
    cdef bint _more_of_packet(self, size_t size) except -1
    cdef bint _simple(self) noexcept
    cdef int _charge_rest(self) except -1
    cdef void _keep_rest(self, const uint8_t* data, size_t used, size_t filled)
