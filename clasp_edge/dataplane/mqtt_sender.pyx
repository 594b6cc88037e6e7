"""The outgoing half of an MQTT session: what it is sent, at which quality, and what it still has to acknowledge.

QoS 0 goes the way of every delivery (outlet.pyx) with its promises under pressure. QoS 1 and 2 go through a queue: a
window of messages in flight, then those that wait, for the window or for the client to come back. The queue is bounded;
what finds no room in it is dropped and counted, but a param then converges: its newest value is sent when there is room
again.
"""

import logging

from cpython.bytes cimport PyBytes_FromStringAndSize
from cpython.ref cimport Py_INCREF, Py_XDECREF
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy

from clasp_edge.dataplane.bytes cimport put16
from clasp_edge.dataplane.mqtt_image cimport (
    IMAGE_HEADROOM,
    V5,
    content_of,
    publish_image,
    store,
    stored_size,
    unstore,
    websocket_header,
)
from clasp_edge.dataplane.outlet cimport CONVERGES, NO_EXPIRY, OLDEST_FIRST
from clasp_edge.dataplane.table cimport FIRST_ID, LIST_PARAMS, entry_address
from clasp_edge.dataplane.trie cimport (
    OPTION_NO_LOCAL,
    OPTION_OWN_APART,
    OPTION_OWN_SHIFT,
    OPTION_QOS,
    OPTION_RETAIN_AS_PUBLISHED,
    Fanout,
)
from clasp_edge.wire.pattern cimport Pattern

log = logging.getLogger("clasp_edge.dataplane")

cdef enum:
    PACKET_IDS = 65535
    # Between the oldest message in flight and the newest: who acknowledges all but one for so long gets no more.
    LONGEST_SPAN = 16384
    ITEM_BYTES = 96             # what a waiting message is charged beside its own bytes
    ALIAS_RESERVE_CHUNKS = 64   # an alias is introduced only if its packet cannot get lost
    SCAN_AT_ONCE = 4096         # params looked at before others get their turn
    PUBACK = 4
    PUBREC = 5
    PUBREL = 6
    PUBCOMP = 7
    NOT_FOUND = 0x92            # packet identifier not found


