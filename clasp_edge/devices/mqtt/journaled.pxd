from libc.stdint cimport uint64_t

from clasp_edge.devices.mqtt.queue cimport Item
from clasp_edge.devices.mqtt.sender cimport MqttSender


cdef class MqttJournaled(MqttSender):
    cdef public uint64_t read_to        # while `following`: the last log record that was taken or passed over

    cdef void _identify(self, Item* item, bytes extra) noexcept
