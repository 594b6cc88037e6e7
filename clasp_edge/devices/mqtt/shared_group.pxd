from clasp_edge.dataplane.sink cimport Sink
from clasp_edge.devices.mqtt.context cimport MqttContext


cdef class SharedGroup(Sink):
    cdef readonly MqttContext context
    cdef readonly list members          # (session, options, identifiers)
    cdef Py_ssize_t turn
