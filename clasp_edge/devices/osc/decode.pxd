from libc.stddef cimport size_t
from libc.stdint cimport uint8_t, uint64_t

cdef enum:
    VALUE_ROOM = 65535          # of an encoded value; none larger fits a CLASP message
    MAX_BUNDLE_NESTING = 16

cdef enum Fault:                # negative: why a packet cannot be read (decode.pyx, FAULTS)
    NOT_OSC = -1
    TRUNCATED = -2
    NO_TYPE_TAGS = -3
    UNKNOWN_TAG = -4
    UNBALANCED = -5
    TOO_DEEP = -6
    TOO_LARGE = -7
    BAD_ELEMENT = -8


cdef struct OscMessage:
    const uint8_t* address      # in the packet
    size_t address_size
    bint is_pattern             # the address has pattern characters
    int value_type              # wire.md 2.2
    const uint8_t* value        # in the room given to `read_message`
    size_t value_size
    bint has_arguments          # none: something happened, and there is no more to say
    const uint8_t* tail         # type tags and arguments as they were said, NULL where they were not by the book
    size_t tail_size
    bint plain                  # the value alone gives the type tags back


cdef bint is_bundle(const uint8_t* p, size_t size) noexcept nogil
cdef int read_message(const uint8_t* p, size_t size, uint8_t* room, OscMessage* message) noexcept nogil
cdef bytes with_slash(const uint8_t* p, size_t size)
cdef int check_packet(const uint8_t* p, size_t size, int nesting) noexcept nogil
