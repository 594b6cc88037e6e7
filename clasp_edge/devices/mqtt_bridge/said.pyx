"""What a frame of this router's own says, without objects for its value: of a SET or a PUBLISH of one value."""

from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.stddef cimport size_t
from libc.stdint cimport uint8_t

from clasp_edge.dataplane.messages cimport (
    PUBLISH,
    SET,
    SET_TTL,
    SIGNAL_EVENT,
    Published,
    Write,
    framed_payload,
    read_publish,
    read_set,
)

from clasp_edge.devices.mqtt_bridge.envelope import VALUE_OF_CLIENT


def said(bytes frame not None):
    """Signal, type and data of its value, and the word of its time to live, -1 without one (wire.md 2.3). An event
    without a value is the empty payload of a client (`envelope.VALUE_OF_CLIENT`); None for what else has none."""
    cdef size_t size = 0
    cdef const uint8_t* payload = framed_payload(<const uint8_t*><char*>frame, <size_t>len(frame), &size)
    cdef Write write
    cdef Published message
    if payload == NULL:
        return None
    if payload[0] == SET:
        if read_set(payload, size, &write) != 0:
            return None
        return (0, write.flags & 0x0F, PyBytes_FromStringAndSize(<const char*>write.value, write.value_size),
                <object>write.ttl if write.flags & SET_TTL else -1)
    if payload[0] != PUBLISH or read_publish(payload, size, &message) != 0:
        return None
    if message.value == NULL:
        # Behind its address an event says what it has; 0: something happened, and there is no more to say.
        return ((message.signal, VALUE_OF_CLIENT, b"", -1)
                if message.signal == SIGNAL_EVENT and message.address[message.address_size] == 0 else None)
    return message.signal, message.value_type, PyBytes_FromStringAndSize(<const char*>message.value,
                                                                         message.value_size), -1
