"""A message of MQTT as the plane takes it: a `Raw`, the SET of a param that it stands for, and what is kept of it.

The one place where the first two are filled: every field has a value, those of versions too.
"""

from libc.stddef cimport size_t
from libc.stdint cimport uint8_t, uint32_t
from libc.string cimport memcmp, memset

from clasp_edge.dataplane.entry cimport LARGEST_VALUE, SNAPSHOT_OVERHEAD, value_room
from clasp_edge.dataplane.messages cimport SET_TTL, Write
from clasp_edge.dataplane.payload cimport Typed, fit_payload, is_certain
from clasp_edge.dataplane.sink cimport NO_EXPIRY, Raw
from clasp_edge.dataplane.table cimport TTL_ABSOLUTE, TTL_NEVER, Entry

cdef enum:
    LONGEST_TTL_S = 0x7FFFFFFF
    UNREAD_FROM = 1024          # bytes of a payload: of a smaller one, the value is made at once, which costs less


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


cdef inline bint read_payload(Write* write) noexcept:
    """Make the value of a message that `raw_write` has made a SET of. False where it has none."""
    cdef Typed typed
    fit_payload(write.raw.payload, write.raw.payload_size, <uint8_t*>write.value, value_room(write.address_size),
                &typed)
    write.raw.unread = False
    if typed.size < 0:
        return False
    write.raw.exact = typed.exact and write.raw.properties_size == 0
    write.value_size = <size_t>typed.size
    write.flags = <uint8_t>((write.flags & 0xF0) | typed.type)
    return True


cdef inline bint raw_write(Write* write, Raw* raw, const uint8_t* address, size_t address_size, uint32_t hash,
                           uint8_t* value) noexcept:
    """The SET that an MQTT message to a param is. Its value is made at `value` (room for LARGEST_VALUE bytes), of a
    large payload only when it is asked for (`read_payload`). False where no frame has room for the address with a
    value."""
    if address_size + SNAPSHOT_OVERHEAD + 16 > LARGEST_VALUE:
        return False
    new_write(write, address, address_size, hash)
    write.value = value
    write.raw = raw
    if raw.payload_size < UNREAD_FROM or not is_certain(raw.payload, raw.payload_size, value_room(address_size),
                                                        &raw.exact):
        if not read_payload(write):
            return False
    else:
        raw.exact = raw.exact and raw.properties_size == 0
        raw.unread = True
    write.ttl = TTL_NEVER
    if raw.expiry_s != NO_EXPIRY:
        write.ttl = TTL_ABSOLUTE | (raw.expiry_s if raw.expiry_s < LONGEST_TTL_S else LONGEST_TTL_S)
    if raw.retain or raw.expiry_s != NO_EXPIRY:
        write.flags |= SET_TTL          # a retained message stays until it expires or is replaced
    return True


cdef inline bint same_message(Entry* entry, const Raw* raw) noexcept nogil:
    """Whether MQTT clients have, with a param's present value, this message: retained or not, and with its bytes.
    `raw` NULL: the value was set by other means."""
    if raw == NULL:
        return not entry.unretained and entry.kept == NULL
    if not raw.retain or entry.unretained:
        return not raw.retain and entry.unretained
    if raw.exact or entry.kept == NULL:
        return raw.exact and entry.kept == NULL
    return (raw.payload_size == entry.kept.payload_size and raw.properties_size == entry.kept.properties_size
            and memcmp(raw.properties, &entry.kept.data[0], raw.properties_size) == 0
            and memcmp(raw.payload, &entry.kept.data[0] + raw.properties_size, raw.payload_size) == 0)


cdef inline size_t bytes_beside(const Write* write) noexcept nogil:
    """Bytes that are kept beside the value: an MQTT message that the value alone does not give back."""
    if write.raw == NULL or not write.raw.retain or write.raw.exact:
        return 0
    return write.raw.properties_size + write.raw.payload_size
