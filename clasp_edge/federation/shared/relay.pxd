from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stddef cimport size_t

from clasp_edge.dataplane.adapter cimport Adapter
from clasp_edge.dataplane.mqtt_details cimport MqttDetails
from clasp_edge.dataplane.sink cimport Delivery, Sink
from clasp_edge.dataplane.table cimport Entry


cdef class Relay(Adapter):
    cdef public Sink twin           # the other half of the same neighbour, or None
    cdef public int flags           # of the frames of SETs: 0x41 asks for an ACK, 0x01 does not

    cdef public bint tells_mqtt     # what goes to MQTT clients is told before each write (dataplane/mqtt_details.pyx)
    cdef public bint tells_locks    # with each SET: whether somebody has the param locked here
    cdef public bint awaits_word    # somebody beyond the link decides about locks, expected revisions and strategies
    cdef public dict contested      # by address: what for and whose, of the writes of a pass (agreement.py)
    cdef public MqttDetails details  # what the neighbour has said of its next write, if it does so; or None
    cdef readonly bint versioned    # the neighbour knows versions: they stand behind each SET
    cdef uint64_t* buckets          # of the digest of what the link carries
    cdef readonly uint64_t root     # all of them together
    cdef uint32_t counted           # entries with lower ids are in it

    cdef object _frame(self, Delivery* delivery)
    cdef int _contest(self, Delivery* delivery) except -1
    cdef object _state_frame(self, Entry* entry)
    cdef bint _carries(self, Entry* entry) except -1
    cdef Entry* _find(self, bytes address) noexcept
    cdef int _lock_flags(self, Entry* entry) noexcept
    cdef object _set_frame(self, const uint8_t* address, size_t address_size, int value_type, const uint8_t* value,
                           size_t value_size, long long ttl, uint64_t hlc, uint64_t rank, int locks=*,
                           uint64_t base=*)
    cdef long long _lifetime(self, Entry* entry) noexcept
