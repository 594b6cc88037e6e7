"""What is known of one address of one device that is sent values at a rate: an object that the garbage collector need
not look at. There may be tens of thousands of them. What it means is `rate_limit`'s business.
"""

cimport cython


# What waits is let go of when the device is, so that no circle stays that leads through here.
@cython.no_gc
@cython.final
cdef class Slot:
    """Times are seconds of one clock: from when on something may be sent again, and until when nothing may, whatever
    comes. `unit` waits for the address, `before` as well, ahead of it."""

    cdef public double due_s, held_s
    cdef public object unit
    cdef public list before         # or None
