"""What senders of OSC say, into params: each message straight into `Plane.set` without a Python object.

Each source has a rate of its own, above which messages wait, of a param the newest. What is rare (an address with
wildcards, a bundle for later, anything bad) is asked of `control`. Where packets come from, it does not know.
"""

from collections import OrderedDict

from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.stddef cimport size_t
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memchr, memcmp, memcpy, memset

from clasp_edge.dataplane.bytes cimport get32, put16
from clasp_edge.dataplane.core cimport Core
from clasp_edge.dataplane.messages cimport Published, Write, read_publish
from clasp_edge.dataplane.plane cimport Plane
from clasp_edge.dataplane.token_bucket cimport owe, refill, set_rate, used_s
from clasp_edge.dataplane.verdict cimport ACCEPTED
from clasp_edge.devices.osc.decode cimport (
    NOT_OSC,
    VALUE_ROOM,
    OscMessage,
    check_packet,
    is_bundle,
    read_message,
    with_slash,
)
from clasp_edge.devices.osc.source cimport TIMETAGS_IGNORE, TIMETAGS_RELATIVE, Party, Source

from clasp_edge.devices.osc.decode import FAULTS

cdef enum:
    MAX_ADDRESS = 1024          # wire/limits.py MAX_ADDRESS_BYTES: what is longer is refused by the plane anyway
    NTP_TO_UNIX_S = 2208988800  # 1900 to 1970
    HEAD_BYTES = 28             # of IPv4 and UDP
    IMMEDIATELY = 1             # the time tag that means: now
    OVERFLOW_BYTES = 262144     # what may wait above the rate, of one source and of all
    STAMPED_BYTES = 1048576     # the same with bundles that have a time tag, of which none replaces another
    ALL_OVERFLOW_BYTES = 8388608
    OVERFLOW_COST = 256         # of one waiting packet, beside its bytes
    ORDINARY_BYTES = 256        # of a message: a fader's, a name
    EVENT_SIGNAL = 1

cdef uint64_t NO_CLOCK_US = 631152000000000     # 1990: a clock that says so was never set


