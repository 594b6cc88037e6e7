from libc.stdint cimport uint8_t

from clasp_edge.dataplane.messages cimport Write
from clasp_edge.dataplane.room cimport Room
from clasp_edge.dataplane.sink cimport Raw, Sink
from clasp_edge.dataplane.table cimport Entry

cdef class Past(Room):
    cdef dict misled            # addresses of which a value of the past was told last: the param's revision then
    cdef Sink teller            # from whom what stands comes when it is told again

    cdef bint _has_value(self, Entry* entry, const Write* write) noexcept
    cdef int _replay(self, Sink origin, Write* write, Entry* entry) noexcept
    cdef void _note_told(self, Entry* entry, const Write* write) noexcept
    cdef void _put_one_right(self, dict misled)
    cdef void _tell_again(self, Entry* entry) noexcept
    cdef bint _message(self, Entry* entry, Raw* raw, uint8_t* printed) noexcept
