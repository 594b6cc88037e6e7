from libc.stddef cimport size_t
from libc.stdint cimport uint8_t, uint32_t, uint64_t

from clasp_edge.dataplane.account cimport Holding
from clasp_edge.dataplane.messages cimport Write
from clasp_edge.dataplane.plane cimport Plane
from clasp_edge.dataplane.sink cimport Raw
from clasp_edge.dataplane.table cimport Entry

cdef enum:
    FEDERATION_SYNC = 0x04
    MQTT_DETAILS = 0x49         # operation of FEDERATION_SYNC

cdef bytes details_of_raw(const Raw* raw)
cdef bytes details_of_entry(Entry* entry, uint64_t now_ms)


cdef class MqttDetails:
    cdef readonly bint pending          # something was said of the next write
    cdef readonly bint skipping         # a frame of it was dropped: what is said until then is not listened to
    cdef bint partial                   # bytes of it are to come
    cdef bint lost                      # there is no room for its bytes
    cdef int flags
    cdef uint32_t expiry_s
    cdef size_t properties_size
    cdef size_t payload_size
    cdef size_t received                # of both together
    cdef uint8_t* data
    cdef size_t room
    cdef Holding holding
    cdef Raw raw

    cdef bint take(self, const uint8_t* payload, size_t size) noexcept
    cdef bint _append(self, const uint8_t* data, size_t size) noexcept
    cdef bint _properties_valid(self) noexcept
    cdef Raw* of_write(self, const Write* write) noexcept
    cdef Raw* of_event(self) noexcept
    cdef void applied(self, Plane plane, const Write* write) noexcept
    cdef void skip(self) noexcept
    cpdef void done(self) noexcept