cdef class OscPackets(SourceTable):
    """Reads packets of sources that are known.

    `control` must have:
    `special(source, address, is_pattern, has_arguments, value_type, value)` for wildcards and control addresses;
    `later(source, due_us, packet) -> bool` for a bundle whose time has not come, False: do it now;
    `relative(source, due_us) -> due_us` where a source's clock is to be learned; `clock_not_set(source, due_us)`;
    `bad_packet(source, reason)`, `too_fast(source)`, `refused(source, address, verdict)`;
    `overflowing(source)` when messages begin to wait above the rate: `drain` is to be called until it says False;
    `asked(source, osc_address, address) -> bool` for a question, True when it was answered;
    `heard(source, address, is_event, value_type, value) -> bool` for a message of a device we also send to, True when
    it is to be ignored; `spoken(address, value_type, value, tail)` for one whose type tags its value does not give
    back; `returned(party)` when such a device is heard after `silence_us`.
    `rate` is messages per second and source, 0 for any.
    """

    def __cinit__(self, Plane plane not None, control, bytes namespace not None, bytes reserved not None):
        self.namespace = namespace
        self.reserved = reserved
        self.namespace_size = len(namespace)
        if self.namespace_size > 63:
            raise ValueError("the namespace is too long")
        memcpy(self.address, <char*>namespace, self.namespace_size)
        self.room = <uint8_t*>malloc(VALUE_ROOM)
        self.payload = <uint8_t*>malloc(VALUE_ROOM + 2 * MAX_ADDRESS)
        if self.room == NULL or self.payload == NULL:
            raise MemoryError

    def __dealloc__(self):
        free(self.room)
        free(self.payload)

    def packet(self, Source source not None, bytes data not None):
        """One packet that came another way than by UDP; its source need not be among those that `add` knows."""
        cdef Core core = self.plane.core
        cdef bint outer = core.in_pass
        core.begin()
        try:
            if not source.dropped:
                self._packet(source, <const uint8_t*><char*>data, len(data))
        finally:
            if not outer:
                core.finish()

    def execute(self, Source source not None, bytes packet not None, uint64_t now_us):
        """A bundle whose time has come: `now_us` is the time it was waiting for, or later."""
        self._members(source, <const uint8_t*><char*>packet, len(packet), now_us)

    cdef _packet(self, Source source, const uint8_t* data, size_t size):
        cdef uint64_t now_us = self.plane.core.mono_us
        cdef Party party = source.party
        cdef bint back = False
        cdef int count
        self.packets += 1
        source.packets += 1
        source.received_bytes += size + HEAD_BYTES
        source.heard_us = now_us
        if source.listed and source is not self.newest:
            self._unlink(source)
            self._link(source)
        if party is not None:
            back = party.heard_us == 0 or now_us - party.heard_us > self.silence_us
            party.heard_us = now_us
            party.datagrams += 1
        if is_bundle(data, size):
            # A bundle that does not fit together is not done in part.
            count = check_packet(data, size, 0)
            if count < 0:
                self.control.bad_packet(source, (<dict>FAULTS)[count])
            elif self._is_stamped(source, data):
                # It has a time of its own, and waits in any case: no rate is a reason to lose it.
                if self._refill(source) > 0:
                    source.bucket.tokens -= count
                self._bundle(source, data, size, self.plane.core.wall_us)
            elif source.overflow is None and self._spend(source, count if count > 0 else 1):
                self._bundle(source, data, size, self.plane.core.wall_us)
            else:
                self._wait_bundle(source, data, size, 0)
        elif source.overflow is None and self._spend(source, 1):
            self._message(source, data, size)
        else:
            self._wait(source, data, size)
        if back:
            self.control.returned(party)

    cdef bint _is_stamped(self, Source source, const uint8_t* p) noexcept:
        """Whether a bundle waits for a time of its own."""
        cdef uint64_t due_us = unix_us(get32(p + 8), get32(p + 12))
        cdef uint64_t now_us = self.plane.core.wall_us
        if source.timetags == TIMETAGS_RELATIVE:
            return due_us != 0          # whatever it says, only its sender's offset tells when that is
        return source.timetags != TIMETAGS_IGNORE and now_us < due_us <= now_us + self.horizon_us

    # ---- the rate ----

    cdef double _refill(self, Source source) noexcept:
        """Fill the source's bucket; returns the rate, 0 for any."""
        cdef uint64_t now_us = self.plane.core.mono_us
        cdef double rate = source.rate if source.rate >= 0 else self.rate
        if rate != source.bucket.rate:
            set_rate(&source.bucket, rate, 0, now_us)
        refill(&source.bucket, now_us)
        return rate

    cdef bint _spend(self, Source source, int messages) noexcept:
        """Whether the source may send that many now: all of a bundle, or none."""
        if self._refill(source) <= 0:
            return True
        if source.bucket.tokens < messages:
            return False
        source.bucket.tokens -= messages
        return True

    def charge(self, Source source not None, double messages):
        """Let something costly count as so many messages; a debt is paid before the next one passes."""
        if self._refill(source) > 0:
            source.bucket.tokens -= messages

    def used_s(self, Source source not None):
        """Seconds until the source would have its whole rate again: above 1 it is in debt."""
        if not self.plane.core.in_pass:
            self.plane.core.tick()
        self._refill(source)
        return used_s(&source.bucket)

    def owe(self, Source source not None, double seconds):
        """Have the source begin with so much used (`used_s`)."""
        if not self.plane.core.in_pass:
            self.plane.core.tick()
        self._refill(source)
        owe(&source.bucket, seconds)

    cdef _wait_bundle(self, Source source, const uint8_t* p, size_t size, int nesting):
        """A bundle above the rate. One for "immediately" by its members, so that params converge; what has a time tag
        is one thing among others that say when: all of it is done, in its order."""
        cdef size_t at = 16
        cdef uint32_t element
        cdef uint64_t due_us = unix_us(get32(p + 8), get32(p + 12))
        if nesting and self._is_stamped(source, p):
            self._bundle(source, p, size, self.plane.core.wall_us)
            return
        if due_us and source.timetags != TIMETAGS_IGNORE:
            self._wait(source, p, size)
            return
        while at < size:
            element = get32(p + at)
            at += 4
            if is_bundle(p + at, element):
                self._wait_bundle(source, p + at, element, nesting + 1)
            elif element:
                self._wait(source, p + at, element)
            at += element

    cdef _wait(self, Source source, const uint8_t* p, size_t size):
        """A message above the rate, or behind a wildcard that is under way: of a param only the newest value waits, in
        the place of the one before; a bundle as it is."""
        cdef const uint8_t* end = <const uint8_t*>memchr(p, 0, size)
        cdef OscMessage message
        cdef size_t most = STAMPED_BYTES if is_bundle(p, size) else OVERFLOW_BYTES
        cdef bint wild = False
        cdef size_t freed = 0
        if not source.behind_wildcard or self._refill(source) > 0 and source.tokens < 1:
            source.over_rate += 1
            self.over_rate += 1
        if source.overflow is None:
            source.overflow = OrderedDict()
            self.control.too_fast(source)
            self.control.overflowing(source)
        packet = PyBytes_FromStringAndSize(<const char*>p, size)
        key = None
        if is_bundle(p, size):
            wild = True                 # its members stay together, whatever params they are for
        elif end != NULL and not read_message(p, size, self.room, &message):
            if message.is_pattern:
                wild = True
            elif message.has_arguments and not self._is_reserved(&message):
                key = PyBytes_FromStringAndSize(<const char*>p, end - p)
                if self._is_event(source, key):
                    key = None
        if key is None:
            self.unique += 1
            key = self.unique
            if wild:
                source.wild = self.unique
        before = source.overflow.get(key)
        if before is not None:
            freed = <size_t>len(<bytes>before) + OVERFLOW_COST
        # In the place of the one before, an ordinary value always fits; a large one must not take a small one's.
        if ((before is None or size > ORDINARY_BYTES)
                and (source.overflow_bytes - freed + size + OVERFLOW_COST > most
                     or self.all_overflow - freed + size + OVERFLOW_COST > ALL_OVERFLOW_BYTES)):
            self.dropped_over_rate += 1
            return
        if before is not None:
            self.replaced += 1
            source.overflow_bytes -= freed
            self.all_overflow -= freed
        source.overflow[key] = packet
        if source.wild and before is not None:
            source.overflow.move_to_end(key)    # what waits with wildcards may be meant for the same param
        source.overflow_bytes += size + OVERFLOW_COST
        self.all_overflow += size + OVERFLOW_COST

    def drain(self, Source source not None):
        """Carry out what waits above the rate, as far as the rate allows by now. Whether there is more to do
        now: behind a message with wildcards it goes on when that is done."""
        cdef Core core = self.plane.core
        cdef bint outer = core.in_pass
        cdef const uint8_t* p
        cdef size_t size
        core.begin()
        try:
            while source.overflow and not source.expands:
                if not self._spend(source, 1):
                    return True
                key, packet = source.overflow.popitem(last=False)
                if source.wild and key == source.wild:
                    source.wild = 0
                source.overflow_bytes -= len(<bytes>packet) + OVERFLOW_COST
                self.all_overflow -= len(<bytes>packet) + OVERFLOW_COST
                p = <const uint8_t*><char*>(<bytes>packet)
                size = len(<bytes>packet)
                if is_bundle(p, size):
                    if source.bucket.rate > 0:
                        source.bucket.tokens -= check_packet(p, size, 0) - 1
                    self._bundle(source, p, size, core.wall_us)
                else:
                    self._message(source, p, size)
            if not source.expands:
                source.overflow = None
                source.behind_wildcard = False
                source.wild = 0
            return False
        finally:
            if not outer:
                core.finish()

    # ---- bundles and messages ----

    cdef _bundle(self, Source source, const uint8_t* p, size_t size, uint64_t now_us):
        """A checked bundle: now, in order; what is for later is handed up, as a whole."""
        cdef uint64_t due_us = unix_us(get32(p + 8), get32(p + 12))
        if due_us and source.timetags != TIMETAGS_IGNORE:
            if source.timetags == TIMETAGS_RELATIVE:
                due_us = self.control.relative(source, due_us)
            elif due_us < NO_CLOCK_US:
                self.control.clock_not_set(source, due_us)
            if due_us > now_us and self.control.later(source, due_us, PyBytes_FromStringAndSize(<const char*>p, size)):
                return
        self._members(source, p, size, now_us)

    cdef _members(self, Source source, const uint8_t* p, size_t size, uint64_t now_us):
        """A bundle whose time has come, whatever its tag says; one within another belongs to the outer one."""
        cdef size_t at = 16
        cdef uint32_t element
        cdef uint64_t outer = source.bundle_number
        if not outer:
            self.bundles += 1
            source.bundle_number = self.bundles
        try:
            while at < size:
                element = get32(p + at)
                at += 4
                if is_bundle(p + at, element):
                    self._bundle(source, p + at, element, now_us)
                elif element:
                    self._message(source, p + at, element)
                at += element
        finally:
            source.bundle_number = outer

    cdef _message(self, Source source, const uint8_t* p, size_t size):
        cdef OscMessage message
        cdef int fault = read_message(p, size, self.room, &message)
        cdef size_t base_size
        cdef bint event
        if fault:
            slashed = with_slash(p, size) if fault == NOT_OSC else None
            if slashed is None:
                self.control.bad_packet(source, (<dict>FAULTS)[fault])
            else:
                self._message(source, <const uint8_t*><char*>(<bytes>slashed), len(<bytes>slashed))
            return
        source.messages += 1
        self.messages += 1
        if message.is_pattern or self._is_reserved(&message):
            source.tail = None
            source.tail_data = message.tail
            source.tail_size = message.tail_size
            try:
                self.control.special(
                    source, PyBytes_FromStringAndSize(<const char*>message.address, message.address_size),
                    message.is_pattern, message.has_arguments, message.value_type,
                    PyBytes_FromStringAndSize(<const char*>message.value, message.value_size))
            finally:
                source.tail = None
                source.tail_data = NULL
            return
        if source.base is None:
            base_size = self.namespace_size
        else:
            base_size = len(source.base)
        if message.address_size + base_size > MAX_ADDRESS:
            self.control.bad_packet(source, "an address that is too long")
            return
        if source.outside is not None and source.outside.matches(
                PyBytes_FromStringAndSize(<const char*>message.address, message.address_size)):
            base_size = 0
        elif source.base is not None:
            memcpy(self.address, <char*>source.base, base_size)
        else:
            memcpy(self.address, <char*>self.namespace, base_size)
        memcpy(self.address + base_size, message.address, message.address_size)
        event = not message.has_arguments
        if not event and (self.events is not None or source.events is not None):
            event = self._is_event(
                source, PyBytes_FromStringAndSize(<const char*>message.address, message.address_size))
        if not message.has_arguments and source.asks and self.control.asked(
                source, PyBytes_FromStringAndSize(<const char*>message.address, message.address_size),
                PyBytes_FromStringAndSize(<const char*>self.address, message.address_size + base_size)):
            return
        source.tail = None
        source.tail_data = message.tail
        source.tail_size = message.tail_size
        self._write(source, self.address, message.address_size + base_size, event, message.has_arguments,
                    message.value_type, message.value, message.value_size, message.plain)
        source.tail = None
        source.tail_data = NULL

    cdef bint _is_event(self, Source source, bytes osc_address):
        """Whether the address as the source says it belongs to events."""
        if self.events is not None and self.events.matches(osc_address):
            return True
        return source.events is not None and source.events.matches(osc_address)

    cdef bint _is_reserved(self, OscMessage* message) noexcept:
        cdef size_t size = len(self.reserved)
        return message.address_size > size and memcmp(message.address, <char*>self.reserved, size) == 0

    def write(self, Source source not None, bytes address not None, bint has_arguments, int value_type,
              bytes value not None, bytes tail=None):
        """Write one param (a full CLASP address, an encoded value) as if the source had named just this one. `tail`:
        what `Source.spoken` said while the message was under way."""
        source.tail = tail
        try:
            self._write(source, <const uint8_t*><char*>address, len(address), not has_arguments, has_arguments,
                        value_type, <const uint8_t*><char*>value, len(value), True)
        finally:
            source.tail = None

    cdef _write(self, Source source, const uint8_t* address, size_t address_size, bint event, bint has_value,
                int value_type, const uint8_t* value, size_t value_size, bint plain):
        cdef Write write
        cdef uint64_t revision = 0
        cdef int verdict
        cdef uint8_t* p
        cdef uint32_t hash
        cdef Published published
        source.loop_mark = 0
        if source.party is not None and self.control.heard(
                source, PyBytes_FromStringAndSize(<const char*>address, address_size), event, value_type,
                PyBytes_FromStringAndSize(<const char*>value, value_size)):
            return
        if source.writer == 0 and not source.dropped:
            # Only now: whoever sends nothing that can be read takes no place among the writers.
            self.plane.register(source, f"osc:{source.name}".encode()[:36])
        hash = self.plane.table.hash_of(address, address_size)
        if event:
            p = self.payload
            p[0] = 0x20                 # PUBLISH (wire.md 2.4)
            p[1] = EVENT_SIGNAL << 5
            put16(p + 2, <uint16_t>address_size)
            memcpy(p + 4, address, address_size)
            p[4 + address_size] = has_value
            if has_value:
                p[5 + address_size] = <uint8_t>value_type
                memcpy(p + 6 + address_size, value, value_size)
                value_size += 1
            if 5 + address_size + value_size > 65535:
                self.control.bad_packet(source, "a value too large for CLASP")
                return
            if read_publish(p, 5 + address_size + value_size, &published) != 0:
                self.control.bad_packet(source, "a value that is none in CLASP")
                return
            verdict = self.plane.publish(source, p, &published, hash)
        else:
            memset(&write, 0, sizeof(write))    # no ttl, no expected revision, nothing kept of what MQTT sent
            write.address = address
            write.address_size = address_size
            write.hash = hash
            write.value = value
            write.value_size = value_size
            write.flags = <uint8_t>value_type
            if not plain and source.tail_data != NULL:
                self.control.spoken(
                    PyBytes_FromStringAndSize(<const char*>address, address_size), value_type,
                    PyBytes_FromStringAndSize(<const char*>value, value_size), source.spoken())
            verdict = self.plane.set(source, &write, &revision)
        source.loop_mark = 0
        if verdict != ACCEPTED:
            self.control.refused(source, PyBytes_FromStringAndSize(<const char*>address, address_size), verdict)


cdef uint64_t unix_us(uint32_t seconds, uint32_t fraction) noexcept nogil:
    """Unix microseconds of a time tag; 0 for "immediately". In 2036 the seconds start anew (RFC 4330, 3)."""
    cdef uint64_t since_1900 = seconds
    if seconds == 0 and fraction <= IMMEDIATELY:
        return 0
    if seconds < <uint32_t>0x80000000:
        since_1900 += <uint64_t>1 << 32
    if since_1900 < NTP_TO_UNIX_S:
        return 0
    return (since_1900 - NTP_TO_UNIX_S) * 1000000 + ((<uint64_t>fraction * 1000000) >> 32)


def unix_time_us(uint32_t seconds, uint32_t fraction):
    """Unix microseconds of a time tag's two halves, 0 for "immediately"."""
    return unix_us(seconds, fraction)
