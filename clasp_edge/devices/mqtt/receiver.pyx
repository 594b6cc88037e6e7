"""The incoming half of an MQTT session: packets are split and checked, PUBLISH and acknowledgements acted upon,
everything else handed up. Compiled half of `devices.mqtt.session.Session`, which overrides the `on_...` methods.

Whatever a client sends is checked here or in the codec before anything is done with it; a packet that breaks a rule
ends the connection with its reason code (5.0, 4.13).
"""

import logging

from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.string cimport memchr, memcpy

from clasp_edge.dataplane.account cimport ALIASES
from clasp_edge.dataplane.bytes cimport get16
from clasp_edge.dataplane.messages cimport Write
from clasp_edge.dataplane.mqtt_message cimport new_raw, raw_write
from clasp_edge.dataplane.mqtt_properties cimport read_properties
from clasp_edge.dataplane.scan cimport utf8_valid
from clasp_edge.dataplane.sink cimport NO_EXPIRY, Raw
from clasp_edge.dataplane.sockets cimport setsockopt
from clasp_edge.dataplane.token_bucket cimport owe, pay, pay_time, refill, set_rate, take, used_s
from clasp_edge.dataplane.verdict cimport ACCEPTED, AT_CAPACITY, BAD_ADDRESS, NO_SCOPE, TOO_LARGE
from clasp_edge.dataplane.view cimport View
from clasp_edge.devices.mqtt.packet_ids cimport add_id, copy_ids, drop_id, forget_ids, has_id
from clasp_edge.devices.mqtt.publish_packet cimport IMAGE_HEADROOM, V5, websocket_header
from clasp_edge.devices.mqtt.queue cimport ACKNOWLEDGEMENT_BYTES, PACKET_IDS
from clasp_edge.devices.mqtt.sender cimport ALIAS_BYTES
from clasp_edge.devices.mqtt.varint cimport read_varint

cdef extern from "<netinet/in.h>" nogil:
    int IPPROTO_TCP

cdef extern from "<netinet/tcp.h>" nogil:
    int TCP_QUICKACK

log = logging.getLogger("clasp_edge.dataplane")

cdef enum:
    PUBLISH = 3
    PUBACK = 4
    PUBREC = 5
    PUBREL = 6
    PUBCOMP = 7
    SUBSCRIBE = 8
    UNSUBSCRIBE = 10
    PINGREQ = 12

# Reason codes (5.0, 2.4).
cdef enum:
    IMPLEMENTATION_SPECIFIC = 0x83
    MALFORMED_PACKET = 0x81
    PROTOCOL_ERROR = 0x82
    NOT_AUTHORIZED = 0x87
    TOPIC_NAME_INVALID = 0x90
    IDENTIFIER_NOT_FOUND = 0x92
    RECEIVE_MAXIMUM_EXCEEDED = 0x93
    TOPIC_ALIAS_INVALID = 0x94
    PACKET_TOO_LARGE = 0x95
    QUOTA_EXCEEDED = 0x97

cdef enum:
    MOST_PINGS = 1000           # answered ahead of what was sent before them

cdef enum:
    LONGEST_TOPIC = 65535

# What a byte of a topic may mean.
cdef enum:
    FORBIDDEN = 1               # wildcards and U+0000
    UNUSUAL = 2                 # needs another spelling in an address
    NOT_ASCII = 4

cdef uint8_t[256] MEANING
for _byte in range(256):
    MEANING[_byte] = NOT_ASCII if _byte > 127 else 0
MEANING[0] = FORBIDDEN
MEANING[0x23] = FORBIDDEN       # #
MEANING[0x2B] = FORBIDDEN       # +
MEANING[0x2A] = UNUSUAL         # *
MEANING[0x25] = UNUSUAL         # %


cdef size_t _alias_bytes(named):
    """What an alias takes; `named` is an address, or the reason why messages to it are refused."""
    return ALIAS_BYTES + (<size_t>len(<bytes>named) if isinstance(named, bytes) else 0)


cdef bint _own_topic(MqttReceiver client, const uint8_t* topic, size_t topic_size, const uint8_t* payload,
                     size_t size) noexcept:
    """Whether the client may say this under a topic that begins with `$`; it is done then."""
    try:
        return client.on_own_topic(PyBytes_FromStringAndSize(<const char*>topic, topic_size),
                                   PyBytes_FromStringAndSize(<const char*>payload, size))
    except Exception:
        log.exception("a notification could not be taken")
        return False


