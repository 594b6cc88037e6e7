from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stddef cimport size_t

from clasp_edge.dataplane.plane cimport Plane
from clasp_edge.dataplane.sink cimport Delivery, Sink
from clasp_edge.dataplane.table cimport Entry
from clasp_edge.devices.mqtt.publish_packet cimport Content, Stored

cdef enum:
    MAX_ADDRESS = 65535 + 1024  # a topic of any length below the namespace, before it is judged
    VALUE_BYTES = 65600         # a value of any size that a frame takes


cdef class MqttContext:
    cdef readonly Plane plane
    cdef readonly bytes prefix              # namespace and slash
    cdef object to_topic
    cdef object to_address
    cdef public object mounts               # topics outside the namespace (`mounts.Mounts`), or None
    cdef public bint unretained_is_param
    cdef list events                        # patterns of addresses where it is none all the same, or None
    cdef public size_t session_queue        # bytes that may wait for one session
    cdef public size_t total_queue          # and for all of them
    cdef readonly size_t max_packet         # largest packet taken
    cdef size_t room                        # for a packet that is made
    cdef object shared                      # the group whose message is being delivered, or None
    cdef readonly size_t queued             # bytes that wait
    cdef readonly uint64_t received         # PUBLISH packets
    cdef readonly uint64_t sent
    cdef readonly uint64_t received_bytes
    cdef readonly uint64_t refused
    cdef readonly uint64_t dropped          # deliveries for which a queue had no room or a client too small a limit
    cdef public list changed                # sessions that the store has to hear of; None: no session is stored
    cdef public object wake                 # called with whether it is urgent when there is the first of them
    cdef public bint urgent                 # ... and that has been said

    cdef uint8_t* address                   # of the message that is coming in: prefix, then MAX_ADDRESS bytes of room
    cdef uint8_t* properties                # of it, those that are passed on
    cdef uint8_t* value                     # of it
    cdef uint8_t* printed                   # payload of the delivery `serial`
    cdef uint8_t* spare_printed             # payload of a param that is sent later
    cdef uint8_t* image                     # packet of the delivery `image_serial`, after IMAGE_HEADROOM
    cdef uint8_t* spare                     # for packets made while a delivery is under way
    cdef uint64_t serial                    # of `content`
    cdef bint deliverable
    cdef Content content
    cdef object topic                       # keeps decoded topics alive
    cdef object spare_topic
    cdef uint64_t image_serial
    cdef int image_key
    cdef size_t image_size
    cdef size_t image_id_at
    cdef Stored* stored                     # of the delivery `stored_serial`; one reference held
    cdef uint64_t stored_serial

    cdef bint prepare(self, Delivery* delivery) noexcept
    cdef bint entry_content(self, Entry* entry, Content* content) noexcept
    cdef object _topic(self, const uint8_t* address, size_t size, Content* content)
    cdef bint is_event(self, const uint8_t* address, size_t size, uint32_t hash) noexcept
    cdef Stored* keep(self) noexcept
