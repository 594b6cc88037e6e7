"""A CLASP client's connection on the fast path: frames in, SET and PUBLISH acted upon, everything else handed up.

`ClaspReceiver` is the compiled half of `router.session.Session`, which overrides the `on_...` methods. It knows the
frame header and the two hot messages (wire.md 1, 2.3); it knows no transport and keeps no value as an object.
"""

import logging

from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.string cimport memcpy

from clasp_edge.dataplane.bytes cimport get16, put16, put64
from clasp_edge.dataplane.messages cimport PUBLISH, SET, Published, Write, read_publish, read_set, read_version
from clasp_edge.dataplane.mqtt_details cimport FEDERATION_SYNC, MQTT_DETAILS
from clasp_edge.dataplane.reserved cimport is_reserved
from clasp_edge.dataplane.scan cimport BAD_UTF8, TOO_DEEP, TRUNCATED, UNKNOWN_TYPE
from clasp_edge.dataplane.sink cimport HEADROOM, Raw
from clasp_edge.dataplane.token_bucket cimport take
from clasp_edge.dataplane.verdict cimport ACCEPTED, CONTROL_PLANE, NO_SCOPE, OUTDATED
from clasp_edge.dataplane.write_run cimport publish_content, set_content

log = logging.getLogger("clasp_edge.dataplane")

cdef enum:
    SIGNAL_GESTURE = 3

# Faults of a frame, numbered below those of a value (scan.pxd).
cdef enum:
    BAD_MAGIC = -11
    SHORT_HEADER = -12
    LENGTH_MISMATCH = -13
    EMPTY_PAYLOAD = -14

FAULTS = {
    BAD_MAGIC: "bad-magic",
    SHORT_HEADER: "truncated-header",
    LENGTH_MISMATCH: "length-mismatch",
    EMPTY_PAYLOAD: "empty-payload",
    TRUNCATED: "truncated-payload",
    UNKNOWN_TYPE: "unknown-value-type",
    BAD_UTF8: "bad-utf8",
    TOO_DEEP: "depth",
}


