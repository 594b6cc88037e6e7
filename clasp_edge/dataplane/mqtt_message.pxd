"""A message of MQTT as the plane takes it: a `Raw`, and the SET of a param that it stands for.

The one place where both are filled: every field has a value, those of versions too.
"""

from libc.stddef cimport size_t
from libc.stdint cimport uint8_t, uint32_t
from libc.string cimport memset

from clasp_edge.dataplane.messages cimport SET_TTL, Write
from clasp_edge.dataplane.payload cimport Typed, fit_payload
from clasp_edge.dataplane.sink cimport NO_EXPIRY, Raw
from clasp_edge.dataplane.state cimport SNAPSHOT_OVERHEAD
from clasp_edge.dataplane.table cimport TTL_ABSOLUTE, TTL_NEVER

cdef enum:
    LONGEST_TTL_S = 0x7FFFFFFF
    LARGEST_VALUE = 65535


cdef inline void new_write(Write* write, const uint8_t* address, size_t address_size, uint32_t hash) noexcept nogil:
    """A SET of this router's own without a value yet; `hash` is the address's."""
    memset(write, 0, sizeof(Write))
    write.address = address
    write.address_size = address_size
    write.hash = hash


cdef inline void new_raw(Raw* raw, const uint8_t* payload, size_t payload_size, const uint8_t* properties,
                         size_t properties_size, uint32_t expiry_s, int qos, bint retain) noexcept nogil:
    """`properties` are encoded, those that are passed on; `expiry_s` NO_EXPIRY: none."""
    memset(raw, 0, sizeof(Raw))
    raw.payload = payload
    raw.payload_size = payload_size
    raw.properties = properties
    raw.properties_size = properties_size
    raw.expiry_s = expiry_s
    raw.qos = <uint8_t>qos
    raw.retain = retain


cdef inline bint raw_write(Write* write, Raw* raw, const uint8_t* address, size_t address_size, uint32_t hash,
                           uint8_t* value) noexcept:
    """The SET that an MQTT message to a param is. Its value is made at `value` (room for LARGEST_VALUE bytes). False
    where no frame has room for the address with a value."""
    cdef Typed typed
    if address_size + SNAPSHOT_OVERHEAD + 16 > LARGEST_VALUE:
        return False
    fit_payload(raw.payload, raw.payload_size, value, LARGEST_VALUE - SNAPSHOT_OVERHEAD - address_size, &typed)
    if typed.size < 0:
        return False
    raw.exact = typed.exact and raw.properties_size == 0
    new_write(write, address, address_size, hash)
    write.value = value
    write.value_size = <size_t>typed.size
    write.flags = <uint8_t>typed.type
    write.ttl = TTL_NEVER
    if raw.expiry_s != NO_EXPIRY:
        write.ttl = TTL_ABSOLUTE | (raw.expiry_s if raw.expiry_s < LONGEST_TTL_S else LONGEST_TTL_S)
    if raw.retain or raw.expiry_s != NO_EXPIRY:
        write.flags |= SET_TTL          # a retained message stays until it expires or is replaced
    write.raw = raw
    return True
