from libc.stdint cimport uint64_t

from clasp_edge.dataplane.mqtt_queue cimport Item
from clasp_edge.dataplane.mqtt_sender cimport MqttSender


cdef class MqttKept(MqttSender):
    cdef public uint64_t read_to        # while `following`: the last log record that was taken or passed over

    cdef void _identify(self, Item* item, bytes extra) noexcept