cdef class ClaspReceiver(ClaspInput):
    """`ClaspReceiver(core, plane)`; see `open_outbox` for its socket."""

    # ---- what the control plane implements ----

    def on_message(self, bytes payload, int qos):
        """Any message but a SET or PUBLISH that the data plane could settle, or any at all before `greeted`."""

    def on_refused(self, int verdict, bytes address, uint64_t revision, uint64_t expected, bint is_set):
        """A write was refused (`plane.Verdict`): `revision` is the param's present one, `expected` the SET's."""

    def on_reserved(self, bytes payload, bytes address):
        """A SET to one of the router's own addresses: whether it asks for what may be switched there, and was done."""
        return False

    def on_garbage(self, str fault):
        """A frame or value could not be read; `fault` is an error class of wire.md 10.1."""

    def on_gesture(self, bytes payload, bytes address, int phase, uint32_t gesture_id):
        """A gesture message: the control plane throttles them and knows whose stroke is under way."""

    def on_special(self, bytes payload, bytes address):
        """A PUBLISH to an address of the control plane."""

    # ---- frames ----

    cdef void _handle(self, const uint8_t* data, size_t size) noexcept:
        cdef size_t header, payload_size
        self.received += 1
        if self.greeted and self.bucket.rate > 0 and not take(&self.bucket, size) and self._over_rate(data, size):
            if self.details is not None:
                self.details.skip()
            return
        # wire.md 1.3, in that order.
        if size < 4:
            self._garbage(SHORT_HEADER)
            return
        if data[0] != 0x53:
            self._garbage(BAD_MAGIC)
            return
        header = 12 if data[1] & 0x20 else 4
        payload_size = get16(data + 2)
        if size < header + payload_size:
            self._garbage(LENGTH_MISMATCH)
            return
        if payload_size == 0:
            self._garbage(EMPTY_PAYLOAD)
            return
        self._payload(data + header, payload_size, data[1] >> 6)

    cdef void _payload(self, const uint8_t* payload, size_t size, int qos) noexcept:
        if qos == 3:
            qos = 0                 # reserved; read as Fire (wire.md 1.1)
        if self.greeted and (payload[0] == 0x21 or payload[0] == 0x20):
            if payload[0] == 0x21:
                self._set(payload, size, qos)
            else:
                self._publish(payload, size)
            if self.run is not None:
                self.run.next()
            if self.number:
                self.number += 1
            if self.details is not None and (self.details.pending or self.details.skipping):
                self.details.done()
            return
        if self.details is not None and size > 2 and payload[0] == FEDERATION_SYNC and payload[1] == MQTT_DETAILS:
            if not self.details.take(payload, size):
                self._garbage(TRUNCATED)
            return
        try:
            self.on_message(PyBytes_FromStringAndSize(<const char*>payload, size), qos)
        except Exception:
            log.exception("a message could not be handled")
        self.core.heavy = True

    def submit(self, bytes payload not None, int qos):
        """Handle one compact payload on this peer's behalf (from a bundle, or translated from the legacy encoding)."""
        cdef bint outer = self.core.in_pass
        self.core.begin()
        self.hash_known = False
        self._payload(<const uint8_t*><char*>payload, len(payload), qos)
        if not outer:
            self.core.finish()

    def carry_out(self, list payloads not None):
        """Apply the SETs and PUBLISHes of a checked bundle in their order, also when their sender has left meanwhile;
        whether there is a SET among them."""
        cdef bint outer = self.core.in_pass
        cdef bint listening = self.greeted
        cdef bint has_set = False
        cdef bytes payload
        cdef size_t address_size
        self.core.begin()
        self.hash_known = False
        self.greeted = True
        try:
            for payload in payloads:
                if len(payload) >= 4 and (<const uint8_t*><char*>payload)[0] == SET:
                    self._payload(<const uint8_t*><char*>payload, len(payload), 0)
                    has_set = True
                elif len(payload) >= 4:
                    address_size = get16(<const uint8_t*><char*>payload + 2)
                    self.relay(payload, payload[4:4 + address_size])
        finally:
            self.greeted = listening
            if not outer:
                self.core.finish()
        return has_set

    cdef void _garbage(self, int fault) noexcept:
        if self.run is not None:
            self.run.accepted = False
        try:
            self.on_garbage(FAULTS[fault])
        except Exception:
            log.exception("an error could not be sent")

    # ---- SET (wire.md 2.3) ----

    cdef void _set(self, const uint8_t* payload, size_t size, int qos) noexcept:
        cdef Write write
        cdef uint64_t revision
        cdef int verdict
        cdef int fault = read_set(payload, size, &write)
        if fault:
            self._garbage(fault)
            return
        write.raw = NULL
        if self.details is not None and self.details.pending:
            write.raw = self.details.of_write(&write)
        write.hash = self.hash if self.hash_known else self.plane.table.hash_of(write.address, write.address_size)
        if self.versioned and read_version(payload, size, &write):
            write.quiet = self.number == 0
        if self.run is not None and self.run.repeats(
                set_content(write.flags & 0x0F, write.address, write.address_size + write.value_size)):
            # A version tells by itself whether it is new.
            if write.hlc == 0:
                return
            write.quiet = True
        verdict = self.plane.set(self, &write, &revision)
        if verdict == OUTDATED:
            return
        if verdict != ACCEPTED:
            if verdict == NO_SCOPE and self._switched(payload, size, &write):
                if qos:
                    self._ack(write.address, write.address_size, 1, False)
                return
            self.refused_hlc = write.hlc
            self.refused_rank = write.rank
            self._refused(verdict, write.address, write.address_size, revision, write.expected, True)
            return
        if write.raw != NULL:
            self.details.applied(self.plane, &write)
        self.last_revision = revision
        if self.audited:
            self.audit(write.address, write.address_size)
        if self.plane.journal_buffer is not None:
            self.wrote_in = self.plane.journal_buffer.epoch
        if qos:
            self._ack(write.address, write.address_size, revision, (write.flags & 0x40) != 0)

    cdef bint _switched(self, const uint8_t* payload, size_t size, const Write* write) noexcept:
        """A refused SET to a reserved address may be what the control plane has a switch for."""
        if not is_reserved(write.address, write.address_size):
            return False
        try:
            return self.on_reserved(PyBytes_FromStringAndSize(<const char*>payload, size),
                                    PyBytes_FromStringAndSize(<const char*>write.address, write.address_size))
        except Exception:
            log.exception("a message could not be handled")
            return False

    cdef void _refused(self, int verdict, const uint8_t* address, size_t size, uint64_t revision, uint64_t expected,
                       bint is_set) noexcept:
        if self.run is not None:
            self.run.accepted = False
        try:
            self.on_refused(verdict, PyBytes_FromStringAndSize(<const char*>address, size), revision, expected, is_set)
        except Exception:
            log.exception("an error could not be sent")

    cdef void _ack(self, const uint8_t* address, size_t size, uint64_t revision, bint locked) noexcept:
        """ACK {address, revision}, and {locked, holder} when the write took a lock."""
        cdef uint8_t buffer[HEADROOM + 4 + 2 + 2 + 1024 + 8 + 1 + 2 + 36]
        cdef uint8_t* frame = buffer + HEADROOM
        cdef uint8_t* p = frame + 4
        cdef bytes holder
        p[0] = 0x50
        p[1] = 0x0F if locked else 0x03
        put16(p + 2, <uint16_t>size)
        memcpy(p + 4, address, size)        # at most 1,024 bytes: the address was accepted
        p += 4 + size
        put64(p, revision)
        p += 8
        if locked:
            holder = <bytes>self.plane.writer_texts[self.writer]
            p[0] = 1
            put16(p + 1, <uint16_t>len(holder))
            memcpy(p + 3, <char*>holder, len(holder))
            p += 3 + len(holder)
        frame[0] = 0x53
        frame[1] = 0x01
        put16(frame + 2, <uint16_t>(p - frame - 4))
        self._send(frame, p - frame)

    # ---- PUBLISH (wire.md 2.3) ----

    cdef void _publish(self, const uint8_t* payload, size_t size) noexcept:
        cdef Published message
        cdef Raw* raw
        cdef uint32_t hash
        cdef int verdict
        cdef int fault = read_publish(payload, size, &message)
        if fault:
            self._garbage(fault)
            return
        if self.run is not None and self.run.repeats(
                publish_content(message.flags, message.address, message.size - 4)):
            return
        if message.signal == SIGNAL_GESTURE:
            self._hand_up(payload, &message, message.phase)
            return
        hash = self.hash if self.hash_known else self.plane.table.hash_of(message.address, message.address_size)
        raw = self.details.of_event() if self.details is not None and self.details.pending else NULL
        if raw != NULL:
            verdict = self.plane.publish_raw(self, message.address, message.address_size, hash, raw)
        else:
            verdict = self.plane.publish(self, payload, &message, hash)
        if verdict == CONTROL_PLANE:
            self._hand_up(payload, &message, -1)
        elif verdict != ACCEPTED:
            self._refused(verdict, message.address, message.address_size, 0, 0, False)
        else:
            if self.audited:
                self.audit(message.address, message.address_size)
            self._note_logged()

    cdef void _note_logged(self) noexcept:
        """A PUBLISH was accepted: if the log has it, what is answered from here on waits for its commit (strict)."""
        if self.plane.journal_buffer is not None and self.plane.journal_buffer.last_number:
            self.wrote_in = self.plane.journal_buffer.epoch

    cdef void _hand_up(self, const uint8_t* payload, const Published* message, int phase) noexcept:
        cdef uint8_t* copy
        try:
            whole = PyBytes_FromStringAndSize(<const char*>payload, message.size)
            copy = <uint8_t*><char*>whole
            copy[1] = <uint8_t>message.flags    # a fresh object that nobody else has seen yet
            text = PyBytes_FromStringAndSize(<const char*>message.address, message.address_size)
            if phase >= 0:
                self.on_gesture(whole, text, phase, message.gesture_id)
            else:
                self.on_special(whole, text)
        except Exception:
            log.exception("a message could not be handled")
        self.core.heavy = True

    def relay(self, bytes payload not None, bytes address not None):
        """Publish a PUBLISH payload to its `address` on the peer's behalf, past the gesture throttle. Refusals go to
        `on_refused`. Raises ValueError for a payload that is none."""
        cdef Published message
        cdef bint outer = self.core.in_pass
        if (not 0 < len(payload) <= 65535 or (<const uint8_t*><char*>payload)[0] != PUBLISH
                or read_publish(<const uint8_t*><char*>payload, len(payload), &message) != 0
                or payload[4:4 + message.address_size] != address):
            raise ValueError("not a PUBLISH payload")
        self.core.begin()
        verdict = self.plane.publish(self, <const uint8_t*><char*>payload, &message,
                                     self.plane.table.hash_of(message.address, message.address_size))
        if verdict == CONTROL_PLANE:
            self.on_special(payload, address)
        elif verdict != ACCEPTED:
            self._refused(verdict, message.address, message.address_size, 0, 0, False)
        else:
            if self.audited:
                self.audit(message.address, message.address_size)
            self._note_logged()
        if not outer:
            self.core.finish()
