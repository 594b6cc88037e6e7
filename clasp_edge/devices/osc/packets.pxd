from libc.stddef cimport size_t
from libc.stdint cimport uint8_t, uint32_t, uint64_t

from clasp_edge.devices.osc.decode cimport OscMessage
from clasp_edge.devices.osc.source cimport Source, SourceTable


cdef class OscPackets(SourceTable):
    cdef bytes namespace
    cdef bytes reserved
    cdef public double rate
    cdef public uint64_t silence_us
    cdef public object events           # .matches(address): which addresses are events, whoever writes them; None: none
    cdef uint8_t* room
    cdef uint8_t* payload               # of a PUBLISH
    cdef uint8_t address[2048]          # room for a base and an address, each of wire/limits.py MAX_ADDRESS_BYTES
    cdef size_t namespace_size
    cdef uint64_t bundles               # their numbers
    cdef uint64_t unique                # keys of what waits and is no param
    cdef public uint64_t horizon_us     # how far ahead a bundle may wait
    cdef readonly uint64_t packets
    cdef readonly uint64_t messages
    cdef readonly uint64_t over_rate    # above the rate: waited
    cdef readonly uint64_t replaced     # of them, those whose value was replaced by a newer one
    cdef readonly uint64_t dropped_over_rate

    cdef _packet(self, Source source, const uint8_t* data, size_t size)
    cdef bint _is_stamped(self, Source source, const uint8_t* p) noexcept
    cdef double _refill(self, Source source) noexcept
    cdef bint _spend(self, Source source, int messages) noexcept
    cdef _wait_bundle(self, Source source, const uint8_t* p, size_t size, int nesting)
    cdef _wait(self, Source source, const uint8_t* p, size_t size)
    cdef _bundle(self, Source source, const uint8_t* p, size_t size, uint64_t now_us)
    cdef _members(self, Source source, const uint8_t* p, size_t size, uint64_t now_us)
    cdef _message(self, Source source, const uint8_t* p, size_t size)
    cdef bint _is_event(self, Source source, bytes osc_address)
    cdef bint _is_reserved(self, OscMessage* message) noexcept
    cdef _write(self, Source source, const uint8_t* address, size_t address_size, bint event, bint has_value,
                int value_type, const uint8_t* value, size_t value_size, bint plain)
