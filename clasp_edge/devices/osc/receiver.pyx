"""Datagrams in, params out: many datagrams per wake-up, each message straight into `Plane.set` without a Python object.

Also keeps the sources, whoever packets come from: bounded, the one silent for longest has to go, each with a rate of
its own, above which messages wait, of a param the newest. What is rare (a new source, an address with wildcards, a
bundle for later, anything bad) is asked of `control`.
"""

import logging
import socket as sockets
from collections import OrderedDict

from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.stddef cimport size_t
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memchr, memcmp, memcpy, memset

from clasp_edge.dataplane.bytes cimport get32, put16
from clasp_edge.dataplane.core cimport Core
from clasp_edge.dataplane.messages cimport Published, Write, read_publish
from clasp_edge.dataplane.plane cimport Plane
from clasp_edge.dataplane.token_bucket cimport owe, refill, set_rate, used_s
from clasp_edge.dataplane.verdict cimport ACCEPTED
from clasp_edge.devices.osc.decode cimport VALUE_ROOM, OscMessage, check_packet, is_bundle, read_message
from clasp_edge.devices.osc.source cimport TIMETAGS_IGNORE, TIMETAGS_RELATIVE, Party, Source, SourceTable

from clasp_edge.devices.osc.decode import FAULTS

cdef extern from "<time.h>" nogil:
    struct timespec:
        int64_t tv_sec
        long tv_nsec
    int clock_gettime(int clock, timespec* result)
    int CLOCK_THREAD_CPUTIME_ID

cdef extern from "<sys/socket.h>" nogil:
    struct iovec:
        void* iov_base
        size_t iov_len
    struct msghdr:
        void* msg_name
        uint32_t msg_namelen
        iovec* msg_iov
        size_t msg_iovlen
    struct mmsghdr:
        msghdr msg_hdr
        unsigned int msg_len
    int recvmmsg(int fd, mmsghdr* messages, unsigned int count, int flags, void* timeout)
    int MSG_DONTWAIT
    int AF_INET, AF_INET6

log = logging.getLogger("clasp_edge.osc")

cdef enum:
    DATAGRAM_BYTES = 65536      # larger than any; pages that no datagram reaches cost no memory
    BATCH = 64                  # datagrams per system call
    DELIVERIES_AT_ONCE = 512    # of one call's datagrams, if each is for everybody
    ROUNDS = 4                  # calls per wake-up, before others get their turn
    TIMED = 8                   # datagrams between two looks at the clock: each may be a subscription
    SLICE_US = 2000             # of CPU for one call's datagrams and what devices are told; then it takes fewer
    NAME_BYTES = 28             # sockaddr_in6
    INET_KEY = 8                # of sockaddr_in: family, port, address
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
    BUSY_US = 1000              # wake-ups closer than this, so many in a row: the socket is looked at by the clock
    BUSY_WAKES = 16
    IDLE_POLLS = 4              # looks that find hardly anything: it is watched again

cdef uint64_t NO_CLOCK_US = 631152000000000     # 1990: a clock that says so was never set


cdef uint64_t _cpu_us() noexcept:
    """Of this thread: other programs on the machine do not make a call costly."""
    cdef timespec now
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now)
    return <uint64_t>now.tv_sec * 1000000 + now.tv_nsec // 1000