cdef class MqttReceiver(MqttJournaled):
    """`MqttReceiver(core, context)`."""

    def __cinit__(self, core, MqttContext context not None, *args, **kwargs):
        self.receive_maximum = 65535

    def __dealloc__(self):
        forget_ids(&self.unreleased)
        forget_ids(&self.from_before)

    # ---- what the control plane implements ----

    def on_packet(self, int first, bytes body):
        """Any packet but PUBLISH, PINGREQ and plain acknowledgements; `first` is its first byte."""

    def on_fault(self, int reason, str text):
        """The client broke a rule; nothing it sends is looked at any more."""

    def on_refused(self, int verdict, bytes address):
        """A message was not taken (`plane.Verdict`); the client is told what its version can be told."""

    def on_own_topic(self, bytes topic, bytes payload):
        """A message to a topic that begins with `$`; returns whether it was taken."""
        return False

    def pause_input(self, double delay_s):
        """Stop reading. With a delay, `resume_input` is up to the callee; without, it is called."""

    def resume_input(self):
        """Read on, beginning with what `receive` has not used."""

    # ---- settings ----

    def accept_aliases(self, int count):
        """A new connection: forget the topic aliases of the last one; 1 to `count` may be used."""
        self.topics = [None] * (count + 1) if count else None
        copy_ids(&self.from_before, &self.unreleased)
        self.stopped = False
        self.departed = False
        self.input_paused = False
        self.occupied = False
        self.hurried = False
        self.pings_answered = 0
        self.heard_us = self.core.mono_us

    def forget_aliases(self):
        self.topics = None

    cdef void hears(self) noexcept:
        """Something has come that is not a whole packet yet."""
        cdef bint outer = self.core.in_pass
        self.core.begin()
        self.heard_us = self.core.mono_us
        self.core.in_pass = outer

    cdef void acknowledge_bytes(self) noexcept:
        """Have the kernel acknowledge what was received, now. By the descriptor: the loop's own socket objects
        duplicate it for each call. Not where an answer is about to go, nor of a client that has only acknowledged all
        it was sent, and has nothing else to say."""
        cdef int on = 1
        if self.fd >= 0 and not self.is_dirty and (self.received or self.in_flight or self.sending < self.end):
            setsockopt(self.fd, IPPROTO_TCP, TCP_QUICKACK, &on, sizeof(on))

    def depart(self):
        """The connection is gone, and something that came before its end waits: that is still acted upon."""
        self.silence()
        self.departed = True

    def set_rate(self, double messages_per_second, double bytes_per_second=0):
        """Limit what the client may publish (0 = no limit). What it has used up of the limit before stays used."""
        if not self.core.in_pass:
            self.core.tick()
        set_rate(&self.bucket, messages_per_second, bytes_per_second, self.core.mono_us)

    @property
    def used_s(self):
        """Seconds until the client would have its whole rate again."""
        if not self.core.in_pass:
            self.core.tick()
        refill(&self.bucket, self.core.mono_us)
        return used_s(&self.bucket)

    def owe(self, double seconds):
        """Begin with so much used (`used_s`)."""
        owe(&self.bucket, seconds)

    def pay(self, double seconds):
        """Pay for so much CPU of what the control plane has done."""
        if not self.core.in_pass:
            self.core.tick()
        refill(&self.bucket, self.core.mono_us)
        pay_time(&self.bucket, seconds * 1e6)

    # ---- input ----

    def receive(self, buffer, size_t filled):
        """Handle the packets in the first `filled` bytes, as one pass; returns how many bytes were used. The rest is
        the beginning of a packet, or, after `pause_input`, comes again."""
        cdef View view = View(buffer)
        if filled > view.size:
            raise ValueError("more bytes than the buffer has")
        return self.take_packets(view.data, filled, False)

    cdef size_t take_packets(self, const uint8_t* data, size_t filled, bint together) noexcept:
        """`receive`, of bytes that stay where they are. `together`: who calls writes what has come of it, later."""
        cdef size_t at = 0
        cdef size_t total
        cdef uint32_t remaining
        cdef int header, type
        self.core.begin()
        self.heard_us = self.core.mono_us
        refill(&self.bucket, self.core.mono_us)
        self.input_paused = False
        while filled - at >= 2 and not self.stopped and (not self.dead or self.departed) and not self.occupied:
            if self.pressed:
                self._pause(0)          # what the client asks must not pile up as answers
                break
            header = read_varint(&data[at + 1], filled - at - 1, &remaining)
            if header == 0:
                break
            if header < 0:
                self._fault(MALFORMED_PACKET, "the remaining length takes more than four bytes")
                break
            total = 1 + <size_t>header + remaining
            if total > self.context.max_packet:
                self._fault(PACKET_TOO_LARGE, "the packet is larger than the maximum packet size")
                break
            if filled - at < total:
                break
            type = data[at] >> 4
            if (self.bucket.rate > 0 and (type == PUBLISH or type == SUBSCRIBE or type == UNSUBSCRIBE)
                    and not take(&self.bucket, total)):
                if not self.hurried:
                    # MQTT has no way to refuse one message of a QoS 0 client: it waits instead.
                    self._pause((1 - self.bucket.tokens) / self.bucket.rate)
                    break
                pay(&self.bucket, total)
            # An empty body may lie at the end of the buffer, and points nowhere then.
            self._packet(data[at], &data[at] + 1 + header, remaining)
            at += total
        self.context.received_bytes += at       # what is left comes again
        if together:
            self.core.in_pass = False
        else:
            self.core.end_read(<void*>self)
        return at

    def answer_pings(self, data not None, size_t at, size_t filled):
        """Answer the PINGREQs among the packets from `at` on, which wait because the client sends faster than it may;
        returns where the first packet begins that is not whole. They are not answered again."""
        cdef View packets = View(data)
        cdef uint32_t remaining
        cdef int header
        self.core.begin()
        if self.core.mono_us > self.heard_us:
            self.heard_us = self.core.mono_us
        while filled - at >= 2 and not self.stopped and not self.dead:
            header = read_varint(&packets.data[at + 1], filled - at - 1, &remaining)
            if header <= 0 or 1 + <size_t>header + remaining > filled - at:
                break
            if packets.data[at] == PINGREQ << 4 and remaining == 0 and self.pings_answered < MOST_PINGS:
                self.pings_answered += 1
                self.answer(b"\xd0\x00", 2)
            at += 1 + <size_t>header + remaining
        self.core.end_read(<void*>self)
        return at

    cdef void _pause(self, double delay_s) noexcept:
        self.input_paused = True
        try:
            self.pause_input(delay_s)
        except Exception:
            log.exception("cannot pause a connection")

    cdef void drained(self) noexcept:
        if self.input_paused:
            self.input_paused = False
            try:
                self.core.loop.call_soon(self.resume_input)
            except Exception:
                log.exception("cannot resume a connection")

    cdef void _packet(self, int first, const uint8_t* body, size_t size) noexcept:
        cdef int type = first >> 4
        if type == PUBLISH:
            self._publish(first, body, size)
        elif PUBACK <= type <= PUBCOMP and self._short_packet(first, body, size):
            pass
        elif first == PINGREQ << 4 and size == 0:
            if self.pings_answered:
                self.pings_answered -= 1
            else:
                self.answer(b"\xd0\x00", 2)
        else:
            self._hand_up(first, body, size)

    cdef void _hand_up(self, int first, const uint8_t* body, size_t size) noexcept:
        try:
            self.on_packet(first, PyBytes_FromStringAndSize(<const char*>body, size))
        except Exception:
            log.exception("a packet could not be handled")

    cdef void _fault(self, int reason, str text) noexcept:
        self.stopped = True
        try:
            self.on_fault(reason, text)
        except Exception:
            log.exception("a connection could not be closed")

    # ---- acknowledgements ----

    cdef bint _short_packet(self, int first, const uint8_t* body, size_t size) noexcept:
        """PUBACK, PUBREC, PUBREL or PUBCOMP without properties; False for any other form."""
        cdef int type = first >> 4
        cdef int reason = 0
        if first & 0x0F != (2 if type == PUBREL else 0) or size < 2 or size > (3 if self.version == V5 else 2):
            return False
        if get16(body) == 0:
            return False
        if size == 3:
            reason = body[2]
        self.take_acknowledgement(type, get16(body), reason)
        return True

    cpdef take_acknowledgement(self, int type, int packet_id, int reason):
        """An acknowledgement that the codec has read, or one without properties."""
        if not 0 < packet_id <= PACKET_IDS:
            raise ValueError(f"{packet_id} is no packet identifier")
        if type != PUBREL:
            self.settle(type, <uint16_t>packet_id, reason)
        elif drop_id(&self.unreleased, <uint16_t>packet_id):
            drop_id(&self.from_before, <uint16_t>packet_id)
            if self.keeps:
                self._answer_stored(PUBCOMP << 4, <uint16_t>packet_id, 0)
            else:
                self._answer_id(PUBCOMP << 4, <uint16_t>packet_id, 0)
        else:
            self._answer_id(PUBCOMP << 4, <uint16_t>packet_id, IDENTIFIER_NOT_FOUND)

    @property
    def unreleased_count(self):
        """QoS 2 messages that came and were not released."""
        return self.unreleased.count

    def unreleased_ids(self):
        """Their packet identifiers, in order."""
        cdef int number
        if not self.unreleased.count:
            return []
        return [number for number in range(PACKET_IDS + 1) if has_id(&self.unreleased, <uint16_t>number)]

    def restore_unreleased(self, list ids):
        """Take them up after a restart."""
        for number in ids:
            if not 0 < number <= PACKET_IDS:
                raise ValueError(f"{number} is no packet identifier")
            if not add_id(&self.unreleased, number):
                raise MemoryError

    # ---- PUBLISH ----

    cdef bint _publish(self, int first, const uint8_t* body, size_t size) noexcept:
        cdef int qos = first >> 1 & 3
        cdef size_t topic_size, at
        cdef size_t kept_size = 0
        cdef uint32_t length
        cdef uint32_t expiry_s = NO_EXPIRY
        cdef uint16_t packet_id = 0
        cdef uint16_t alias = 0
        cdef int used, fault, reason
        if qos == 3 or (qos == 0 and first & 0x08):
            self._fault(MALFORMED_PACKET, "QoS 3, or DUP with QoS 0")
            return False
        if size < 2 or size < 2 + <size_t>get16(body) + (2 if qos else 0):
            self._fault(MALFORMED_PACKET, "PUBLISH ends inside its topic or packet identifier")
            return False
        topic_size = get16(body)
        at = 2 + topic_size
        if qos:
            packet_id = get16(body + at)
            at += 2
            if packet_id == 0:
                self._fault(PROTOCOL_ERROR, "packet identifier 0")
                return False
        if self.version == V5:
            used = read_varint(body + at, size - at, &length)
            if used <= 0 or length > size - at - <size_t>used:
                self._fault(MALFORMED_PACKET, "the properties are longer than the packet")
                return False
            at += <size_t>used
            if length:
                fault = read_properties(body + at, length, self.context.properties, &kept_size, &expiry_s, &alias)
                if fault:
                    self._fault(fault, "PUBLISH has a property that is malformed, repeated or not allowed")
                    return False
                at += length
        if topic_size or not alias:
            fault = self._topic(body + 2, topic_size)
            if fault < 0:
                self._fault(-fault, "PUBLISH to a topic that is none")
                return False
            if alias and not self._alias(alias, False, &fault):
                return False
        else:
            fault = 0
            if not self._alias(alias, True, &fault):
                return False
        self.received += 1
        self.context.received += 1
        if qos == 2:
            if drop_id(&self.from_before, packet_id) and not first & 0x08:
                # Said for the first time (3.3.1.1), on another connection than what has the identifier: the client
                # knows nothing of that any more, or the store was not told that it is done with.
                drop_id(&self.unreleased, packet_id)
            if has_id(&self.unreleased, packet_id):
                self._accept(PUBREC << 4, packet_id, 0)         # it came before [MQTT-4.3.3-10]
                return True
            # Before 5.0 nobody is told of a maximum, and there are clients that write whatever they have at once.
            # It is of a connection (4.9): what the client may know nothing of any more does not count.
            if (self.version == V5
                    and self.unreleased.count - self.from_before.count >= self.receive_maximum):
                self._fault(RECEIVE_MAXIMUM_EXCEEDED, "more QoS 2 messages in flight than the receive maximum")
                return False
        reason = fault
        if not reason:
            reason = self._write(body + at, size - at, self.context.properties, kept_size, expiry_s, qos, first & 1)
        elif topic_size and body[2] == 0x24 and _own_topic(self, body + 2, topic_size, body + at, size - at):
            reason = 0
        elif topic_size:
            self._refused(NO_SCOPE if reason == NOT_AUTHORIZED else BAD_ADDRESS)
        else:
            self.context.refused += 1       # said when the alias was introduced
        if qos == 1:
            self._accept(PUBACK << 4, packet_id, reason)
        elif qos == 2:
            # 3.1.1 cannot refuse: the message is done with all the same [MQTT-3.3.5-2].
            if not reason or self.version != V5:
                if not add_id(&self.unreleased, packet_id):
                    self._fault(QUOTA_EXCEEDED, "out of memory")
                    return False
                if self.keeps:
                    self.note(True)
            self._accept(PUBREC << 4, packet_id, reason)
        return True

    cdef void _accept(self, int first, uint16_t packet_id, int reason) noexcept:
        """PUBACK or PUBREC. Where the journal is strict, these wait for the commit that holds what was published."""
        cdef uint8_t buffer[IMAGE_HEADROOM + ACKNOWLEDGEMENT_BYTES]
        cdef uint8_t* start = buffer + IMAGE_HEADROOM
        cdef size_t size
        if self.dead or self.context.plane.journal_buffer is None or not self.context.plane.journal_buffer.strict:
            self._answer_id(first, packet_id, reason)
            return
        size = self.acknowledgement(start, first, packet_id, reason)
        if self.websocket:
            start = websocket_header(start, size)
        size += buffer + IMAGE_HEADROOM - start
        if not self.context.plane.journal_buffer.hold(self, start, size, True) and not self.reply(start, size):
            self._die()

    cdef bint _alias(self, uint16_t alias, bint known, int* fault) noexcept:
        """Introduce the alias for the address at hand, or put the address it stands for there. `fault`: why messages
        to it are refused, or 0."""
        cdef bytes address
        if self.topics is None or alias >= len(self.topics):
            self._fault(TOPIC_ALIAS_INVALID, "the topic alias is above the maximum")
            return False
        if not known:
            if self.topics[alias] is not None:
                self.holding.release(_alias_bytes(self.topics[alias]), ALIASES)
                self.topics[alias] = None
            named = fault[0] if fault[0] else PyBytes_FromStringAndSize(
                <const char*>self.context.address, self.address_size)
            if not self.holding.charge(_alias_bytes(named), ALIASES):
                self._fault(QUOTA_EXCEEDED, "no room for the topic alias (limits.memory_mib)")
                return False
            self.topics[alias] = named
            return True
        if self.topics[alias] is None:
            self._fault(PROTOCOL_ERROR, "the topic alias stands for nothing")
            return False
        if not isinstance(self.topics[alias], bytes):
            fault[0] = <int>self.topics[alias]
            return True
        address = <bytes>self.topics[alias]
        self.address_size = len(address)
        memcpy(self.context.address, <char*>address, self.address_size)
        return True

    cdef int _topic(self, const uint8_t* topic, size_t size) noexcept:
        """Make the topic's address at `context.address`. 0, or a reason to refuse the message, or minus a reason to end
        the connection."""
        cdef size_t prefix_size = len(self.context.prefix)
        cdef int meaning = 0
        cdef uint8_t last = 0x2F
        cdef size_t i
        if size == 0:
            return -PROTOCOL_ERROR if self.version == V5 else -TOPIC_NAME_INVALID
        if size > LONGEST_TOPIC:
            return -TOPIC_NAME_INVALID      # of a will that a store had: no packet has one
        for i in range(size):
            meaning |= MEANING[topic[i]]
            if topic[i] == 0x2F and last == 0x2F:
                meaning |= UNUSUAL          # an empty level
            last = topic[i]
        if last == 0x2F:
            meaning |= UNUSUAL
        if meaning & NOT_ASCII and not utf8_valid(topic, size):
            return -MALFORMED_PACKET
        if meaning & FORBIDDEN:
            return -MALFORMED_PACKET if memchr(topic, 0, size) != NULL else -TOPIC_NAME_INVALID
        if self.context.mounts is not None:
            memcpy(self.context.address, <char*>self.context.prefix, prefix_size)
        memcpy(self.context.address + prefix_size, topic, size)
        self.address_size = prefix_size + size
        if topic[0] == 0x24:
            return TOPIC_NAME_INVALID       # $: for the server's own use (5.0, 4.7.2)
        if self.context.mounts is not None:
            try:
                found = self.context.mounts.address_of(PyBytes_FromStringAndSize(<const char*>topic, size))
                if found is not None:
                    if not found:
                        return NOT_AUTHORIZED
                    if len(<bytes>found) > 65535:
                        return TOPIC_NAME_INVALID
                    memcpy(self.context.address, <char*><bytes>found, len(<bytes>found))
                    self.address_size = len(<bytes>found)
                    return 0
            except Exception:
                log.exception("a topic has no address")
                return TOPIC_NAME_INVALID
        if meaning & UNUSUAL:
            try:
                address = <bytes>self.context.to_address(PyBytes_FromStringAndSize(<const char*>topic, size))
            except Exception:
                log.exception("a topic has no address")
                return TOPIC_NAME_INVALID
            if len(address) > 65535 or len(address) + prefix_size > 65535 + 1024:
                return TOPIC_NAME_INVALID
            memcpy(self.context.address + prefix_size, <char*>address, len(address))
            self.address_size = prefix_size + <size_t>len(address)
        return 0

    cdef int _write(self, const uint8_t* payload, size_t payload_size, const uint8_t* properties,
                    size_t properties_size, uint32_t expiry_s, int qos, bint retain) noexcept:
        """Do what the message at `context.address` says; 0 or a reason."""
        cdef MqttContext context = self.context
        cdef Raw raw
        cdef Write write
        cdef uint64_t revision
        cdef int verdict
        cdef uint32_t hash = context.plane.table.hash_of(context.address, self.address_size)
        new_raw(&raw, payload, payload_size, properties, properties_size, expiry_s, qos, retain)
        if self.address_size > 65535:
            verdict = BAD_ADDRESS
        elif retain and payload_size == 0:
            verdict = context.plane.unset(self, context.address, self.address_size, hash, &raw)     # [MQTT-3.3.1-6]
        elif retain or not context.is_event(context.address, self.address_size, hash):
            if not raw_write(&write, &raw, context.address, self.address_size, hash, context.value):
                return self._refused(TOO_LARGE)
            verdict = context.plane.set(self, &write, &revision)
        else:
            verdict = context.plane.publish_raw(self, context.address, self.address_size, hash, &raw)
        if verdict != ACCEPTED:
            return self._refused(verdict)
        if self.audited:
            self.audit(context.address, self.address_size)
        if context.plane.journal_buffer is not None:
            self.wrote_in = context.plane.journal_buffer.epoch
        return 0

    cdef int _refused(self, int verdict) noexcept:
        """The reason for a verdict (5.0, 3.4.2.1)."""
        self.context.refused += 1
        try:
            self.on_refused(verdict, PyBytes_FromStringAndSize(<const char*>self.context.address, self.address_size))
        except Exception:
            log.exception("a refusal could not be noted")
        if verdict == NO_SCOPE:
            return NOT_AUTHORIZED
        if verdict == BAD_ADDRESS:
            return TOPIC_NAME_INVALID
        if verdict == AT_CAPACITY or verdict == TOO_LARGE:
            return QUOTA_EXCEEDED
        return IMPLEMENTATION_SPECIFIC

    def publish_topic(self, bytes topic not None, bytes payload not None, bytes properties not None, uint32_t expiry_s,
                      int qos, bint retain):
        """Publish on the client's behalf (its will). Returns 0 or a reason."""
        cdef bint outer = self.core.in_pass
        cdef int reason
        self.core.begin()
        reason = self._topic(<const uint8_t*><char*>topic, len(topic))
        if reason == 0:
            reason = self._write(<const uint8_t*><char*>payload, len(payload), <const uint8_t*><char*>properties,
                                 len(properties), expiry_s, qos, retain)
        if not outer:
            self.core.finish()
        return reason if reason >= 0 else -reason
