"""What a CLASP client is sent: deliveries and answers with their transport's header, the newest params after pressure.

The outgoing half of `ClaspReceiver`. Knows how the kinds of stream delimit a frame (wire.md 6.1, 6.2, quic.md 3), and
nothing of what comes in.
"""

import logging

from cpython.bytes cimport PyBytes_FromStringAndSize
from cpython.ref cimport PyObject
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, memmove

from clasp_edge.dataplane.bytes cimport get16, get32, get64, put16, put32, put64
from clasp_edge.dataplane.journal_buffer cimport JournalBuffer
from clasp_edge.dataplane.sink cimport BOUNDED, CONVERGES, HEADROOM, OLDEST_FIRST, begin_delivery
from clasp_edge.dataplane.table cimport LIST_PARAMS, Entry
from clasp_edge.dataplane.trie cimport Fanout

log = logging.getLogger("clasp_edge.dataplane")

cdef enum:
    MAX_FRAME = 65547
    FEDERATION_SYNC = 0x04
    STORED = 0x44
    ACK = 0x50


cdef bint _confirms(const uint8_t* frame, size_t size) noexcept:
    """Whether a frame of ours says that something is stored: an ACK, or what routers tell each other of it."""
    cdef size_t payload = 12 if size > 1 and frame[1] & 0x20 else 4
    if size <= payload + 1:
        return size > payload and frame[payload] == ACK
    return frame[payload] == ACK or (frame[payload] == FEDERATION_SYNC and frame[payload + 1] == STORED)


