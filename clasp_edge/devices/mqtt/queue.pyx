"""The queue of one MQTT session: messages in flight, then messages that wait, and the packets that acknowledge.

Bounded in bytes for each session and for all; kept while the client is away, if the session is. What goes into it, and
when it moves, is the subclass's business (sender.pyx).
"""

import logging

cimport cython
from cpython.bytes cimport PyBytes_FromStringAndSize
from cpython.ref cimport Py_INCREF, Py_XDECREF
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy

from clasp_edge.dataplane.account cimport QUEUES
from clasp_edge.dataplane.bytes cimport put16
from clasp_edge.devices.mqtt.publish_packet cimport (
    IMAGE_HEADROOM,
    V5,
    content_of,
    publish_image,
    stored_size,
    unstore,
    websocket_header,
)

from clasp_edge.dataplane.journal_buffer cimport JournalBuffer

log = logging.getLogger("clasp_edge.dataplane")

cdef enum:
    SMALLEST_PART = 512         # of the queues' memory: so much every session gets while there is any

cdef enum:
    PUBACK = 4
    PUBREC = 5
    PUBREL = 6
    NOT_FOUND = 0x92            # packet identifier not found


@cython.no_gc_clear         # what waits is given back to its holding when the queue is freed
cdef class MqttQueue(Outbox):
    """`MqttQueue(core, context)`."""

    def __cinit__(self, core, MqttContext context not None, *args, **kwargs):
        self.context = context
        self.native = self.takes_raw = True
        self.dead = True                # until `attach`
        self.version = 4
        self.window = 1
        self.peer_max_packet = <size_t>-1

    def __dealloc__(self):
        cdef uint64_t number
        if self.items != NULL:
            for number in range(self.begin, self.end):
                self._release(&self.items[number & (self.room - 1)])
            free(self.items)

    @property
    def waiting(self):
        """Messages that wait for the window, or for the client to come back."""
        return self.end - self.sending

    # ---- answers ----

    cdef bint answer(self, const uint8_t* packet, size_t size) noexcept:
        """Queue one packet that is no delivery: never dropped, or the connection ends."""
        cdef uint8_t buffer[IMAGE_HEADROOM + 256]
        cdef uint8_t* start
        if not self.websocket:
            if self.reply(packet, size):
                return True
        elif size <= 256:
            memcpy(buffer + IMAGE_HEADROOM, packet, size)
            start = websocket_header(buffer + IMAGE_HEADROOM, size)
            if self.reply(start, size + (buffer + IMAGE_HEADROOM - start)):
                return True
        else:
            start = websocket_header(buffer + IMAGE_HEADROOM, size)
            if self.reply(start, buffer + IMAGE_HEADROOM - start) and self.reply(packet, size):
                return True
        self._die()
        return False

    cdef size_t acknowledgement(self, uint8_t* packet, int first, uint16_t packet_id, int reason) noexcept:
        """Make an acknowledgement at `packet`; the reason only where it says something (5.0, 3.4.2.1)."""
        packet[0] = <uint8_t>first
        packet[1] = 2
        put16(packet + 2, packet_id)
        if reason and self.version == V5:
            packet[1] = 3
            packet[4] = <uint8_t>reason
        return packet[1] + 2

    cdef void _answer_id(self, int first, uint16_t packet_id, int reason) noexcept:
        cdef uint8_t packet[ACKNOWLEDGEMENT_BYTES]
        self.answer(packet, self.acknowledgement(packet, first, packet_id, reason))

    # ---- what outlives the process ----

    cdef void note(self, bint urgent) noexcept:
        """The store lacks something of this session, which is kept. Not urgent is what only lets messages of QoS 1 come
        once more."""
        cdef MqttContext context = self.context
        if context.changed is None or (self.noted and (context.urgent or not urgent)):
            return
        try:
            if not self.noted:
                self.noted = True
                context.changed.append(self)
                if len(context.changed) > 1 and (context.urgent or not urgent):
                    return
            context.urgent = context.urgent or urgent
            context.wake(urgent)
        except Exception:
            log.exception("the state of a session could not be noted")

    cdef bint _hold(self, const uint8_t* data, size_t size) noexcept:
        """Keep back what rests on the session's state until that is stored, where the journal is strict. False: it may
        go at once."""
        cdef JournalBuffer buffer = self.context.plane.journal_buffer
        if self.dead or buffer is None or not buffer.strict or self.context.changed is None or not self.keeps:
            return False
        self.wrote_in = buffer.epoch
        return buffer.hold(self, data, size, True)

    cdef void _answer_stored(self, int first, uint16_t packet_id, int reason) noexcept:
        """Acknowledge a step of QoS 2 for a session that is kept."""
        cdef uint8_t buffer[IMAGE_HEADROOM + ACKNOWLEDGEMENT_BYTES]
        cdef uint8_t* start = buffer + IMAGE_HEADROOM
        cdef size_t size = self.acknowledgement(start, first, packet_id, reason)
        self.note(True)
        if self.websocket:
            start = websocket_header(start, size)
        size += buffer + IMAGE_HEADROOM - start
        if not self._hold(start, size) and not self.reply(start, size):
            self._die()

    def send_stored(self, bytes packet not None):
        """As `send_packet`; where the journal is strict, after the commit that has what it answers."""
        cdef uint8_t buffer[IMAGE_HEADROOM]
        cdef uint8_t* start
        cdef size_t size = len(packet)
        if self.dead:
            return
        if self.websocket:
            start = websocket_header(buffer + IMAGE_HEADROOM, size)
            packet = (<char*>start)[:buffer + IMAGE_HEADROOM - start] + packet
        if not self._hold(<const uint8_t*><char*>packet, len(packet)):
            self.send_raw(packet)

    def send_packet(self, bytes packet not None):
        """Queue one packet made by the codec."""
        cdef bint outer = self.core.in_pass
        if self.dead:
            return
        self.core.begin()
        self.answer(<const uint8_t*><char*>packet, len(packet))
        if not outer:
            self.core.finish()

    def send_raw(self, bytes data not None):
        """Queue bytes that are already framed for the transport (WebSocket control frames)."""
        cdef bint outer = self.core.in_pass
        self.core.begin()
        if not self.dead and not self.reply(<const uint8_t*><char*>data, len(data)):
            self._die()
        if not outer:
            self.core.finish()

    # ---- the queue ----

    cdef Item* _new_item(self, int qos, bint retain, PyObject* extra) noexcept:
        """A place at the end of the queue; NULL without memory."""
        cdef Item* items
        cdef Item* item
        cdef size_t room
        cdef uint64_t number
        if self.end - self.begin == self.room:
            room = self.room * 2 if self.room else 16
            items = <Item*>calloc(room, sizeof(Item))
            if items == NULL:
                return NULL
            for number in range(self.begin, self.end):
                items[number & (room - 1)] = self.items[number & (self.room - 1)]
            free(self.items)
            self.items = items
            self.room = room
        item = &self.items[self.end & (self.room - 1)]
        self.end += 1
        item.stored = NULL
        item.logged = 0
        item.extra = extra
        item.group = NULL
        if extra != NULL:
            Py_INCREF(<object>extra)
        item.state = WAITING
        item.qos = <uint8_t>qos
        item.retain = retain
        return item

    cdef bint _queue(self, Stored* stored, int qos, bint retain, PyObject* extra, uint64_t logged) noexcept:
        """Take over the reference to a message that waits. False, and the reference is given back, without room."""
        cdef size_t size = stored_size(stored) + ITEM_BYTES
        cdef Item* item = NULL
        if self._has_room(size) and self.end - self.begin < PACKET_IDS:
            item = self._new_item(qos, retain, extra)
        if item == NULL:
            unstore(stored)
            return False
        item.stored = stored
        if logged:
            item.logged = self.seen_to = logged
        self._count(size)
        self.wanting = True
        return True

    cdef bint _has_room(self, size_t size) noexcept:
        """Whether so much more may wait here: neither a session nor a principal gets more of the queues' memory than it
        leaves to others."""
        cdef MqttContext context = self.context
        cdef size_t spare
        # A single one may be larger than what may wait for a client.
        if self.waiting_bytes and self.waiting_bytes + size > context.session_queue:
            return False
        if context.queued + size > context.total_queue:
            return False
        spare = context.total_queue - context.queued
        return ((self.waiting_bytes + size <= spare and self.holding.account.queued + size <= spare)
                or self.waiting_bytes + size <= context.total_queue // SMALLEST_PART)

    cdef void _count(self, size_t size) noexcept:
        self.waiting_bytes += size
        self.context.queued += size
        self.holding.force(size, QUEUES)

    cdef void _release(self, Item* item) noexcept:
        """Let go of the message, if it is still there."""
        cdef size_t size
        if item.stored != NULL:
            size = stored_size(item.stored) + ITEM_BYTES
            self.waiting_bytes -= size
            self.context.queued -= size
            self.holding.release(size, QUEUES)
            unstore(item.stored)
            item.stored = NULL
        Py_XDECREF(item.extra)
        item.extra = NULL
        Py_XDECREF(item.group)
        item.group = NULL

    def take_shared(self, group, bint unacknowledged):
        """Take out the messages of a shared subscription that wait here, and with `unacknowledged` those of QoS 1 that
        were sent and not acknowledged [MQTT-4.8.2-4, -6]: a list of `(topic, payload, properties, expiry in seconds,
        qos, retain)`."""
        cdef uint64_t number
        cdef Item* item
        cdef Content content
        found = []
        for number in range(self.begin, self.end):
            item = &self.items[number & (self.room - 1)]
            if item.group != <PyObject*>group or item.stored == NULL:
                continue
            if item.state != WAITING and not (unacknowledged and item.state == AWAITS_PUBACK):
                continue
            if content_of(item.stored, self.core.mono_us, &content):
                found.append((
                    PyBytes_FromStringAndSize(<const char*>content.topic, content.topic_size),
                    PyBytes_FromStringAndSize(<const char*>content.payload, content.payload_size),
                    PyBytes_FromStringAndSize(<const char*>content.properties, content.properties_size),
                    content.expiry_s, item.qos, bool(item.retain)))
            self._release(item)
            if item.state == WAITING:
                item.state = DONE
        return found

    cdef void _trim(self) noexcept:
        while self.begin < self.sending and self.items[self.begin & (self.room - 1)].state == DONE:
            self.begin += 1
        if self.begin == self.end and self.room > 64:
            free(self.items)                # nothing in flight: an idle session holds nothing
            self.items = NULL
            self.room = 0

    cdef void settle(self, int type, uint16_t packet_id, int reason) noexcept:
        """An acknowledgement of the client (5.0, 4.3)."""
        cdef uint64_t number = self.begin - self.begin % PACKET_IDS + packet_id - 1
        cdef Item* item = NULL
        if number < self.begin:
            number += PACKET_IDS
        if number < self.sending:
            item = &self.items[number & (self.room - 1)]
        if type == PUBREC and (item == NULL or item.state == DONE or item.state == AWAITS_PUBACK):
            if reason < 0x80:
                self._answer_id(PUBREL << 4 | 2, packet_id, NOT_FOUND)
            return
        if item == NULL:
            return
        if type == PUBREC and reason < 0x80:
            # From here on only the identifier is ours to keep [MQTT-4.3.3-5].
            self._release(item)
            item.state = AWAITS_PUBCOMP
            if self.keeps:
                self._answer_stored(PUBREL << 4 | 2, packet_id, 0)
            else:
                self._answer_id(PUBREL << 4 | 2, packet_id, 0)
            return
        if item.state != (AWAITS_PUBACK if type == PUBACK else AWAITS_PUBREC if type == PUBREC else AWAITS_PUBCOMP):
            return
        self._release(item)
        item.state = DONE
        self.in_flight -= 1
        if self.keeps:
            self.note(False)
        self._trim()
        if self.wanting or self.converging:
            self._pump(self.core.mark() >> 1)

    cdef int _send_item(self) noexcept:
        """Send the first waiting message, or the first to be repeated. False when it has to wait."""
        cdef Item* item = &self.items[self.sending & (self.room - 1)]
        cdef uint16_t packet_id = <uint16_t>(self.sending % PACKET_IDS + 1)
        cdef Content content
        cdef size_t size
        cdef int flags
        if item.state == AWAITS_PUBCOMP:
            self._answer_id(PUBREL << 4 | 2, packet_id, 0)
            self.in_flight += 1
        elif item.stored == NULL:
            item.state = DONE               # done already, or nothing to repeat
        else:
            flags = item.qos << 1 | (1 if item.retain else 0) | (0 if item.state == WAITING else 8)
            size = 0
            if content_of(item.stored, self.core.mono_us, &content) or item.state != WAITING:
                size = self._spare_image(&content, flags, packet_id, item.extra)
            if size == 0:
                self._release(item)
                item.state = DONE
            elif self._send_spare(size, item.qos):
                item.state = AWAITS_PUBACK if item.qos == 1 else AWAITS_PUBREC
                self.in_flight += 1
                if not self.keeps and item.group == NULL:
                    self._release(item)
                elif item.qos == 2:
                    self.note(True)
            else:
                self._resume_later(0.02)
                return False
        self.sending += 1
        return True

    cdef size_t _spare_image(self, const Content* content, int flags, uint16_t packet_id, PyObject* extra) noexcept:
        """A packet in the buffer that no delivery under way uses; 0 if the client does not take one so large."""
        cdef size_t id_at
        cdef const uint8_t* identifiers = NULL
        cdef size_t identifiers_size = 0
        cdef size_t size
        if extra != NULL and self.version == V5:
            identifiers = <const uint8_t*><char*>(<bytes>extra)
            identifiers_size = len(<bytes>extra)
        size = publish_image(self.context.spare + IMAGE_HEADROOM, self.context.room, content, self.version, flags,
                             packet_id, 0, False, identifiers, identifiers_size, &id_at, False)
        if size == 0 or size > self.peer_max_packet:
            self.context.dropped += 1
            return 0
        return size

    cdef bint _send_spare(self, size_t size, int qos) noexcept:
        cdef uint8_t* start = self.context.spare + IMAGE_HEADROOM
        if self.websocket:
            start = websocket_header(start, size)
        size += self.context.spare + IMAGE_HEADROOM - start
        # With QoS 2 a message has its identifier for good, over restarts too. What comes after it does not overtake.
        if qos and self.keeps and (qos == 2 or self.held_next.size or self.held_now.size) and self._hold(start, size):
            self.context.sent += 1
            return True
        if not self.put(start, size):
            return False
        self.context.sent += 1
        if not self.is_dirty:
            self.core.mark_dirty(self)
        return True

    cdef bint _ready(self) noexcept:
        """Whether the next acknowledged message may go out now."""
        return (self.sending == self.end and self.in_flight < self.window and self.end - self.begin < LONGEST_SPAN
                and not self.pressed and not self.dead)

    cdef void _pump(self, size_t limit) noexcept:
        """Send what waits, as far as the window and the outbox allow."""
