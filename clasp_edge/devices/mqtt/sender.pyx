"""The outgoing half of an MQTT session: what it is sent, at which quality, and what it still has to acknowledge.

QoS 0 goes the way of every delivery (outbox.pyx) with its promises under pressure. QoS 1 and 2 go through a queue: a
window of messages in flight, then those that wait, for the window or for the client to come back. The queue is bounded;
what finds no room in it is dropped and counted, but a param then converges: its newest value is sent when there is room
again.
"""

import logging

from cpython.bytes cimport PyBytes_FromStringAndSize
from cpython.ref cimport Py_INCREF
from libc.string cimport memset

from clasp_edge.dataplane.account cimport ALIASES
from clasp_edge.dataplane.address_index cimport AddressScan
from clasp_edge.dataplane.bytes cimport put16
from clasp_edge.dataplane.sink cimport BOUNDED, CONVERGES, NO_EXPIRY, OLDEST_FIRST
from clasp_edge.dataplane.sockets cimport MSG_DONTWAIT, MSG_NOSIGNAL, iovec, msghdr, sendmsg
from clasp_edge.dataplane.state cimport STEPS, STEPS_OF_PARTIAL, State
from clasp_edge.dataplane.table cimport LIST_PARAMS, entry_address
from clasp_edge.dataplane.trie cimport (
    OPTION_NO_LOCAL,
    OPTION_OWN_APART,
    OPTION_OWN_SHIFT,
    OPTION_QOS,
    OPTION_RETAIN_AS_PUBLISHED,
    OPTION_SHARED,
    Fanout,
)
from clasp_edge.devices.mqtt.context cimport MqttContext
from clasp_edge.devices.mqtt.publish_packet cimport (
    IMAGE_HEADROOM,
    V5,
    Content,
    Stored,
    publish_image,
    store,
    stored_size,
    websocket_header,
)
from clasp_edge.devices.mqtt.queue cimport AWAITS_PUBACK, AWAITS_PUBREC, ITEM_BYTES, LONGEST_SPAN, PACKET_IDS, Item
from clasp_edge.wire.pattern cimport Pattern

log = logging.getLogger("clasp_edge.dataplane")

cdef enum:
    LARGE_PAYLOAD = 12288       # from here on two copies cost more than a write for each message
    CHUNK_BYTES = 4080          # of the arena
    ALIAS_RESERVE_CHUNKS = 64   # an alias is introduced only if its packet cannot get lost


