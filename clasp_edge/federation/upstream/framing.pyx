"""The bytes of an uplink's connection: CLASP frames cut out of what comes, WebSocket messages made of what goes.

Compiled because it runs once per frame. Knows where a frame ends (wire.md 1) and nothing of what is in one; handshakes,
health and closing are in `link.py` and its kinds.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport uint8_t, uint32_t
from libc.string cimport memcpy

from os import urandom

from picows.picows cimport WSFrame, WSListener, WSMsgType, WSTransport

cdef enum:
    MAGIC = 0x53
    TIMESTAMP_FLAG = 0x20
    HEADER = 4
    HEADER_TIMESTAMPED = 12
    LENGTH = 4                      # before each frame on a plain TCP connection (wire.md 6.2)
    MASKED = 0x80
    BINARY_MESSAGE = 0x82           # RFC 6455, 5.2: FIN and the opcode


class NoFrame(ValueError):
    """What came is no CLASP frame; the text says why."""


cdef Py_ssize_t frame_size(const uint8_t* data, Py_ssize_t size) except -1:
    # 0: not enough to tell.
    if size < 1:
        return 0
    if data[0] != MAGIC:
        raise NoFrame(f"a CLASP frame begins with 0x53, this with 0x{data[0]:02X}")
    if size < HEADER:
        return 0
    return (HEADER_TIMESTAMPED if data[1] & TIMESTAMP_FLAG else HEADER) + (data[2] << 8 | data[3])


cdef int cut_message(const uint8_t* data, Py_ssize_t size, list frames) except -1:
    cdef Py_ssize_t length
    while size > 0:
        length = frame_size(data, size)
        if length == 0 or length > size:
            raise NoFrame(f"a message ends {length - size if length else HEADER - size} bytes before its CLASP frame")
        frames.append(PyBytes_FromStringAndSize(<const char*>data, length))
        data += length
        size -= length
    return 0


def cut_stream(bytearray buffer, Py_ssize_t filled, list frames):
    """Append the whole frames at the start of `buffer[:filled]`, each with its length before it; returns how many bytes
    they took. Raises NoFrame."""
    cdef const uint8_t* data = <const uint8_t*><char*>buffer
    cdef Py_ssize_t used = 0
    cdef Py_ssize_t announced, length
    if filled > len(buffer):
        raise ValueError("more than the buffer holds")
    while filled - used >= LENGTH:
        announced = (
            (<Py_ssize_t>data[used] << 24) | (data[used + 1] << 16) | (data[used + 2] << 8) | data[used + 3]
        )
        length = frame_size(data + used + LENGTH, filled - used - LENGTH)
        if length == 0:
            if announced < HEADER:
                raise NoFrame(f"a CLASP frame has at least {HEADER} bytes, announced are {announced}")
            break
        if length != announced:
            raise NoFrame(f"a CLASP frame of {length} bytes is announced with {announced}")
        if filled - used - LENGTH < length:
            break
        frames.append(PyBytes_FromStringAndSize(<const char*>data + used + LENGTH, length))
        used += LENGTH + length
    return used


def cut_frames(bytearray buffer not None, list frames not None):
    """Append the whole frames at the start of `buffer`, which follow one another with nothing between (quic.md 3);
    returns how many bytes they took. Raises NoFrame."""
    cdef const uint8_t* data = <const uint8_t*><char*>buffer
    cdef Py_ssize_t filled = len(buffer)
    cdef Py_ssize_t used = 0
    cdef Py_ssize_t length
    while used < filled:
        length = frame_size(data + used, filled - used)
        if length == 0 or filled - used < length:
            break
        frames.append(PyBytes_FromStringAndSize(<const char*>data + used, length))
        used += length
    return used


def ws_messages(list frames not None):
    """The frames as masked binary messages of a WebSocket client, one each, in one piece."""
    cdef Py_ssize_t total = 0
    cdef Py_ssize_t size
    cdef bytes frame
    for frame in frames:
        size = PyBytes_GET_SIZE(frame)
        total += size + (6 if size < 126 else 8 if size < 65536 else 14)
    # RFC 6455, 10.3: nobody may foresee the masks, or what clients write could be made to look like HTTP to a proxy.
    cdef bytes masks = urandom(4 * len(frames))
    cdef const uint8_t* mask = <const uint8_t*>PyBytes_AS_STRING(masks)
    cdef bytes out = PyBytes_FromStringAndSize(NULL, total)
    cdef uint8_t* to = <uint8_t*>PyBytes_AS_STRING(out)
    for frame in frames:
        to = put_message(to, <const uint8_t*>PyBytes_AS_STRING(frame), PyBytes_GET_SIZE(frame), mask)
        mask += 4
    return out


cdef uint8_t* put_message(uint8_t* to, const uint8_t* data, Py_ssize_t size, const uint8_t* mask) noexcept:
    cdef Py_ssize_t index
    cdef uint32_t four, piece
    to[0] = BINARY_MESSAGE
    if size < 126:
        to[1] = <uint8_t>(MASKED | size)
        to += 2
    elif size < 65536:
        to[1] = MASKED | 126
        to[2] = <uint8_t>(size >> 8)
        to[3] = <uint8_t>size
        to += 4
    else:
        to[1] = MASKED | 127
        for index in range(8):
            to[2 + index] = <uint8_t>(size >> (8 * (7 - index)))
        to += 10
    memcpy(to, mask, 4)
    to += 4
    memcpy(&four, mask, 4)
    index = 0
    while index + 4 <= size:
        memcpy(&piece, data + index, 4)
        piece ^= four
        memcpy(to + index, &piece, 4)
        index += 4
    while index < size:
        to[index] = data[index] ^ mask[index & 3]
        index += 1
    return to + size


def tcp_messages(list frames not None):
    """The frames with their lengths before them, in one piece."""
    cdef Py_ssize_t total = 0
    cdef Py_ssize_t size
    cdef bytes frame
    for frame in frames:
        total += LENGTH + PyBytes_GET_SIZE(frame)
    cdef bytes out = PyBytes_FromStringAndSize(NULL, total)
    cdef uint8_t* to = <uint8_t*>PyBytes_AS_STRING(out)
    for frame in frames:
        size = PyBytes_GET_SIZE(frame)
        to[0] = <uint8_t>(size >> 24)
        to[1] = <uint8_t>(size >> 16)
        to[2] = <uint8_t>(size >> 8)
        to[3] = <uint8_t>size
        memcpy(to + LENGTH, PyBytes_AS_STRING(frame), size)
        to += LENGTH + size
    return out


cdef class UplinkListener(WSListener):
    """`UplinkListener(link, max_message)`: gives a `WsConnection` the frames of each receive buffer in one list.

    `max_message` bounds a message that comes in several fragments; picows bounds each of them.
    """

    cdef object link
    cdef list frames
    cdef bytearray fragments        # of a message that comes in several frames
    cdef Py_ssize_t max_message
    cdef bint over                  # no more is taken from this connection

    def __init__(self, link, Py_ssize_t max_message):
        self.link = link
        self.frames = []
        self.max_message = max_message

    cpdef on_ws_connected(self, WSTransport transport):
        # picows leaves its own verdict there; looked at, so that nobody reports it as forgotten.
        transport.disconnected_future.add_done_callback(_looked_at)
        transport.request = None
        self.link.upgraded(transport)

    cpdef on_ws_frame(self, WSTransport transport, WSFrame frame):
        if self.over:
            return
        try:
            if frame.msg_type == WSMsgType.BINARY and frame.fin and self.fragments is None and not (
                    frame.rsv1 | frame.rsv2 | frame.rsv3):
                cut_message(<const uint8_t*>frame.payload_ptr, frame.payload_size, self.frames)
            else:
                self._unusual(frame)
        except NoFrame as error:
            self._end(str(error))
            return
        if frame.last_in_buffer:
            self._deliver()

    cdef _deliver(self):
        if self.frames:
            frames = self.frames
            self.frames = []
            self.link.received(frames)

    cdef _end(self, str reason):
        self.over = True
        self._deliver()             # what came before is good
        self.link.garbage(reason)

    cdef _unusual(self, WSFrame frame):
        if frame.rsv1 | frame.rsv2 | frame.rsv3:
            self._end("reserved bits are set, and no extension was agreed on")
        elif frame.msg_type == WSMsgType.BINARY or frame.msg_type == WSMsgType.CONTINUATION:
            if (frame.msg_type == WSMsgType.BINARY) == (self.fragments is not None):
                self._end("the fragments of a message are out of order")
                return
            if self.fragments is None:
                self.fragments = bytearray()
            self.fragments += frame.get_payload_as_bytes()
            if len(self.fragments) > self.max_message:
                self.fragments = None
                self._end(f"a message in fragments has more than {self.max_message} bytes")
            elif frame.fin:
                whole = bytes(self.fragments)
                self.fragments = None
                cut_message(<const uint8_t*><char*>whole, len(whole), self.frames)
        elif frame.msg_type == WSMsgType.TEXT:
            self._end("a text message; CLASP is binary")
        else:
            self._deliver()         # what came before counts, and comes first
            self.link.control(<int>frame.msg_type, frame.get_payload_as_bytes())
            if frame.msg_type == WSMsgType.CLOSE:
                self.over = True

    cpdef on_ws_disconnected(self, WSTransport transport):
        pass                        # the protocol tells the link, with the reason

    cpdef pause_writing(self):
        self.link.filled()

    cpdef resume_writing(self):
        self.link.drained()


def _looked_at(future):
    if not future.cancelled():
        future.exception()
