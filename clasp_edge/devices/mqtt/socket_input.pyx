"""What the event loop does for each read of an MQTT client, compiled: where the bytes go, and the usual way of them.

The usual way is a session that reads on, with whole packets or a small rest; everything else is the connection's
(`connection.Connection`, which is derived from this). All connections read into one buffer, of which each keeps only
the beginning of a packet: an idle client holds no buffer.
"""

from cpython.bytearray cimport PyByteArray_AS_STRING
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.errno cimport EAGAIN, EINTR, errno
from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport memcpy

from clasp_edge.dataplane.account cimport INPUT
from clasp_edge.dataplane.sockets cimport MSG_DONTWAIT, recv
from clasp_edge.dataplane.view cimport View
from clasp_edge.devices.mqtt.varint cimport read_varint

cdef enum:
    SMALL_READ = 1400       # a segment that is not full: its sender may wait for our acknowledgement
    LARGE_REST = 16384      # from here on a rest has a buffer of its own
    REST_HEAD = 40          # of memory, beside its bytes


LARGE_REST_BYTES = LARGE_REST


cdef class ReadBuffer:
    """`ReadBuffer(size)`: room for one read of `size` bytes behind the rest of the last one."""

    def __cinit__(self, size_t size):
        self.bytes = bytearray(size + LARGE_REST)
        self.view = memoryview(self.bytes)      # it cannot be resized any more: `data` stays where it is
        self.data = <uint8_t*>PyByteArray_AS_STRING(self.bytes)
        self.size = size + LARGE_REST


cdef class SocketInput:
    """`SocketInput(buffer)`. `session` is None before CONNECT and after the end, `rest` the beginning of a packet,
    `input` a buffer of the connection's own, `local` whether a socket of this machine is between. `open_holding()`
    gives the account for what is coming in, `no_room()` is called where that has no room for a rest."""

    def __init__(self, ReadBuffer shared not None):
        self.shared = shared
        self.beginning = b""

    @property
    def rest(self):
        return self.beginning

    @rest.setter
    def rest(self, bytes rest not None):
        self.beginning = rest
        self._charge_rest()

    cdef int _charge_rest(self) except -1:
        cdef size_t size = <size_t>PyBytes_GET_SIZE(self.beginning)
        if size:
            size += REST_HEAD
        if size == self.rest_charged:
            return 0
        if self.rest_charged:
            self.holding.release(self.rest_charged, INPUT)
            self.rest_charged = 0
        if size:
            if self.holding is None:
                self.holding = self.open_holding()
            if self.holding.charge(size, INPUT):
                self.rest_charged = size
            else:
                self.no_room()
        return 0

    cdef bint _simple(self) noexcept:
        """Whether what is read goes to the session, and nothing else is to be thought of."""
        return self.input is None and self.session is not None and not self.closing and not self.awaits_login

    def get_buffer(self, Py_ssize_t sizehint):
        """As `asyncio.BufferedProtocol`."""
        cdef size_t size
        if self.input is not None:
            return self.input.room()
        size = <size_t>PyBytes_GET_SIZE(self.beginning)
        if size == 0:
            return self.shared.view
        memcpy(self.shared.data, PyBytes_AS_STRING(self.beginning), size)
        return self.shared.view[size:]

    def buffer_updated(self, Py_ssize_t nbytes):
        """As `asyncio.BufferedProtocol`."""
        self._updated(nbytes, False)

    cdef int _updated(self, Py_ssize_t nbytes, bint together) except -1:
        """So much more was read. `together`: who reads writes what comes of it, with what comes of other reads."""
        cdef MqttReceiver session = self.session
        cdef uint64_t before = session.sent_bytes if session is not None else 0
        cdef size_t filled, used
        if self._simple():
            filled = <size_t>PyBytes_GET_SIZE(self.beginning) + <size_t>nbytes
            self.beginning = b""
            used = session.take_packets(self.shared.data, filled, together)
            if used < filled:
                self._keep_rest(self.shared.data, used, filled)
            if self.rest_charged or PyBytes_GET_SIZE(self.beginning):
                self._charge_rest()
        elif self.input is not None:
            self.received_own(nbytes)
        else:
            self.received(self.shared.bytes, <size_t>PyBytes_GET_SIZE(self.beginning) + <size_t>nbytes)
        if (session is not None and nbytes < SMALL_READ and session.sent_bytes == before and not self.local
                and not self.closing):
            # Nothing went back that would carry the acknowledgement: a sender that gathers small writes (Nagle) would
            # wait for it until the kernel's timer of 40 ms.
            session.acknowledge_bytes()
        return 0

    cdef int read(self, int fd) except -1:
        """Read once what the socket has, and act upon it; one of READ_..."""
        cdef size_t size
        cdef ssize_t got
        cdef Py_ssize_t held = 0
        if self.input is not None:
            held = len(self.input.data)
            got = self._read_own(fd)
        else:
            size = <size_t>PyBytes_GET_SIZE(self.beginning)
            if size:
                memcpy(self.shared.data, PyBytes_AS_STRING(self.beginning), size)
            got = recv(fd, self.shared.data + size, self.shared.size - size, MSG_DONTWAIT)
        if got == 0:
            return READ_ENDED
        if got < 0:
            return READ_MORE if errno == EAGAIN or errno == EINTR else READ_FAILED
        if <size_t>got >= self.missing or held != len(self.input.data) or not self._more_of_packet(got):
            self._updated(got, True)
        return READ_MORE

    cdef ssize_t _read_own(self, int fd) except? -2:
        """Into the buffer of its own."""
        cdef View room = View(self.input.room())    # of a bytearray: to be written to
        return recv(fd, <uint8_t*>room.data, room.size, MSG_DONTWAIT)

    def await_rest(self):
        """Note how much has not come of the packet that `input` begins with: until then there is nothing to act upon.
        """
        cdef View rest = View(self.input.rest())
        cdef uint32_t remaining = 0
        cdef size_t whole
        cdef int header = read_varint(&rest.data[1], rest.size - 1, &remaining) if rest.size > 1 else 0
        whole = 1 + <size_t>header + remaining if header > 0 else 0
        self.missing = whole - rest.size if whole > rest.size else 0

    cdef bint _more_of_packet(self, size_t size) except -1:
        """Note that so much more of a large packet has come, but not its end. False where there is more to be done."""
        cdef MqttReceiver session = self.session
        if session is None or self.closing or session.input_paused or session.occupied or session.hurried:
            return False
        self.missing -= size
        self.input.end += size
        session.hears()
        if size < SMALL_READ and not self.local:
            session.acknowledge_bytes()
        return True

    cdef void _keep_rest(self, const uint8_t* data, size_t used, size_t filled):
        """What no packet was found in comes again."""
        cdef MqttReceiver session = self.session
        if self.closing:
            return
        self.beginning = PyBytes_FromStringAndSize(<const char*>data + used, filled - used)
        if filled - used > LARGE_REST or (session is not None and (session.input_paused or session.occupied)):
            self.own_buffer()