cdef class MqttSender(Outlet):
    """`MqttSender(core, hub)`."""

    def __cinit__(self, core, MqttHub hub not None, *args, **kwargs):
        self.hub = hub
        self.native = True
        self.dead = True                # until `attach`
        self.version = 4
        self.window = 1
        self.peer_max_packet = <size_t>-1
        self.retained = []

    def __dealloc__(self):
        cdef uint64_t number
        if self.items != NULL:
            for number in range(self.begin, self.end):
                self._release(&self.items[number & (self.room - 1)])
            free(self.items)

    # ---- the connection ----

    def attach(self, int fd, int version, bint websocket, uint16_t alias_maximum):
        """The session has a connection (again). Nothing is sent before `start_sending`."""
        self.open_outlet(fd)
        self.dead = False
        self.started = False
        self.blocked = False
        self.pressed = False
        self.version = version
        self.websocket = websocket
        self.alias_maximum = alias_maximum
        self.aliases = {} if alias_maximum else None

    def start_sending(self):
        """CONNACK is out: send again what the last connection left open [MQTT-4.4.0-1], then what waits."""
        cdef bint outer = self.core.in_pass
        self.core.begin()
        self.started = True
        self.sending = self.begin
        self.in_flight = 0
        self._pump(self.core.mark() >> 1)
        if not outer:
            self.core.finish()

    def detach(self):
        """The connection is gone; what waits stays, if the session does."""
        waits = self.retained
        falls_behind = self.converging
        self.close_outlet()
        self.blocked = False
        self.pressed = False
        self.aliases = None
        if self.keeps:
            self.retained = waits
            self.converging = falls_behind

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

    cdef void _answer_id(self, int first, uint16_t packet_id, int reason) noexcept:
        """An acknowledgement; the reason only where it says something (5.0, 3.4.2.1)."""
        cdef uint8_t packet[5]
        packet[0] = <uint8_t>first
        packet[1] = 2
        put16(packet + 2, packet_id)
        if reason and self.version == V5:
            packet[1] = 3
            packet[4] = <uint8_t>reason
        self.answer(packet, packet[1] + 2)

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

    # ---- deliveries ----

    cdef void deliver(self, Delivery* delivery) noexcept:
        cdef uint32_t options = delivery.options
        cdef int qos
        cdef int published
        cdef bint retain
        if delivery.origin == <PyObject*>self:
            if options & OPTION_NO_LOCAL:
                return
            if options & OPTION_OWN_APART:
                options >>= OPTION_OWN_SHIFT
        qos = options & OPTION_QOS
        if delivery.raw != NULL:
            published = delivery.raw.qos
            retain = delivery.raw.retain
        else:
            # A CLASP param or event is worth an acknowledgement, a stream's sample is not (wire.md 2.1).
            published = 0 if delivery.loss == OLDEST_FIRST else 1
            retain = delivery.signal == 0
        if published < qos:
            qos = published
        if self.dead and (qos == 0 or not self.keeps):
            return
        if not self.hub.prepare(delivery):
            return
        retain = retain and (options & OPTION_RETAIN_AS_PUBLISHED) != 0     # else [MQTT-3.3.1-12]
        if qos == 0:
            self._at_most_once(delivery, retain)
        else:
            self._acknowledged(delivery, qos, retain)

    cdef size_t _image(self, int flags, uint16_t packet_id, PyObject* extra) noexcept:
        """The packet of `hub.content`, at `hub.image + IMAGE_HEADROOM`; made once for all who get the same."""
        cdef MqttHub hub = self.hub
        cdef int key = flags | (0x10 if self.version == V5 else 0)
        cdef uint16_t alias = 0
        cdef bint alias_only = False
        cdef const uint8_t* identifiers = NULL
        cdef size_t identifiers_size = 0
        if hub.image_serial == hub.serial and hub.image_key == key and extra == NULL and self.aliases is None:
            if packet_id:
                put16(hub.image + IMAGE_HEADROOM + hub.image_id_at, packet_id)
            return hub.image_size
        if extra != NULL and self.version == V5:
            identifiers = <const uint8_t*><char*>(<bytes>extra)
            identifiers_size = len(<bytes>extra)
            key = -1
        if self.aliases is not None:
            key = -1
            try:
                topic = PyBytes_FromStringAndSize(<const char*>hub.content.topic, hub.content.topic_size)
                known = self.aliases.get(topic)
                if known is not None:
                    alias = known
                    alias_only = True
                elif (len(self.aliases) < self.alias_maximum and not self.pressed and not self.converging
                        and self.backlog.size == 0 and self.core.arena.free > ALIAS_RESERVE_CHUNKS):
                    alias = len(self.aliases) + 1
                    self.aliases[topic] = alias
            except MemoryError:
                pass
        hub.image_size = publish_image(hub.image + IMAGE_HEADROOM, &hub.content, self.version, flags, packet_id, alias,
                                       alias_only, identifiers, identifiers_size, &hub.image_id_at)
        if alias and not alias_only and hub.image_size > self.peer_max_packet:
            del self.aliases[topic]             # it will not be sent
        hub.image_serial = hub.serial
        hub.image_key = key
        return hub.image_size

    cdef void _at_most_once(self, Delivery* delivery, bint retain) noexcept:
        cdef size_t size = self._image(1 if retain else 0, 0, delivery.extra)
        cdef uint8_t* start = self.hub.image + IMAGE_HEADROOM
        if size == 0 or size > self.peer_max_packet:
            self.hub.dropped += 1               # [MQTT-3.1.2-25]: as if it had been sent
            return
        self.hub.sent += 1
        if self.websocket:
            start = websocket_header(start, size)
        self.push(start, size + (self.hub.image + IMAGE_HEADROOM - start), delivery)

    cdef bint _ready(self) noexcept:
        """Whether the next acknowledged message may go out now."""
        return (self.sending == self.end and self.in_flight < self.window and self.end - self.begin < LONGEST_SPAN
                and not self.pressed and not self.dead)

    cdef void _acknowledged(self, Delivery* delivery, int qos, bint retain) noexcept:
        cdef Item* item
        cdef Stored* stored
        cdef size_t size
        cdef uint8_t* start
        cdef uint16_t packet_id
        if self.converging and delivery.loss == CONVERGES:
            self.conflated_params += 1
            self.core.conflated_params += 1
            return
        if self._ready() and not self.keeps:
            packet_id = <uint16_t>(self.end % PACKET_IDS + 1)
            size = self._image(qos << 1 | (1 if retain else 0), packet_id, delivery.extra)
            if size == 0 or size > self.peer_max_packet:
                self.hub.dropped += 1
                return
            start = self.hub.image + IMAGE_HEADROOM
            if self.websocket:
                start = websocket_header(start, size)
            item = self._new_item(qos, retain, NULL)
            if item != NULL:
                if self.reply(start, size + (self.hub.image + IMAGE_HEADROOM - start)):
                    item.state = AWAITS_PUBACK if qos == 1 else AWAITS_PUBREC
                    self.sending = self.end
                    self.in_flight += 1
                    self.hub.sent += 1
                    return
                self.end -= 1                   # no memory to send from: it waits
                if not self.resume_due:
                    self._resume_later(0.02)
        stored = self.hub.keep()
        if stored == NULL or not self._queue(stored, qos, retain, delivery.extra):
            if delivery.loss == CONVERGES:
                self.converging = True
                self.cursor = delivery.seq - 1
                self.conflated_params += 1
                self.core.conflated_params += 1
            else:
                self.dropped_events += 1
                self.core.dropped_events += 1
                self.hub.dropped += 1
            return
        self._pump(self.core.mark())

    def offer(self, bytes topic not None, bytes payload not None, int qos, bint retain, bytes extra=None):
        """Deliver a message that is no param and no event of the router ($SYS). False if there is no room."""
        cdef Content content
        cdef Stored* stored
        cdef bint outer = self.core.in_pass
        cdef bint taken
        cdef PyObject* identifiers = NULL if extra is None else <PyObject*>extra
        cdef size_t size
        content.topic = <const uint8_t*><char*>topic
        content.topic_size = len(topic)
        content.payload = <const uint8_t*><char*>payload
        content.payload_size = len(payload)
        content.properties_size = 0
        content.expiry_s = NO_EXPIRY
        self.core.begin()
        if qos == 0:
            size = 0 if self.dead or self.pressed else self._spare_image(&content, 1 if retain else 0, 0, identifiers)
            taken = size != 0 and self._send_spare(size)
        else:
            stored = store(&content, self.core.mono_us)
            taken = stored != NULL and self._queue(stored, qos, retain, identifiers)
            if taken:
                self._pump(self.core.mark())
        if not taken:
            self.hub.dropped += 1
        if not outer:
            self.core.finish()
        return taken

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
        item.extra = extra
        if extra != NULL:
            Py_INCREF(<object>extra)
        item.state = WAITING
        item.qos = <uint8_t>qos
        item.retain = retain
        return item

    cdef bint _queue(self, Stored* stored, int qos, bint retain, PyObject* extra) noexcept:
        """Take over the reference to a message that waits. False, and the reference is given back, without room."""
        cdef size_t size = stored_size(stored) + ITEM_BYTES
        cdef Item* item = NULL
        if (self.waiting_bytes + size <= self.hub.session_queue and self.hub.queued + size <= self.hub.total_queue
                and self.end - self.begin < PACKET_IDS):
            item = self._new_item(qos, retain, extra)
        if item == NULL:
            unstore(stored)
            return False
        item.stored = stored
        self.waiting_bytes += size
        self.hub.queued += size
        self.wanting = True
        return True

    cdef void _release(self, Item* item) noexcept:
        """Let go of the message, if it is still there."""
        cdef size_t size
        if item.stored != NULL:
            size = stored_size(item.stored) + ITEM_BYTES
            self.waiting_bytes -= size
            self.hub.queued -= size
            unstore(item.stored)
            item.stored = NULL
        Py_XDECREF(item.extra)
        item.extra = NULL

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
            self._answer_id(PUBREL << 4 | 2, packet_id, 0)
            return
        if item.state != (AWAITS_PUBACK if type == PUBACK else AWAITS_PUBREC if type == PUBREC else AWAITS_PUBCOMP):
            return
        self._release(item)
        item.state = DONE
        self.in_flight -= 1
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
            elif self._send_spare(size):
                item.state = AWAITS_PUBACK if item.qos == 1 else AWAITS_PUBREC
                self.in_flight += 1
                if not self.keeps:
                    self._release(item)
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
        size = publish_image(self.hub.spare + IMAGE_HEADROOM, content, self.version, flags, packet_id, 0, False,
                             identifiers, identifiers_size, &id_at)
        if size == 0 or size > self.peer_max_packet:
            self.hub.dropped += 1
            return 0
        return size

    cdef bint _send_spare(self, size_t size) noexcept:
        cdef uint8_t* start = self.hub.spare + IMAGE_HEADROOM
        if self.websocket:
            start = websocket_header(start, size)
        if not self.core.arena.append(&self.out, start, size + (self.hub.spare + IMAGE_HEADROOM - start)):
            return False
        self.hub.sent += 1
        if not self.is_dirty:
            self.core.mark_dirty(self)
        return True

    cdef void _pump(self, size_t limit) noexcept:
        """Send what waits, oldest first: messages, stale params, retained messages of new subscriptions."""
        if not self.started:
            return
        while (self.sending < self.end and self.in_flight < self.window and self.sending - self.begin < LONGEST_SPAN
               and self.out.size < limit and not self.dead):
            if not self._send_item():
                break
        self._trim()
        if self.converging and self.sending == self.end and not self.dead and self.out.size < limit:
            self.catch_up(limit)
        while self.retained and self.sending == self.end and self.out.size < limit and not self.dead:
            if not self._send_retained(limit):
                break
        self.wanting = self.sending < self.end or len(self.retained) > 0

    cdef void more(self, size_t limit) noexcept:
        self._pump(limit)

    # ---- params ----

    cdef int _send_entry(self, Entry* entry, int options, PyObject* extra, bint retain) noexcept:
        """Send a param's present value. False when it has to wait."""
        cdef Content content
        cdef int qos = options & OPTION_QOS
        cdef Item* item
        cdef size_t size
        cdef uint16_t packet_id = 0
        if entry.qos < qos:
            qos = entry.qos
        if qos and not self._ready():
            return False
        if not self.hub.entry_content(entry, &content):
            return True
        if qos:
            packet_id = <uint16_t>(self.end % PACKET_IDS + 1)
        size = self._spare_image(&content, qos << 1 | (1 if retain else 0), packet_id, extra)
        if size == 0:
            return True
        if not qos:
            if not self._send_spare(size):
                self._resume_later(0.02)
                return False
            return True
        item = self._new_item(qos, retain, extra)
        if item == NULL:
            return False
        if self.keeps:
            item.stored = store(&content, self.core.mono_us)
            if item.stored != NULL:
                self.waiting_bytes += stored_size(item.stored) + ITEM_BYTES
                self.hub.queued += stored_size(item.stored) + ITEM_BYTES
        if (self.keeps and item.stored == NULL) or not self._send_spare(size):
            self._release(item)
            self.end -= 1
            self._resume_later(0.02)
            return False
        item.state = AWAITS_PUBACK if qos == 1 else AWAITS_PUBREC
        self.sending = self.end
        self.in_flight += 1
        return True

    cdef void catch_up(self, size_t limit) noexcept:
        """Send the newest value of every param that changed since `cursor`, oldest change first."""
        cdef Entry* entry
        cdef Fanout fan
        cdef Py_ssize_t i
        cdef uint32_t* older = self.hub.plane.table.older
        cdef uint32_t* newer = self.hub.plane.table.newer
        cdef uint32_t id = older[LIST_PARAMS]
        if self.sending < self.end or not self.started:
            return                      # after what waits already, or a newer value would overtake an older one
        while id != LIST_PARAMS and self.hub.plane.table.entries[id].seq > self.cursor:
            id = older[id]
        id = newer[id]
        while id != LIST_PARAMS:
            if self.out.size >= limit:
                return
            entry = self.hub.plane.table.entries[id]
            try:
                fan = self.hub.plane.fan(entry)
            except Exception:
                log.exception("a fan-out could not be built")
                return
            for i in range(fan.count):
                if fan.targets[i].sink == <PyObject*>self and fan.targets[i].plain & 1:
                    if not self._send_entry(entry, fan.targets[i].options, fan.targets[i].extra,
                                            (fan.targets[i].options & OPTION_RETAIN_AS_PUBLISHED) != 0):
                        return
                    break
            self.cursor = entry.seq
            id = newer[id]
        self.converging = False

    def send_retained(self, Pattern pattern not None, int options, bytes identifiers=None):
        """Send the params that match as retained messages, as far as the client takes them now; the rest follows."""
        cdef bint outer = self.core.in_pass
        self.retained.append([pattern, 0, options, identifiers])
        self.core.begin()
        self.wanting = True
        self._pump(self.core.mark() >> 1)
        if not outer:
            self.core.finish()

    cdef bint _send_retained(self, size_t limit) noexcept:
        """Go on with the first of `retained`. False when it has to wait."""
        cdef list job = <list>self.retained[0]
        cdef Pattern pattern = <Pattern>job[0]
        cdef uint32_t id = <uint32_t>job[1]
        cdef int options = <int>job[2]
        cdef PyObject* extra = NULL if job[3] is None else <PyObject*>job[3]
        cdef uint32_t scanned = 0
        cdef Entry* entry
        cdef uint64_t now_ms = self.core.mono_us // 1000
        try:
            if pattern.literal:
                entry = self.hub.plane.live(<const uint8_t*><char*>pattern.text, len(pattern.text),
                                            self.hub.plane.table.hash_of(<const uint8_t*><char*>pattern.text,
                                                                         len(pattern.text)))
                if entry != NULL and entry.revision and (
                        self.scopes is None or self.scopes.allows("read", pattern.text)):
                    if not self._send_entry(entry, options, extra, True):
                        return False
                del self.retained[0]
                return True
            if id < FIRST_ID:
                id = FIRST_ID
            while id < self.hub.plane.table.top:
                if self.out.size >= limit or scanned >= SCAN_AT_ONCE:
                    job[1] = id
                    if scanned >= SCAN_AT_ONCE:
                        self._resume_later(0)
                    return False
                entry = self.hub.plane.table.entries[id]
                scanned += 1
                if entry != NULL and entry.revision and not (entry.deadline_ms and entry.deadline_ms <= now_ms):
                    address = PyBytes_FromStringAndSize(<const char*>entry_address(entry), entry.address_size)
                    if pattern.matches(address) and (self.scopes is None or self.scopes.allows("read", address)):
                        if not self._send_entry(entry, options, extra, True):
                            job[1] = id
                            return False
                id += 1
        except Exception:
            log.exception("retained messages could not be sent")
        del self.retained[0]
        return True