cdef class MqttSender(MqttQueue):
    """`MqttSender(core, context)`."""

    def __cinit__(self, core, MqttContext context not None, *args, **kwargs):
        self.retained = {}

    # ---- the connection ----

    def attach(self, int fd, int version, bint websocket, uint16_t alias_maximum):
        """The session has a connection (again). Nothing is sent before `start_sending`."""
        self.open_outbox(fd)
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
        self.silence()
        self.aliases = None
        self.forget_aliases()
        self.holding.release_all(ALIASES)

    def silence(self):
        """Nothing can be sent any more; what waits stays, if the session does."""
        waits = self.retained
        falls_behind = self.converging
        self.close_outbox()
        self.blocked = False
        self.pressed = False
        if self.keeps:
            self.retained = waits
            self.converging = falls_behind

    def forget_aliases(self):
        """Those of incoming messages belong to the connection as well."""

    # ---- deliveries ----

    cdef void deliver(self, Delivery* delivery) noexcept:
        cdef uint32_t options = delivery.options
        cdef int published
        cdef bint retain
        if delivery.origin == <PyObject*>self:
            if options & OPTION_NO_LOCAL:
                return
            if options & OPTION_OWN_APART:
                options >>= OPTION_OWN_SHIFT
        if delivery.raw != NULL:
            published = delivery.raw.qos
            retain = delivery.raw.retain
            if not retain and delivery.loss == CONVERGES:
                # A message of MQTT like any other: not to be repeated later from the param that it is for others.
                delivery.loss = BOUNDED
                self._deliver(delivery, options, published, False)
                delivery.loss = CONVERGES
                return
        else:
            # A CLASP param or event is worth an acknowledgement, a stream's sample is not (wire.md 2.1).
            published = 0 if delivery.loss == OLDEST_FIRST else 1
            retain = delivery.signal == 0
        self._deliver(delivery, options, published, retain)

    cdef void _deliver(self, Delivery* delivery, uint32_t options, int published, bint retain) noexcept:
        cdef int qos = options & OPTION_QOS
        if published < qos:
            qos = published
        if self.dead and (qos == 0 or not self.keeps):
            return
        if not self.context.prepare(delivery):
            return
        retain = retain and (options & OPTION_RETAIN_AS_PUBLISHED) != 0     # else [MQTT-3.3.1-12]
        if qos == 0:
            self._at_most_once(delivery, retain)
        else:
            self._acknowledged(delivery, qos, retain)

    cdef size_t _image(self, int flags, uint16_t packet_id, PyObject* extra) noexcept:
        """The packet of `context.content`, at `context.image + IMAGE_HEADROOM`; made once for all who get the same."""
        cdef MqttContext context = self.context
        cdef int key = flags | (0x10 if self.version == V5 else 0)
        cdef uint16_t alias = 0
        cdef bint alias_only = False
        cdef const uint8_t* identifiers = NULL
        cdef size_t identifiers_size = 0
        if (context.image_serial == context.serial and context.image_key == key and extra == NULL
                and self.aliases is None):
            if packet_id:
                put16(context.image + IMAGE_HEADROOM + context.image_id_at, packet_id)
            return context.image_size
        if extra != NULL and self.version == V5:
            identifiers = <const uint8_t*><char*>(<bytes>extra)
            identifiers_size = len(<bytes>extra)
            key = -1
        if self.aliases is not None:
            key = -1
            try:
                topic = PyBytes_FromStringAndSize(<const char*>context.content.topic, context.content.topic_size)
                known = self.aliases.get(topic)
                if known is not None:
                    alias = known
                    alias_only = True
                elif (len(self.aliases) < self.alias_maximum and not self.pressed and not self.converging
                        and self.backlog.size == 0 and self.core.arena.free > ALIAS_RESERVE_CHUNKS
                        and self.holding.account.has_room(ALIAS_BYTES + <size_t>len(topic))):
                    self.holding.force(ALIAS_BYTES + <size_t>len(topic), ALIASES)
                    alias = len(self.aliases) + 1
                    self.aliases[topic] = alias
            except MemoryError:
                pass
        context.image_size = publish_image(
            context.image + IMAGE_HEADROOM, context.room, &context.content, self.version, flags, packet_id, alias,
            alias_only, identifiers, identifiers_size, &context.image_id_at, False)
        if alias and not alias_only and context.image_size > self.peer_max_packet:
            del self.aliases[topic]             # it will not be sent
            self.holding.release(ALIAS_BYTES + <size_t>len(topic), ALIASES)
        context.image_serial = context.serial
        context.image_key = key
        return context.image_size

    cdef bint _send_large(self, int flags, uint16_t packet_id, PyObject* extra) noexcept:
        """Have the socket take a large message from where it was read, past the outbox: two copies less. False where it
        goes the usual way: something is before it, or the socket takes nothing now."""
        cdef MqttContext context = self.context
        cdef const Content* content = &context.content
        cdef uint8_t* head = context.image + IMAGE_HEADROOM
        cdef const uint8_t* identifiers = NULL
        cdef size_t identifiers_size = 0
        cdef size_t head_size, size, taken
        cdef ssize_t sent
        cdef iovec vectors[2]
        cdef msghdr message
        if (content.payload_size < LARGE_PAYLOAD or self.out.size or self.blocked or self.pressed or self.converging
                or self.wanting or self.dead or self.silent or self.websocket or self.aliases is not None
                or self.stream is not None or self.backlog.size or self.jobs):
            return False
        if extra != NULL and self.version == V5:
            identifiers = <const uint8_t*><char*>(<bytes>extra)
            identifiers_size = len(<bytes>extra)
        context.image_key = -1              # no whole packet is there any more
        head_size = publish_image(head, context.room, content, self.version, flags, packet_id, 0, False, identifiers,
                                  identifiers_size, &context.image_id_at, True)
        size = head_size + content.payload_size
        # What the socket does not take now has to find room.
        if head_size == 0 or size > self.peer_max_packet or not self.core.arena.leaves(size + 2 * CHUNK_BYTES):
            return False
        vectors[0].iov_base = head
        vectors[0].iov_len = head_size
        vectors[1].iov_base = <void*>content.payload
        vectors[1].iov_len = content.payload_size
        memset(&message, 0, sizeof(message))
        message.msg_iov = vectors
        message.msg_iovlen = 2
        sent = sendmsg(self.fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT)
        if sent <= 0:
            return False                    # why will be found when the outbox is written
        taken = <size_t>sent
        self.core.sent_bytes += taken
        self.sent_bytes += taken
        self.progress_us = self.core.mono_us
        context.sent += 1
        if taken == size:
            return True
        self.blocked = True
        if taken < head_size:
            if not self.core.arena.append(&self.out, head + taken, head_size - taken):
                self._die()
                return True
            taken = head_size
        if not self.core.arena.append(&self.out, content.payload + (taken - head_size), size - taken):
            self._die()
            return True
        self._watch()
        if self.out.size > self.core.mark():
            self.pressed = True
        return True

    cdef void _at_most_once(self, Delivery* delivery, bint retain) noexcept:
        cdef size_t size
        cdef uint8_t* start = self.context.image + IMAGE_HEADROOM
        if (self.context.content.payload_size >= LARGE_PAYLOAD
                and self._send_large(1 if retain else 0, 0, delivery.extra)):
            return
        size = self._image(1 if retain else 0, 0, delivery.extra)
        if size == 0 or size > self.peer_max_packet:
            self.context.dropped += 1               # [MQTT-3.1.2-25]: as if it had been sent
            return
        self.context.sent += 1
        if self.websocket:
            start = websocket_header(start, size)
        self.push(start, size + (self.context.image + IMAGE_HEADROOM - start), delivery)

    cdef void _acknowledged(self, Delivery* delivery, int qos, bint retain) noexcept:
        cdef Item* item
        cdef Stored* stored
        cdef size_t size
        cdef uint8_t* start
        cdef uint16_t packet_id
        cdef uint64_t logged = 0
        if self.keeps and not delivery.options & OPTION_SHARED:
            logged = delivery.logged
            if self.following and logged:
                return                          # it is read from there
        if self.converging and delivery.loss == CONVERGES:
            self.conflated_params += 1
            self.core.conflated_params += 1
            return
        if self._ready() and not self.keeps and self.context.shared is None:
            packet_id = <uint16_t>(self.end % PACKET_IDS + 1)
            if self.context.content.payload_size >= LARGE_PAYLOAD:
                item = self._new_item(qos, retain, NULL)
                if item != NULL:
                    if self._send_large(qos << 1 | (1 if retain else 0), packet_id, delivery.extra):
                        item.state = AWAITS_PUBACK if qos == 1 else AWAITS_PUBREC
                        self.sending = self.end
                        self.in_flight += 1
                        return
                    self.end -= 1
            size = self._image(qos << 1 | (1 if retain else 0), packet_id, delivery.extra)
            if size == 0 or size > self.peer_max_packet:
                self.context.dropped += 1
                return
            start = self.context.image + IMAGE_HEADROOM
            if self.websocket:
                start = websocket_header(start, size)
            item = self._new_item(qos, retain, NULL)
            if item != NULL:
                # It can wait, so it does not ask for the reserve that answers have.
                if (self.core.arena.leaves(self.out.size + size + IMAGE_HEADROOM)
                        and self.reply(start, size + (self.context.image + IMAGE_HEADROOM - start))):
                    item.state = AWAITS_PUBACK if qos == 1 else AWAITS_PUBREC
                    self.sending = self.end
                    self.in_flight += 1
                    self.context.sent += 1
                    return
                self.end -= 1                   # no memory to send from: it waits
                if not self.resume_due:
                    self._resume_later(0.02)
        stored = self.context.keep()
        if stored == NULL or not self._queue(stored, qos, retain, delivery.extra, logged):
            if delivery.loss == CONVERGES:
                self.converging = True
                self.cursor = delivery.seq - 1
                self.conflated_params += 1
                self.core.conflated_params += 1
            else:
                self.dropped_events += 1
                self.core.dropped_events += 1
                self.context.dropped += 1
            return
        if self.context.shared is not None:
            # Until it is acknowledged: it is another member's if this one goes.
            Py_INCREF(self.context.shared)
            self.items[(self.end - 1) & (self.room - 1)].group = <PyObject*>self.context.shared
        self._pump(self.core.mark())

    def offer(self, bytes topic not None, bytes payload not None, int qos, bint retain, bytes extra=None,
              bytes properties not None=b"", uint32_t expiry_s=NO_EXPIRY):
        """Deliver a message that comes from no write: of $SYS, or one that another member of a shared subscription had.
        `properties` are encoded. False if there is no room."""
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
        content.properties = <const uint8_t*><char*>properties
        content.properties_size = len(properties)
        content.expiry_s = expiry_s
        self.core.begin()
        if qos == 0:
            size = 0 if self.dead or self.pressed else self._spare_image(&content, 1 if retain else 0, 0, identifiers)
            taken = size != 0 and self._send_spare(size, 0)
        else:
            stored = store(&content, self.core.mono_us)
            taken = stored != NULL and self._queue(stored, qos, retain, identifiers, 0)
            if taken:
                self._pump(self.core.mark())
        if not taken:
            self.context.dropped += 1
        if not outer:
            self.core.finish()
        return taken

    def refill_shared(self, group not None, bytes topic not None, bytes payload not None, bytes properties not None,
                      uint32_t expiry_s, int qos, bint retain, bytes extra):
        """Queue a message of a shared subscription that another member had. False without room."""
        cdef Content content
        cdef Stored* stored
        cdef bint outer = self.core.in_pass
        cdef bint taken
        content.topic = <const uint8_t*><char*>topic
        content.topic_size = len(topic)
        content.payload = <const uint8_t*><char*>payload
        content.payload_size = len(payload)
        content.properties = <const uint8_t*><char*>properties
        content.properties_size = len(properties)
        content.expiry_s = expiry_s
        self.core.begin()
        stored = store(&content, self.core.mono_us)
        taken = stored != NULL and self._queue(stored, qos, retain, NULL if extra is None else <PyObject*>extra, 0)
        if taken:
            Py_INCREF(group)
            self.items[(self.end - 1) & (self.room - 1)].group = <PyObject*>group
            self._pump(self.core.mark())
        if not outer:
            self.core.finish()
        return taken

    cdef void _pump(self, size_t limit) noexcept:
        """Send what waits, oldest first: messages, stale params, retained messages of new subscriptions."""
        if not self.started:
            return
        while (self.sending < self.end and self.in_flight < self.window and self.sending - self.begin < LONGEST_SPAN
               and self.out.size + self.held_next.size < limit and not self.dead):
            if not self._send_item():
                break
        self._trim()
        if self.converging and self.sending == self.end and not self.dead and self.out.size < limit:
            self.catch_up(limit)
        while (self.retained and not self.following and self.sending == self.end and self.out.size < limit
               and not self.dead):
            if not self._send_retained(limit):
                break
        self.wanting = self.sending < self.end or len(self.retained) > 0

    cdef void more(self, size_t limit) noexcept:
        if not self.resume_due:
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
        if not self.context.entry_content(entry, &content):
            return True
        if qos:
            packet_id = <uint16_t>(self.end % PACKET_IDS + 1)
        size = self._spare_image(&content, qos << 1 | (1 if retain else 0), packet_id, extra)
        if size == 0:
            return True
        if not qos:
            if not self._send_spare(size, 0):
                self._resume_later(0.02)
                return False
            return True
        item = self._new_item(qos, retain, extra)
        if item == NULL:
            return False
        if self.keeps:
            item.stored = store(&content, self.core.mono_us)
            if item.stored != NULL:
                self._count(stored_size(item.stored) + ITEM_BYTES)
        if (self.keeps and item.stored == NULL) or not self._send_spare(size, qos):
            self._release(item)
            self.end -= 1
            self._resume_later(0.02)
            return False
        item.state = AWAITS_PUBACK if qos == 1 else AWAITS_PUBREC
        self.sending = self.end
        self.in_flight += 1
        if self.keeps:
            self.note(qos == 2)
        return True

    cdef void catch_up(self, size_t limit) noexcept:
        """Send the newest value of every param that changed since `cursor`, oldest change first."""
        cdef Entry* entry
        cdef Fanout fan
        cdef Py_ssize_t i
        cdef uint32_t* older = self.context.plane.table.older
        cdef uint32_t* newer = self.context.plane.table.newer
        cdef uint32_t id = older[LIST_PARAMS]
        if self.sending < self.end or not self.started:
            return                      # after what waits already, or a newer value would overtake an older one
        while id != LIST_PARAMS and self.context.plane.table.entries[id].seq > self.cursor:
            id = older[id]
        id = newer[id]
        while id != LIST_PARAMS:
            if self.out.size >= limit:
                return
            entry = self.context.plane.table.entries[id]
            if entry.unretained:
                self.cursor = entry.seq
                id = newer[id]
                continue
            try:
                fan = self.context.plane.fan(entry)
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

    def send_retained(self, str filter not None, Pattern pattern not None, int options, bytes identifiers=None):
        """Send the params that match as retained messages, as far as the client takes them now; the rest follows.
        `filter`: of the subscription, one of whose patterns it is; another one may have the same (`Mounts`)."""
        cdef bint outer = self.core.in_pass
        cdef tuple key = (filter, pattern.text)
        # Asked for again, it begins again: however often that is, no more waits than there are subscriptions.
        self.retained.pop(key, None)
        self.retained[key] = (pattern, AddressScan(pattern), options, identifiers)
        self.core.begin()
        self.wanting = True
        self._pump(self.core.mark() >> 1)
        if not outer:
            self.core.finish()

    def drop_retained(self, str filter not None, Pattern pattern not None):
        """What matches is not asked for any more by this subscription."""
        self.retained.pop((filter, pattern.text), None)

    cdef bint _send_retained(self, size_t limit) noexcept:
        """Go on with the first of `retained`. False when it has to wait."""
        cdef tuple key = <tuple>next(iter(self.retained))
        cdef tuple job = <tuple>self.retained[key]
        cdef Pattern pattern = <Pattern>job[0]
        cdef AddressScan scan = <AddressScan>job[1]
        cdef int options = <int>job[2]
        cdef PyObject* extra = NULL if job[3] is None else <PyObject*>job[3]
        cdef State plane = self.context.plane
        cdef uint32_t steps = 0
        cdef Entry* entry
        try:
            if pattern.literal:
                entry = plane.live(
                    <const uint8_t*><char*>pattern.text, len(pattern.text),
                    plane.table.hash_of(<const uint8_t*><char*>pattern.text, len(pattern.text)))
                if entry != NULL and entry.revision and (
                        self.scopes is None or self.scopes.allows("read", pattern.text)):
                    if not self._send_entry(entry, options, extra, True):
                        return False
                del self.retained[key]
                return True
            if self.core.is_slice_over():
                self._resume_later(0)
                return False
            self.core.open_round()
            while not scan.done:
                if self.out.size >= limit or (steps == 0 and scan.begun and self.core.is_slice_over()):
                    scan.stay(plane.table.index, plane.table.entries)
                    if self.out.size < limit:
                        self._resume_later(0)
                    return False
                if steps == 0:
                    steps = STEPS_OF_PARTIAL if pattern.partial else STEPS
                entry = scan.next(plane.table.index, plane.table.entries, self.core.mono_us // 1000, &steps)
                if entry != NULL and (self.scopes is None or self.scopes.allows(
                        "read", PyBytes_FromStringAndSize(<const char*>entry_address(entry), entry.address_size))):
                    if not self._send_entry(entry, options, extra, True):
                        scan.back()
                        scan.stay(plane.table.index, plane.table.entries)
                        return False
        except Exception:
            log.exception("retained messages could not be sent")
        del self.retained[key]
        return True
