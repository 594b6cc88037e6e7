# cython: language_level=3, boundscheck=False, wraparound=False
"""A blind frame copier: the ceiling that a router on the same event loop and WebSocket library is measured against.

Responsible for: copying every SET and PUBLISH frame unread to all connections that have subscribed to anything, one
write per peer and pass over a receive buffer, and answering HELLO, PING and SET with canned bytes of the right size.
Must not know: addresses, values, patterns, revisions, limits; whatever a router does beyond this is its own cost.
"""

from libc.stdint cimport uint8_t
from libc.stdlib cimport abort, free, realloc
from libc.string cimport memcpy

from picows.picows cimport WSFrame, WSListener, WSMsgType, WSTransport

cdef enum:
    HELLO = 0x01
    SUBSCRIBE = 0x10
    PUBLISH = 0x20
    SET = 0x21
    PING = 0x41
    FLAG_TIMESTAMP = 0x20
    FIRST_OUTBOX_BYTES = 4096
    WEBSOCKET_BINARY = 0x82

# WELCOME from "forwarder" with an empty token, a SNAPSHOT without params, a PONG, and an ACK as long as one that
# names a 17-byte address and a revision.
cdef bytes WELCOME = (
    b"\x53\x01\x00\x1d\x02\x01\xf8" + bytes(8) + b"\x00\x03fwd" + b"\x00\x09forwarder" + b"\x00\x00"
)
cdef bytes SNAPSHOT = b"\x53\x01\x00\x03\x23\x00\x00"
cdef bytes PONG = b"\x53\x01\x00\x01\x42"
cdef bytes ACK = b"\x53\x01\x00\x1d\x50\x03\x00\x11" + b"/bench/000/000000" + bytes(8)

cdef list subscribers = []
cdef list dirty = []


cdef class Peer(WSListener):
    """One connection. Its outbox lives from the first frame of a pass to the end of that pass."""

    cdef:
        WSTransport transport
        uint8_t* outbox
        Py_ssize_t used
        Py_ssize_t size
        bint subscribed

    def __dealloc__(self):
        free(self.outbox)

    cdef void append(self, const uint8_t* frame, Py_ssize_t length) noexcept:
        cdef Py_ssize_t needed = self.used + length + 4
        cdef uint8_t* out
        if needed > self.size:
            self.size = max(needed * 2, <Py_ssize_t>FIRST_OUTBOX_BYTES)
            self.outbox = <uint8_t*>realloc(self.outbox, <size_t>self.size)
            if self.outbox == NULL:
                abort()
        if self.used == 0:
            dirty.append(self)
        out = self.outbox + self.used
        out[0] = WEBSOCKET_BINARY
        if length < 126:
            out[1] = <uint8_t>length
            out += 2
        else:
            out[1] = 126
            out[2] = <uint8_t>(length >> 8)
            out[3] = <uint8_t>length
            out += 4
        memcpy(out, frame, <size_t>length)
        self.used = out + length - self.outbox

    cdef inline void append_bytes(self, bytes frame) noexcept:
        self.append(<const uint8_t*>(<char*>frame), len(frame))

    cdef void forward(self, const uint8_t* frame, Py_ssize_t length) noexcept:
        cdef Peer peer
        for peer in subscribers:
            if peer is not self:
                peer.append(frame, length)

    cpdef on_ws_connected(self, WSTransport transport):
        self.transport = transport

    cpdef on_ws_disconnected(self, WSTransport transport):
        if self.subscribed:
            subscribers.remove(self)
        self.transport = None

    cpdef on_ws_frame(self, WSTransport transport, WSFrame frame):
        cdef const uint8_t* data = <const uint8_t*>frame.payload_ptr
        cdef Py_ssize_t length = frame.payload_size
        cdef uint8_t kind
        if frame.msg_type == WSMsgType.CLOSE:
            transport.send_close(frame.get_close_code(), frame.get_close_message())
            transport.disconnect()
            return
        if frame.msg_type == WSMsgType.BINARY and 13 <= length < 65536 or length == 5:
            kind = data[12] if data[1] & FLAG_TIMESTAMP else data[4]
            if kind == SET:
                self.forward(data, length)
                self.append_bytes(ACK)
            elif kind == PUBLISH:
                self.forward(data, length)
            elif kind == PING:
                self.append_bytes(PONG)
            elif kind == HELLO:
                self.append_bytes(WELCOME)
                self.append_bytes(SNAPSHOT)
            elif kind == SUBSCRIBE and not self.subscribed:
                self.subscribed = True
                subscribers.append(self)
        if frame.last_in_buffer:
            flush()


cdef flush():
    """One write for every peer that got anything in this pass; the sender's ACKs go out in the same way."""
    cdef Peer peer
    for peer in dirty:
        if peer.transport is not None:
            peer.transport._fast_write(<char*>peer.outbox, peer.used)
        peer.used = 0
    dirty.clear()


def make_peer(request):
    return Peer()
