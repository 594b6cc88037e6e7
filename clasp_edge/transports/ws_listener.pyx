"""The WebSocket end of a client: hands the payload of each binary message to the session's compiled half by pointer.

Compiled because it runs once per message; everything about handshakes and closing is in `websocket.py`.
"""

import logging

from libc.stdint cimport uint8_t

from picows.picows cimport WSFrame, WSListener, WSMsgType, WSTransport

from clasp_edge.dataplane.account cimport INPUT
from clasp_edge.dataplane.clasp_receiver cimport ClaspReceiver

log = logging.getLogger("clasp_edge.transports")

cdef enum:
    MAX_MESSAGE = 65547     # one frame, the largest (wire.md 1)


cdef class ClientListener(WSListener):
    """`ClientListener(connection)`: a websocket.Connection makes the session and takes the control frames."""

    cdef object connection
    cdef ClaspReceiver peer
    cdef bytearray fragments        # of a message that comes in several frames
    cdef bint over                  # the client broke a rule, and the connection is being closed

    def __init__(self, connection):
        self.connection = connection

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
        if (frame.msg_type == WSMsgType.BINARY and frame.fin and self.fragments is None
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
                if self.fragments is not None:
                    self._fail("a message begins inside a fragmented one")         # 5.4
                    return
                self.fragments = bytearray()
                self.peer.holding.release_all(INPUT)
            elif self.fragments is None:
                self._fail("a continuation of no message")                          # 5.4
                return
            if not self.peer.holding.charge(frame.payload_size, INPUT):
                self.fragments = None
                self.over = True
                self.connection.no_memory()
                return
            self.fragments += frame.get_payload_as_bytes()
            if len(self.fragments) > MAX_MESSAGE:
                self.fragments = None
                self.over = True
                self.connection.too_big()
            elif frame.fin:
                whole = bytes(self.fragments)
                self.fragments = None
                self.peer.holding.release_all(INPUT)
                self.peer.feed(<const uint8_t*><char*>whole, len(whole))
                self.peer.end_of_buffer()   # while `whole` is alive
        elif frame.msg_type == WSMsgType.TEXT:
            if self.fragments is not None:
                self._fail("a message begins inside a fragmented one")
                return
            self.over = True
            self.connection.text_message()
        else:
            self.connection.control_frame(<int>frame.msg_type, frame.get_payload_as_bytes())

    cdef _fail(self, str why):
        self.over = True
        self.fragments = None
        self.connection.broken(why)

    cpdef on_ws_disconnected(self, WSTransport transport):
        if self.peer is not None:
            self.connection.closed()

    cpdef pause_writing(self):
        pass                        # the session writes to the socket itself

    cpdef resume_writing(self):
        pass
