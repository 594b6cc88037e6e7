"""The bytes of any object that has some, for as long as the view lives.

In place of Cython's typed memoryviews, which bring half a megabyte of C into every module that has one.
"""

cimport cython
from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from libc.stdint cimport uint8_t


@cython.final
@cython.freelist(4)
cdef class View:
    """`View(object)`: its bytes at `data`, `size` of them. Raises TypeError, BufferError where it has none in a row."""

    def __cinit__(self, source):
        PyObject_GetBuffer(source, &self._buffer, PyBUF_SIMPLE)
        self.data = <const uint8_t*>self._buffer.buf
        self.size = <size_t>self._buffer.len

    def __dealloc__(self):
        PyBuffer_Release(&self._buffer)
