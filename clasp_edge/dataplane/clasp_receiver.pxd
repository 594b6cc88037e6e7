from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.stddef cimport size_t

from clasp_edge.dataplane.clasp_input cimport ClaspInput
from clasp_edge.dataplane.messages cimport Published, Write
from clasp_edge.dataplane.mqtt_details cimport MqttDetails
from clasp_edge.dataplane.write_run cimport WriteRun


cdef class ClaspReceiver(ClaspInput):
    cdef public bint versioned          # a router whose SETs end in a version: rank and hlc, 8 bytes each
    cdef public MqttDetails details     # of another router: what it has said of the next SET or PUBLISH; or None
    cdef readonly uint64_t refused_hlc  # of the SET that `on_refused` is called for
    cdef readonly uint64_t refused_rank
    cdef readonly uint64_t received
    cdef readonly uint64_t last_revision    # of the peer's last accepted SET
    cdef public WriteRun run            # of another router: the writes that it has announced

    cdef void _payload(self, const uint8_t* payload, size_t size, int qos) noexcept
    cdef void _set(self, const uint8_t* payload, size_t size, int qos) noexcept
    cdef void _publish(self, const uint8_t* payload, size_t size) noexcept
    cdef void _note_logged(self) noexcept
    cdef bint _switched(self, const uint8_t* payload, size_t size, const Write* write) noexcept
    cdef void _ack(self, const uint8_t* address, size_t size, uint64_t revision, bint locked) noexcept
    cdef void _refused(self, int verdict, const uint8_t* address, size_t size, uint64_t revision, uint64_t expected,
                       bint is_set) noexcept
    cdef void _hand_up(self, const uint8_t* payload, const Published* message, int phase) noexcept
    cdef void _garbage(self, int fault) noexcept
