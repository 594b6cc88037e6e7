"""The WebSocket end of a client: hands the payload of each binary message to the session's compiled half by pointer.

Compiled because it runs once per message; everything about handshakes and closing is in `websocket.py`.
"""

import logging

from cpython.mem cimport PyMem_RawFree, PyMem_RawRealloc
from libc.stdint cimport uint8_t
from libc.string cimport memcpy

from picows.picows cimport WSFrame, WSListener, WSMsgType, WSTransport

from clasp_edge.dataplane.account cimport INPUT
from clasp_edge.dataplane.clasp_receiver cimport ClaspReceiver

log = logging.getLogger("clasp_edge.transports")

cdef enum:
    MAX_MESSAGE = 65547     # one frame, the largest (wire.md 1)
    LEAST_ROOM = 4096       # for a message in fragments: doubled as it grows


cdef class ClientListener(WSListener):
    """`ClientListener(connection)`: a websocket.Connection makes the session and takes the control frames."""

    cdef object connection
    cdef ClaspReceiver peer
    cdef uint8_t* fragments         # of a message that comes in several frames, or NULL
    cdef size_t filled
    cdef size_t room                # which is what is charged for them
    cdef bint within                # a message has begun and goes on
    cdef bint over                  # the client broke a rule, and the connection is being closed

    def __init__(self, connection):
        self.connection = connection

    def __dealloc__(self):
        PyMem_RawFree(self.fragments)

    cpdef on_ws_connected(self, WSTransport transport):
        try:
            self.peer = self.connection.opened(transport)
        except Exception:
            log.exception("a session could not be made")    # picows says so only to the client (1011)
            raise
        # The handshake is over; a thousand idle clients need not keep their request headers.
        transport.request = None
        transport.response = None

    cpdef on_ws_frame(self, WSTransport transport, WSFrame frame):
        if self.peer is None:
            return                  # `opened` failed; picows is about to close the connection
        if (frame.msg_type == WSMsgType.BINARY and frame.fin and not self.within
                and not (frame.rsv1 | frame.rsv2 | frame.rsv3)):
            self.peer.feed(<const uint8_t*>frame.payload_ptr, <size_t>frame.payload_size)
        else:
            try:
                self._unusual(frame)
            finally:
                # Whatever happened: what is staged points into a buffer that is about to be used again.
                if frame.last_in_buffer:
                    self.peer.end_of_buffer()
            return
        if frame.last_in_buffer:
            self.peer.end_of_buffer()

    cdef _unusual(self, WSFrame frame):
        # What came before counts: a client may write and close in one breath.
        self.peer._run_staged()
        if self.over:
            if frame.msg_type != WSMsgType.CLOSE:
                return              # RFC 6455, 7.1.7: nothing that comes after a failure counts
            self.connection.control_frame(<int>frame.msg_type, frame.get_payload_as_bytes())
        elif frame.rsv1 | frame.rsv2 | frame.rsv3:
            self._fail("reserved bits are set and no extension was negotiated")    # 5.2
        elif frame.msg_type == WSMsgType.BINARY or frame.msg_type == WSMsgType.CONTINUATION:
            if frame.msg_type == WSMsgType.BINARY:
                if self.within:
                    self._fail("a message begins inside a fragmented one")         # 5.4
                    return
                self.within = True
            elif not self.within:
                self._fail("a continuation of no message")                          # 5.4
                return
            if self.filled + <size_t>frame.payload_size > MAX_MESSAGE:
                self._drop()
                self.over = True
                self.connection.too_big()
            elif not self._keep(<const uint8_t*>frame.payload_ptr, <size_t>frame.payload_size):
                self._drop()
                self.over = True
                self.connection.no_memory()
            elif frame.fin:
                try:
                    self.peer.feed(self.fragments, self.filled)
                    self.peer.end_of_buffer()   # while they are there
                finally:
                    self._drop()
        elif frame.msg_type == WSMsgType.TEXT:
            if self.within:
                self._fail("a message begins inside a fragmented one")
                return
            self.over = True
            self.connection.text_message()
        else:
            self.connection.control_frame(<int>frame.msg_type, frame.get_payload_as_bytes())

    cdef _fail(self, str why):
        self.over = True
        self._drop()
        self.connection.broken(why)

    cdef bint _keep(self, const uint8_t* data, size_t size) noexcept:
        """Append a fragment; False where there is no room for it (in memory, or on the client's account)."""
        cdef size_t room = self.room if self.room else LEAST_ROOM
        cdef void* larger
        while room < self.filled + size:
            room *= 2
        if room > self.room:
            if not self.peer.holding.charge(room - self.room, INPUT):
                return False
            larger = PyMem_RawRealloc(self.fragments, room)
            if larger == NULL:
                self.peer.holding.release(room - self.room, INPUT)
                return False
            self.fragments = <uint8_t*>larger
            self.room = room
        if size:
            memcpy(self.fragments + self.filled, data, size)
        self.filled += size
        return True

    cdef void _drop(self) noexcept:
        """The message is whole, or will never be."""
        if self.room:
            self.peer.holding.release(self.room, INPUT)
        PyMem_RawFree(self.fragments)
        self.fragments = NULL
        self.filled = self.room = 0
        self.within = False

    cpdef on_ws_disconnected(self, WSTransport transport):
        if self.peer is not None:
            self.connection.closed()

    cpdef pause_writing(self):
        pass                        # the session writes to the socket itself

    cpdef resume_writing(self):
        pass
