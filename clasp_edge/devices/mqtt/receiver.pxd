from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.stddef cimport size_t

from clasp_edge.dataplane.token_bucket cimport TokenBucket
from clasp_edge.devices.mqtt.context cimport MqttContext
from clasp_edge.devices.mqtt.journaled cimport MqttJournaled
from clasp_edge.devices.mqtt.packet_ids cimport PacketIds


cdef class MqttReceiver(MqttJournaled):
    cdef public bint occupied               # a packet is still being dealt with: the next one waits
    cdef public bint hurried                # its rate is taken, and does not hold it back
    cdef uint32_t pings_answered        # of PINGREQs that are still to come
    cdef public bint stopped            # no further packet of this connection is looked at
    cdef public uint32_t receive_maximum
    cdef readonly uint64_t heard_us
    cdef readonly uint64_t received
    cdef readonly bint input_paused
    cdef bint departed                  # the client is gone; what it sent before is still acted upon, nothing answered
    cdef TokenBucket bucket             # what it may publish
    cdef list topics                    # by alias: the address, the reason why messages to it are refused, or None
    cdef PacketIds unreleased           # of QoS 2, between PUBLISH and PUBREL
    cdef PacketIds from_before          # those of them that came on an earlier connection
    cdef size_t address_size            # of the message that is coming in, at context.address

    cdef size_t take_packets(self, const uint8_t* data, size_t filled, bint together) noexcept
    cdef void hears(self) noexcept
    cdef void acknowledge_bytes(self) noexcept
    cdef void _packet(self, int first, const uint8_t* body, size_t size) noexcept
    cdef bint _publish(self, int first, const uint8_t* body, size_t size) noexcept
    cdef void _accept(self, int first, uint16_t packet_id, int reason) noexcept
    cdef int _topic(self, const uint8_t* topic, size_t size) noexcept
    cdef bint _alias(self, uint16_t alias, bint known, int* fault) noexcept
    cdef int _write(self, const uint8_t* payload, size_t payload_size, const uint8_t* properties,
                    size_t properties_size, uint32_t expiry_s, int qos, bint retain) noexcept
    cdef int _refused(self, int verdict) noexcept
    cpdef take_acknowledgement(self, int type, int packet_id, int reason)
    cdef bint _short_packet(self, int first, const uint8_t* body, size_t size) noexcept
    cdef void _fault(self, int reason, str text) noexcept
    cdef void _pause(self, double delay_s) noexcept
    cdef void _hand_up(self, int first, const uint8_t* body, size_t size) noexcept
