from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stddef cimport size_t

cdef enum:
    PRINTED_BYTES = 262144      # of a printed value: four times the largest, which JSON may need


cdef struct Typed:          # what a payload means
    int type
    Py_ssize_t size         # of the encoded value; -1: it does not fit
    bint exact              # printing the value gives the payload back

cdef void type_payload(const uint8_t* payload, size_t size, uint8_t* target, size_t room, Typed* typed) noexcept
cdef void fit_payload(const uint8_t* payload, size_t size, uint8_t* target, size_t room, Typed* typed) noexcept
cdef bint is_certain(const uint8_t* payload, size_t size, size_t room, bint* exact) noexcept nogil
cdef size_t put_set(uint8_t* frame, const uint8_t* address, size_t address_size, const uint8_t* payload, size_t size,
                    int flags, uint64_t revision, uint32_t ttl) noexcept
cdef size_t put_event(uint8_t* frame, size_t room, const uint8_t* address, size_t address_size,
                      const uint8_t* payload, size_t size) noexcept
cdef Py_ssize_t print_value(int value_type, const uint8_t* value, size_t room, uint8_t* target, size_t target_room,
                            const uint8_t** text) noexcept
