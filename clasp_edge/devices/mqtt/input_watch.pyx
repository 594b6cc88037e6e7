"""Which MQTT sockets have something to read: asked of the kernel for all of them together; then they are read in turn.

The event loop watches this one descriptor in place of theirs, and calls once for all that have sent something. What
they are answered, and what others get of it, is written when all of them have been read: one write for each receiver.
The end of a connection is told to its owner, who has a transport to find out the rest.
"""

import logging
import os

from cpython.ref cimport Py_DECREF, Py_INCREF, PyObject
from libc.errno cimport errno
from libc.stdint cimport uint32_t, uint64_t
from libc.stdlib cimport free, realloc
from libc.string cimport memset

from clasp_edge.dataplane.core cimport Core
from clasp_edge.devices.mqtt.socket_input cimport READ_ENDED, READ_FAILED, SocketInput

cdef extern from "<sys/epoll.h>" nogil:
    ctypedef union epoll_data_t:
        int fd
    struct epoll_event:
        uint32_t events
        epoll_data_t data
    int epoll_create1(int flags)
    int epoll_ctl(int epoll, int operation, int fd, epoll_event* event)
    int epoll_wait(int epoll, epoll_event* events, int room, int timeout)
    int EPOLL_CTL_ADD, EPOLL_CTL_DEL, EPOLLIN, EPOLL_CLOEXEC

log = logging.getLogger("clasp_edge.mqtt")

cdef enum:
    AT_ONCE = 64            # sockets told of by one call; the kernel tells of the others in the next
    UNWRITTEN_US = 500      # of reading before what has come of it is written


cdef class InputWatch:
    """`InputWatch(core)`. Nothing is open while nobody is watched."""

    def __cinit__(self, Core core not None):
        self.core = core
        self.epoll = -1

    def __dealloc__(self):
        cdef int fd
        for fd in range(self.room):
            if self.inputs[fd] != NULL:
                Py_DECREF(<object>self.inputs[fd])
        free(self.inputs)
        if self.epoll >= 0:
            os.close(self.epoll)

    def add(self, int fd, SocketInput input not None):
        """Read for `input` from the connected non-blocking socket `fd` from now on. Its owner calls `discard` before
        the socket is closed. Raises OSError."""
        cdef epoll_event event
        cdef PyObject** grown
        if fd < self.room and self.inputs[fd] == <PyObject*>input:
            return
        if fd >= self.room:
            grown = <PyObject**>realloc(self.inputs, (fd + 64) * sizeof(PyObject*))
            if grown == NULL:
                raise MemoryError
            memset(grown + self.room, 0, (fd + 64 - self.room) * sizeof(PyObject*))
            self.inputs = grown
            self.room = fd + 64
        if self.inputs[fd] != NULL:
            raise ValueError("the socket is watched for another connection")
        if self.epoll < 0:
            self.epoll = epoll_create1(EPOLL_CLOEXEC)
            if self.epoll < 0:
                raise OSError(errno, os.strerror(errno))
            try:
                self.core.loop.add_reader(self.epoll, self.run)
            except BaseException:
                self._close()
                raise
        memset(&event, 0, sizeof(event))
        event.events = EPOLLIN
        event.data.fd = fd
        if epoll_ctl(self.epoll, EPOLL_CTL_ADD, fd, &event) != 0:
            problem = errno
            if self.count == 0:
                self.core.loop.remove_reader(self.epoll)
                self._close()
            raise OSError(problem, os.strerror(problem))
        Py_INCREF(input)
        self.inputs[fd] = <PyObject*>input
        self.count += 1

    def discard(self, int fd, SocketInput input not None):
        """Read no more for `input`, which may not be watched at all."""
        cdef epoll_event event
        if not 0 <= fd < self.room or self.inputs[fd] != <PyObject*>input:
            return
        epoll_ctl(self.epoll, EPOLL_CTL_DEL, fd, &event)
        self.inputs[fd] = NULL
        self.count -= 1
        if self.count == 0:
            self.core.loop.remove_reader(self.epoll)
            self._close()
        Py_DECREF(input)

    cdef void _close(self):
        os.close(self.epoll)
        self.epoll = -1

    def __len__(self):
        return self.count

    def run(self):
        """Called by the loop when somebody has sent something, or has gone."""
        cdef epoll_event events[AT_ONCE]
        cdef SocketInput input
        cdef int fd, i, outcome
        cdef int count = epoll_wait(self.epoll, events, AT_ONCE, 0)
        cdef uint64_t written_us = 0
        for i in range(count):
            fd = events[i].data.fd
            if fd >= self.room or self.inputs[fd] == NULL:
                continue                    # an earlier one of these has ended it
            input = <SocketInput>self.inputs[fd]
            try:
                outcome = input.read(fd)
                if outcome == READ_ENDED:
                    input.input_ended()
                elif outcome == READ_FAILED:
                    input.input_failed()
            except Exception:
                log.exception("%r: what was received could not be acted upon", input)
                try:
                    input.input_failed()
                except Exception:
                    log.exception("%r: cannot end a connection", input)
            if written_us == 0:
                written_us = self.core.mono_us
            elif self.core.mono_us - written_us >= UNWRITTEN_US:
                self._write()
                written_us = self.core.mono_us
        self._write()

    cdef void _write(self) noexcept:
        self.core.begin()
        self.core.finish()