cdef class ClaspSender(Outbox):
    """`ClaspSender(core, plane)`; see `open_outbox` for its socket."""

    def __cinit__(self, core, Plane plane not None, *args, **kwargs):
        self.plane = plane

    cdef uint8_t* _transport_header(self, uint8_t* frame, size_t size) noexcept:
        """Put the transport's header into the headroom before the frame; returns where it starts."""
        cdef uint8_t* start
        if self.framing == FRAMED_TCP:
            start = frame - 4
            put32(start, <uint32_t>size)
            return start
        if self.framing == FRAMED_QUIC:
            return frame
        if size < 126:
            start = frame - 2
            start[1] = <uint8_t>size
        elif size < 65536:
            start = frame - 4
            start[1] = 126
            put16(start + 2, <uint16_t>size)
        else:
            start = frame - 10
            start[1] = 127
            put64(start + 2, size)
        start[0] = 0x82
        return start

    cdef void deliver(self, Delivery* delivery) noexcept:
        cdef uint8_t* start
        if self.dead or self.silent:
            return
        start = self._transport_header(delivery.frame, delivery.size)
        if (self.held_next.size or self.held_now.size) and self.plane.journal_buffer is not None:
            if self.plane.journal_buffer.hold_delivery(self, start, delivery.size + (delivery.frame - start)):
                return
            if delivery.loss == CONVERGES and not self.plane.journal_buffer.failing:
                # An older value that waits would come last: so this one comes again, as the newest, behind it.
                self._under_pressure(start, delivery.size + (delivery.frame - start), delivery)
                return
        self.push(start, delivery.size + (delivery.frame - start), delivery)

    cdef void _send(self, uint8_t* frame, size_t size) noexcept:
        """An answer to the peer itself. `frame` has HEADROOM writable bytes before it."""
        cdef uint8_t* start = self._transport_header(frame, size)
        cdef JournalBuffer journal = self.plane.journal_buffer
        if journal is not None and journal.strict and journal.hold(self, start, size + (frame - start),
                                                                   _confirms(frame, size)):
            return
        if not self.reply(start, size + (frame - start)):
            # Without the answer the peer would wait for ever; without memory there is no answer.
            self._die()

    def await_commit(self):
        """What is sent to the peer next tells of something that may not be stored yet, whoever wrote it (strict)."""
        cdef JournalBuffer journal = self.plane.journal_buffer
        if journal is not None and journal.strict and journal.unstored:
            self.wrote_in = journal.epoch

    def waits_for_commit(self):
        """As `Outbox`. While nothing can be stored, only confirmations wait."""
        return ((self.held_next.size or self.held_now.size) and self.plane.journal_buffer is not None
                and not self.plane.journal_buffer.failing)

    def keep(self, bytes piece not None):
        """As `Outbox`: where the journal is strict, nobody is shown what a power cut could take back."""
        cdef JournalBuffer journal = self.plane.journal_buffer
        if journal is None or not journal.strict:
            return False
        if ((self.wrote_in >= journal.durable or self.held_next.size or self.held_now.size)
                and self.held_next.size + len(piece) > self.core.arena.free_bytes() >> 1):
            return None                 # `hold` would end who asks for more than others can spare
        return journal.hold(self, <const uint8_t*><char*>piece, len(piece), False)

    def send(self, bytes frame not None):
        """Queue one whole CLASP frame (at most 65,547 bytes) for the peer. Written at the end of the pass."""
        cdef uint8_t buffer[HEADROOM + MAX_FRAME]
        cdef size_t size = len(frame)
        cdef bint outer = self.core.in_pass
        if size > MAX_FRAME:
            raise ValueError(f"a frame of {size} bytes cannot be sent")
        memcpy(buffer + HEADROOM, <char*>frame, size)
        self.core.begin()
        self._send(buffer + HEADROOM, size)
        if not outer:
            self.core.finish()

    def offer(self, bytes frame not None, bytes address not None, int signal, bint oldest_first):
        """Queue a delivery of the control plane (thinned out or delayed), with the promises under pressure."""
        cdef Entry* entry
        cdef uint8_t buffer[HEADROOM + MAX_FRAME]
        cdef Delivery delivery
        cdef bint outer = self.core.in_pass
        if len(frame) > MAX_FRAME:
            raise ValueError(f"a frame of {len(frame)} bytes cannot be sent")
        memcpy(buffer + HEADROOM, <char*>frame, len(frame))
        begin_delivery(&delivery, self, signal, OLDEST_FIRST if oldest_first else BOUNDED)
        delivery.frame = buffer + HEADROOM
        delivery.size = len(frame)
        self.core.begin()
        if signal == 0:
            entry = self.plane.live(<const uint8_t*><char*>address, len(address),
                                    self.plane.table.hash_of(<const uint8_t*><char*>address, len(address)))
            if entry != NULL and entry.revision:
                delivery.seq = entry.seq
                delivery.loss = CONVERGES
        self.deliver(&delivery)
        if not outer:
            self.core.finish()

    def send_raw(self, bytes data not None):
        """Queue bytes that are already framed for the transport (WebSocket control frames)."""
        cdef bint outer = self.core.in_pass
        self.core.begin()
        if not self.reply(<const uint8_t*><char*>data, len(data)):
            self._die()
        if not outer:
            self.core.finish()

    def image(self, bytes frame not None):
        """The frame with its transport header, as jobs yield it."""
        cdef uint8_t buffer[HEADROOM + MAX_FRAME]
        cdef uint8_t* start
        if len(frame) > MAX_FRAME:
            raise ValueError(f"a frame of {len(frame)} bytes cannot be sent")
        memcpy(buffer + HEADROOM, <char*>frame, len(frame))
        start = self._transport_header(buffer + HEADROOM, len(frame))
        return PyBytes_FromStringAndSize(<char*>start, len(frame) + (buffer + HEADROOM - start))

    def images(self, list frames not None):
        """The frames one behind the other, each as `image` makes it."""
        cdef bytes frame, whole
        cdef uint8_t* at
        cdef uint8_t* start
        cdef size_t size = 0
        for frame in frames:
            if len(frame) > MAX_FRAME:
                raise ValueError(f"a frame of {len(frame)} bytes cannot be sent")
            size += HEADROOM + <size_t>len(frame)
        whole = PyBytes_FromStringAndSize(NULL, size)
        at = <uint8_t*><char*>whole     # a fresh object that nobody else has seen yet
        for frame in frames:
            memcpy(at + HEADROOM, <char*>frame, len(frame))
            start = self._transport_header(at + HEADROOM, len(frame))
            size = len(frame) + (at + HEADROOM - start)
            memmove(at, start, size)
            at += size
        return whole[:at - <uint8_t*><char*>whole]

    cdef bint answer_now(self) noexcept:
        cdef size_t size = self.held_next.size
        cdef size_t at = 0
        cdef size_t head, length
        cdef uint8_t* held
        if size == 0 or self.dead:
            return True
        held = <uint8_t*>malloc(size)
        if held == NULL:
            return False            # they wait on
        self.core.arena.copy_out(&self.held_next, held, size)
        self.core.arena.clear(&self.held_next)
        while at < size:
            # What `_transport_header` has put in front.
            if self.framing == FRAMED_TCP:
                head = 4
                length = get32(held + at)
            elif self.framing == FRAMED_QUIC:
                head = 0                # the frame says its own length
                length = (12 if held[at + 1] & 0x20 else 4) + get16(held + at + 2)
            else:
                head = 2 if held[at + 1] < 126 else 4 if held[at + 1] == 126 else 10
                length = (held[at + 1] if head == 2 else get16(held + at + 2) if head == 4
                          else <size_t>get64(held + at + 2))
            if _confirms(held + at + head, length):
                if not self.core.arena.append(&self.held_next, held + at, head + length):
                    self._die()
                    break
            elif not self.reply(held + at, head + length):
                self._die()
                break
            at += head + length
        free(held)
        return True

    # ---- catching up after pressure ----

    cdef uint64_t last_change(self) noexcept:
        return self.plane.table.seq

    cdef void catch_up(self, size_t limit) noexcept:
        """Send the newest value of every param that changed since `cursor`, oldest change first."""
        cdef uint8_t buffer[HEADROOM + MAX_FRAME]
        cdef uint8_t* start
        cdef Entry* entry
        cdef Fanout fan
        cdef Py_ssize_t i
        cdef size_t size
        cdef uint32_t* older = self.plane.table.older
        cdef uint32_t* newer = self.plane.table.newer
        cdef uint32_t id = older[LIST_PARAMS]
        if self.waits_for_commit():
            return                      # older values are among what waits
        while id != LIST_PARAMS and self.plane.table.entries[id].seq > self.cursor:
            id = older[id]
        id = newer[id]
        while id != LIST_PARAMS:
            if self.out.size >= limit:
                return
            entry = self.plane.table.entries[id]
            try:
                fan = self.plane.fan(entry)
            except Exception:
                log.exception("a fan-out could not be built")
                return
            for i in range(fan.count):
                if fan.targets[i].sink == <PyObject*>self and (fan.targets[i].plain | fan.targets[i].filtered) & 1:
                    size = self.plane.set_image(entry, buffer + HEADROOM)
                    start = self._transport_header(buffer + HEADROOM, size)
                    if not self.put(start, size + (buffer + HEADROOM - start)):
                        return
                    break
            self.cursor = entry.seq
            id = newer[id]
        self.converging = False
