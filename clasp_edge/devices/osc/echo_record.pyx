"""What is remembered of one address of one device: an object that the garbage collector need not look at.

There may be tens of thousands of them, and a collection would take half a microsecond for each and hold everybody up.
What it means is `echo`'s business.
"""

cimport cython


# All that it holds are numbers, texts and tuples of them: nothing that could lead back here.
@cython.no_gc
@cython.final
cdef class EchoRecord:
    """Times are seconds of one clock. `told`: when each value was told last, the newest at the end; None: none was.
    `recent`: of the values that were told lately those that count."""

    cdef public double held_s, said_s, told_s, touched_s, window_s
    cdef public int contacts, crossings, same
    cdef public dict told
    cdef public tuple recent

    def __cinit__(self, double now_s):
        self.told_s = self.said_s = -1e9
        self.window_s = self.touched_s = now_s
        self.recent = ()
