# C types for pattern.py, and its declaration for other compiled modules:
#     from clasp_edge.wire.pattern cimport Pattern

cimport cython

ctypedef const unsigned char* const_bytes_p
ctypedef unsigned char* bytes_p

cdef int _SLASH, _ASTERISK
cdef int _LITERAL, _EVERYTHING, _SUBTREE, _SEGMENTS, _GLOB, _STRAIGHT
cdef int _BYTE, _CLASS, _STAR, _ANYTHING, _FORK, _JUMP


cdef class Pattern:
    cdef readonly bytes text
    cdef readonly tuple segments
    cdef readonly bytes prefix
    cdef readonly bint literal
    cdef readonly bint partial
    cdef readonly Py_ssize_t cost
    cdef int _kind
    cdef bytes _root
    cdef bytes _program
    cdef bytes _classes
    cdef Py_ssize_t _last_star

    cpdef bint matches(self, bytes address)

    @cython.locals(
        text=bytes, text_end=Py_ssize_t, address_end=Py_ssize_t, pattern=const_bytes_p, subject=const_bytes_p,
        p=Py_ssize_t, a=Py_ssize_t, p_end=Py_ssize_t, a_end=Py_ssize_t, retry_p=Py_ssize_t, retry_a=Py_ssize_t,
        i=Py_ssize_t, starred=bint, same=bint,
    )
    cdef bint _match_segments(self, bytes address)

    @cython.locals(
        program=bytes, classes=bytes, code=const_bytes_p, sets=const_bytes_p, subject=const_bytes_p,
        end=Py_ssize_t, accept=Py_ssize_t, last_star=Py_ssize_t, i=Py_ssize_t, s=Py_ssize_t, retry_s=Py_ssize_t,
        retry_i=Py_ssize_t, byte=int, operation=int, argument=int, taken=bint,
    )
    cdef bint _match_straight(self, bytes address)

    @cython.locals(
        program=bytes, classes=bytes, code=const_bytes_p, sets=const_bytes_p, subject=const_bytes_p,
        end=Py_ssize_t, accept=Py_ssize_t, first_row=bytearray, second_row=bytearray, now=bytes_p, after=bytes_p,
        first=Py_ssize_t, next_first=Py_ssize_t,
        last=Py_ssize_t, next_last=Py_ssize_t, i=Py_ssize_t, s=Py_ssize_t, taken=Py_ssize_t,
        byte=int, operation=int, argument=int,
    )
    cdef bint _match_glob(self, bytes address)


cpdef bint overlap(Pattern one, Pattern other)

cpdef bint covers(Pattern outer, Pattern inner)
