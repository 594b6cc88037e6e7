"""What a store has to know of an MQTT session so that it outlives the process: which messages are in flight under which
packet identifiers, and from where on the journal's log has what the client has not got.

Knows no store: the control plane asks for it (`flight`), puts it back (`restore`), and refills the queue.
"""

from cpython.ref cimport Py_INCREF, PyObject
from libc.stdint cimport uint8_t, uint32_t

from clasp_edge.devices.mqtt.publish_packet cimport Content, Stored, store, stored_size
from clasp_edge.devices.mqtt.queue cimport AWAITS_PUBCOMP, DONE, ITEM_BYTES, PACKET_IDS, WAITING, Item

# Of messages and of records: so far nobody counts, and what comes after it can still be numbered.
cdef uint64_t LARGEST_NUMBER = 0x4000_0000_0000_0000


cdef class MqttJournaled(MqttSender):
    """`MqttJournaled(core, context)`."""

    def flight(self):
        """`(first number, next number, place, behind, entries)`; what was noted for the store is settled with it.

        Messages are numbered as they are sent, which gives them their packet identifiers. `entries` are the messages
        from the first number on up to the last that is sent with QoS 2, as `(number in the log or 0, state, qos,
        retain)`: with QoS 1 a message may come again under another identifier. `place` is the number of a log record:
        later ones may be missing here. `behind`: something waits that no log has.
        """
        cdef uint64_t number
        cdef uint64_t last = self.begin
        cdef uint64_t place = 0
        cdef bint found = False
        cdef bint behind = self.converging or len(self.retained) > 0
        cdef Item* item
        cdef list entries = []
        self.noted = False
        for number in range(self.begin, self.end):
            item = &self.items[number & (self.room - 1)]
            if item.state == DONE or item.state == AWAITS_PUBCOMP:
                if item.state == AWAITS_PUBCOMP:
                    last = number + 1
                continue
            if item.qos == 2 and item.state != WAITING:
                last = number + 1
            if item.logged == 0:
                behind = True
            elif not found:
                found = True
                place = item.logged - 1
            if found and behind and number >= self.sending:
                break
        for number in range(self.begin, last):
            item = &self.items[number & (self.room - 1)]
            entries.append((item.logged, item.state, item.qos, item.retain))
        if not found:
            if self.following:
                place = self.read_to
            elif self.context.plane.journal_buffer is not None and not self.core.in_pass:
                # What is logged now has been delivered; in the middle of a pass somebody may still be to come.
                self.seen_to = place = self.context.plane.journal_buffer.log.number - 1
            else:
                place = self.seen_to
        return self.begin, max(self.sending, last), place, behind, entries

    def restore(self, uint64_t first, list entries, size_t skipped):
        """Take up what `flight` told. After the entries so many numbers are passed over, in case more messages were
        sent than the store knew of: their packet identifiers may be in use."""
        cdef Item* item
        cdef size_t _
        if self.items != NULL:
            raise RuntimeError("the session has messages already")
        # From a store: what no session has told may stand there, and numbers that nobody could count on from.
        if first > LARGEST_NUMBER or skipped > PACKET_IDS or len(entries) > PACKET_IDS:
            raise ValueError(f"{len(entries)} messages from {first} on, and {skipped} passed over")
        for logged, state, qos, _ in entries:
            if not 0 <= logged <= LARGEST_NUMBER or not WAITING <= state <= DONE or not 0 <= qos <= 2:
                raise ValueError(f"a message in flight in state {state} with QoS {qos}")
        self.begin = self.sending = self.end = first if entries else first + skipped
        for logged, state, qos, retain in entries:
            item = self._new_item(qos, retain, NULL)
            if item == NULL:
                raise MemoryError
            item.logged = logged
            item.state = state
        if entries:
            for _ in range(skipped):
                item = self._new_item(0, False, NULL)
                if item == NULL:
                    raise MemoryError
                item.state = DONE
        self.sending = self.end

    def complete(self, uint64_t number, bytes topic not None, bytes payload not None, bytes properties not None,
                 uint32_t expiry_s, bytes extra):
        """Give a restored message in flight its content back."""
        cdef Item* item
        cdef Content content
        if not self.begin <= number < self.end:
            return
        item = &self.items[number & (self.room - 1)]
        if item.stored != NULL or item.state == DONE or item.state == AWAITS_PUBCOMP:
            return
        _content(&content, topic, payload, properties, expiry_s)
        item.stored = store(&content, self.core.mono_us)
        if item.stored != NULL:
            self.waiting_bytes += stored_size(item.stored) + ITEM_BYTES
            self.context.queued += stored_size(item.stored) + ITEM_BYTES
            self._identify(item, extra)

    cdef void _identify(self, Item* item, bytes extra) noexcept:
        if extra is not None:
            Py_INCREF(extra)
            item.extra = <PyObject*>extra

    def refill(self, bytes topic not None, bytes payload not None, bytes properties not None, uint32_t expiry_s,
               int qos, bint retain, bytes extra, uint64_t logged):
        """Queue a message that was read from the log. False without room: it can come again when the client has taken
        some; one that is too large for any queue is dropped and counted."""
        cdef Content content
        cdef Stored* stored
        cdef bint outer = self.core.in_pass
        self.core.begin()
        _content(&content, topic, payload, properties, expiry_s)
        stored = store(&content, self.core.mono_us)
        if stored == NULL or not self._queue(stored, qos, retain, NULL if extra is None else <PyObject*>extra, logged):
            if self.waiting_bytes == 0 and self.context.queued == 0:
                self.context.dropped += 1
                return True
            return False
        self._pump(self.core.mark())
        if not outer:
            self.core.finish()
        return True

    def go_live(self, bint behind):
        """All that the log had has been queued: deliveries are queued as they come again. `behind`: the newest values
        of all params follow."""
        cdef bint outer = self.core.in_pass
        self.core.begin()
        self.following = False
        self.seen_to = self.read_to
        if behind:
            self.converging = True
            self.cursor = 0
        self._pump(self.core.mark() >> 1)
        if not outer:
            self.core.finish()


cdef void _content(Content* content, bytes topic, bytes payload, bytes properties, uint32_t expiry_s) noexcept:
    content.topic = <const uint8_t*><char*>topic
    content.topic_size = len(topic)
    content.payload = <const uint8_t*><char*>payload
    content.payload_size = len(payload)
    content.properties = <const uint8_t*><char*>properties
    content.properties_size = len(properties)
    content.expiry_s = expiry_s