cdef class OscReceiver(SourceTable):
    """Reads the UDP socket and knows the sources.

    `control` must have:
    `admit(key, host, port, sock) -> Source | None` for a sender that is not known; `source_gone(source)`;
    `special(source, address, is_pattern, has_arguments, value_type, value)` for wildcards and control addresses;
    `later(source, due_us, packet) -> bool` for a bundle whose time has not come, False: do it now;
    `relative(source, due_us) -> due_us` where a source's clock is to be learned; `clock_not_set(source, due_us)`;
    `bad_packet(source, reason)`, `too_fast(source)`, `refused(source, address, verdict)`;
    `overflowing(source)` when messages begin to wait above the rate: `drain` is to be called until it says False;
    `asked(source, osc_address, address) -> bool` for a question, True when it was answered;
    `behind()` is whether devices still have to be told what came before: less is read at once then;
    `heard(source, address, is_event, value_type, value) -> bool` for a message of a device we also send to, True when
    it is to be ignored; `spoken(address, value_type, value, tail)` for one whose type tags its value does not give
    back; `returned(party)` when such a device is heard after `silence_us`; `pause()` when the socket is busy: `poll`
    is to be
    called a moment later, until it says False.
    `rate` is messages per second and source, 0 for any.
    """

    cdef bytes namespace
    cdef bytes reserved
    cdef public double rate
    cdef public uint64_t silence_us
    cdef public object events           # .matches(address): which addresses are events, whoever writes them; None: none
    cdef bint is_open
    cdef object sock                    # that is being read
    cdef uint8_t* buffers
    cdef mmsghdr* headers
    cdef iovec* vectors
    cdef uint8_t* names
    cdef uint8_t* room
    cdef uint8_t* payload               # of a PUBLISH
    cdef uint8_t address[2 * MAX_ADDRESS]
    cdef size_t namespace_size
    cdef uint64_t bundles               # their numbers
    cdef uint64_t unique                # keys of what waits and is no param
    cdef uint64_t last_wake_us
    cdef int next               # of the datagrams that were read: those before are dealt with
    cdef int got
    cdef int at_once            # datagrams per system call now: fewer where each is told to many devices
    cdef int busy
    cdef int idle
    cdef public uint64_t horizon_us     # how far ahead a bundle may wait
    cdef uint8_t last_name[NAME_BYTES]
    cdef size_t last_size
    cdef readonly uint64_t packets
    cdef readonly uint64_t messages
    cdef readonly uint64_t over_rate    # above the rate: waited
    cdef readonly uint64_t replaced     # of them, those whose value was replaced by a newer one
    cdef readonly uint64_t dropped_over_rate
    cdef readonly uint64_t not_admitted

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
        free(self.buffers)
        free(self.headers)
        free(self.vectors)
        free(self.names)

    def open(self):
        """Get ready to read bound, non-blocking UDP sockets."""
        cdef int i
        self.buffers = <uint8_t*>malloc(BATCH * DATAGRAM_BYTES)
        self.headers = <mmsghdr*>calloc(BATCH, sizeof(mmsghdr))
        self.at_once = BATCH
        self.vectors = <iovec*>calloc(BATCH, sizeof(iovec))
        self.names = <uint8_t*>calloc(BATCH, NAME_BYTES)
        if self.buffers == NULL or self.headers == NULL or self.vectors == NULL or self.names == NULL:
            raise MemoryError
        for i in range(BATCH):
            self.vectors[i].iov_base = self.buffers + i * DATAGRAM_BYTES
            self.vectors[i].iov_len = DATAGRAM_BYTES
            self.headers[i].msg_hdr.msg_iov = &self.vectors[i]
            self.headers[i].msg_hdr.msg_iovlen = 1
            self.headers[i].msg_hdr.msg_name = self.names + i * NAME_BYTES
        self.is_open = True

    def close(self):
        self.is_open = False
        self.next = self.got = 0

    # ---- reading ----

    def on_readable(self, sock, int fd):
        """Take what has arrived at a socket; called whenever there is something."""
        cdef Core core = self.plane.core
        if self.control.behind():
            # What devices are told of this would be more than waits already: it stays where it is.
            self.control.pause(sock, fd)
            return
        self._read(sock, fd)
        if self.next < self.got:
            self.control.pause(sock, fd)
            return
        if core.mono_us - self.last_wake_us < BUSY_US:
            self.busy += 1
            if self.busy >= BUSY_WAKES:
                self.busy = 0
                self.idle = 0
                self.control.pause(sock, fd)
        else:
            self.busy = 0
        self.last_wake_us = core.mono_us

    def poll(self, sock, int fd):
        """Take what has arrived in a moment. False: so little that the socket should be watched again."""
        if self.control.behind():
            return True
        if self._read(sock, fd) > 2 or self.next < self.got:
            self.idle = 0
            return True
        self.idle += 1
        if self.idle < IDLE_POLLS:
            return True
        # Whoever waits for answers one at a time shall not wait for the clock: not again for a while.
        self.busy = -16 * BUSY_WAKES
        return False

    cdef int _read(self, sock, int fd):
        cdef int _round, i
        cdef int all_got = 0
        cdef uint64_t began_us
        if self.next < self.got and not self._handle_some():
            return self.got - self.next
        self.sock = sock
        self.at_once = min(self.at_once, max(1, DELIVERIES_AT_ONCE // <int>max(1, self.control.listeners())))
        for _round in range(ROUNDS):
            if not self.is_open:
                break
            for i in range(self.at_once):
                self.headers[i].msg_hdr.msg_namelen = NAME_BYTES
            # Errors are those of earlier sends (an ICMP refusal) or "nothing there"; the next call reads on.
            self.next = 0
            self.got = recvmmsg(fd, self.headers, self.at_once, MSG_DONTWAIT, NULL)
            if self.got <= 0:
                break
            all_got += self.got
            began_us = _cpu_us()
            if not self._handle_some():
                break
            if _cpu_us() - began_us > SLICE_US or self.control.behind():
                self.at_once = max(1, self.at_once // 4)
                break
            if self.got < self.at_once:
                break
            self.at_once = min(BATCH, self.at_once * 2)
        return all_got

    cdef bint _handle_some(self):
        """What was read, as a pass, as far as the slice lasts; whether that was all of it. The rest is for the next
        look at any of the sockets."""
        cdef int i
        cdef uint64_t began_us = _cpu_us()
        cdef Core core = self.plane.core
        core.begin()
        while self.next < self.got:
            i = self.next
            self.next += 1
            try:
                self._datagram(self.names + i * NAME_BYTES, self.headers[i].msg_hdr.msg_namelen,
                               self.buffers + i * DATAGRAM_BYTES, self.headers[i].msg_len)
            except Exception:
                log.exception("a datagram could not be handled")
            if self.next % TIMED == 0 and _cpu_us() - began_us > SLICE_US:
                break
        if core.adapters:
            core.finish()
        else:
            core.end_read(<void*>self)
        return self.next >= self.got

    cdef _datagram(self, uint8_t* name, size_t name_size, const uint8_t* data, size_t size):
        cdef Source source
        cdef uint16_t family
        memcpy(&family, name, 2)
        if family == AF_INET:
            name_size = INET_KEY
        elif name_size >= NAME_BYTES:
            memset(name + 4, 0, 4)      # the flow label is not part of who it is
        if self.last is not None and name_size == self.last_size and memcmp(name, self.last_name, name_size) == 0:
            source = self.last
        else:
            source = self._source_of(name, name_size, family)
            if source is None:
                self.not_admitted += 1
                return
            self.last = source
            self.last_size = name_size
            memcpy(self.last_name, name, name_size)
        source.sock = self.sock
        self._packet(source, data, size)

    cdef Source _source_of(self, const uint8_t* name, size_t name_size, int family):
        key = PyBytes_FromStringAndSize(<const char*>name, name_size)
        cdef Source source = self.sources.get(key)
        if source is not None:
            return source
        port = (name[2] << 8) | name[3]
        if family == AF_INET:
            host = sockets.inet_ntop(AF_INET, key[4:8])
        else:
            host = sockets.inet_ntop(AF_INET6, key[8:24])
            if host.startswith("::ffff:") and "." in host:
                host = host[7:]         # IPv4 on a socket for both families
            elif any(key[24:28]):
                host = f"{host}%{int.from_bytes(key[24:28], 'little')}"
        source = self.control.admit(key, host, port, self.sock)
        if source is not None:
            self.add(source)
        return source

    # ---- packets ----

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
        cdef size_t at = 16
        cdef uint32_t element
        cdef uint64_t outer = source.bundle_number
        if due_us and source.timetags != TIMETAGS_IGNORE:
            if source.timetags == TIMETAGS_RELATIVE:
                due_us = self.control.relative(source, due_us)
            elif due_us < NO_CLOCK_US:
                self.control.clock_not_set(source, due_us)
            if due_us > now_us and self.control.later(source, due_us, PyBytes_FromStringAndSize(<const char*>p, size)):
                return
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

    cdef _members(self, Source source, const uint8_t* p, size_t size, uint64_t now_us):
        """A bundle whose time has come, whatever its tag says."""
        cdef size_t at = 16
        cdef uint32_t element
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
            source.bundle_number = 0

    cdef _message(self, Source source, const uint8_t* p, size_t size):
        cdef OscMessage message
        cdef int fault = read_message(p, size, self.room, &message)
        cdef size_t base_size
        cdef bint event
        if fault:
            self.control.bad_packet(source, (<dict>FAULTS)[fault])
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
