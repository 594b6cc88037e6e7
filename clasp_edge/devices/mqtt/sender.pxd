from cpython.ref cimport PyObject
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.stddef cimport size_t

from clasp_edge.dataplane.sink cimport Delivery
from clasp_edge.dataplane.table cimport Entry
from clasp_edge.devices.mqtt.queue cimport MqttQueue


cdef enum:
    ALIAS_BYTES = 160           # what an alias takes beside its topic


cdef class MqttSender(MqttQueue):
    cdef uint16_t alias_maximum
    cdef dict aliases
    cdef dict retained                  # (filter, pattern) -> (pattern, scan, options, identifiers) still to be sent

    cdef void _deliver(self, Delivery* delivery, uint32_t options, int published, bint retain) noexcept
    cdef size_t _image(self, int flags, uint16_t packet_id, PyObject* extra) noexcept
    cdef bint _send_large(self, int flags, uint16_t packet_id, PyObject* extra) noexcept
    cdef void _at_most_once(self, Delivery* delivery, bint retain) noexcept
    cdef void _acknowledged(self, Delivery* delivery, int qos, bint retain) noexcept
    cdef int _send_entry(self, Entry* entry, int options, PyObject* extra, bint retain) noexcept
    cdef bint _send_retained(self, size_t limit) noexcept
