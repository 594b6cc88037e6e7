"""Datagrams in, params out: many datagrams per wake-up, each message straight into `Plane.set` without a Python object.

Also keeps the sources, whoever packets come from: bounded, the one silent for longest has to go, each with a rate of
its own. What is rare (a new source, an address with wildcards, a bundle for later, anything bad) is asked of `control`.
"""

import logging
import socket as sockets

from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.stddef cimport size_t
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcmp, memcpy, memset

from clasp_edge.dataplane.adapter cimport Adapter
from clasp_edge.dataplane.bytes cimport get32
from clasp_edge.dataplane.messages cimport Write
from clasp_edge.dataplane.outbox cimport Core, Sink
from clasp_edge.dataplane.plane cimport ACCEPTED, Plane
from clasp_edge.devices.osc.decode cimport (
    VALUE_ROOM,
    OscMessage,
    check_packet,
    is_bundle,
    read_message,
)

from clasp_edge.devices.osc.decode import FAULTS

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
    ROUNDS = 4                  # calls per wake-up, before others get their turn
    NAME_BYTES = 28             # sockaddr_in6
    INET_KEY = 8                # of sockaddr_in: family, port, address
    MAX_ADDRESS = 1024          # wire/limits.py MAX_ADDRESS_BYTES: what is longer is refused by the plane anyway
    NTP_TO_UNIX_S = 2208988800  # 1900 to 1970
    HEAD_BYTES = 28             # of IPv4 and UDP
    IMMEDIATELY = 1             # the time tag that means: now


cdef class Party(Adapter):
    """A device that values are sent to. `heard_us` is when one of its sources last sent something (monotonic)."""

    cdef public uint64_t heard_us
    cdef public uint64_t datagrams


cdef class Source(Sink):
    """Where packets come from. `party` is the device it belongs to, if we know one; `link` is the way back to it."""

    cdef readonly bytes key
    cdef readonly str name
    cdef readonly str host
    cdef readonly int port
    cdef public Party party
    cdef public object link
    cdef public int timed               # bundles of it that wait for their time
    cdef readonly bint dropped
    cdef bint listed                    # among the senders of datagrams, which make room for one another
    cdef readonly uint64_t heard_us
    cdef readonly uint64_t messages
    cdef readonly uint64_t packets
    cdef readonly uint64_t received_bytes   # with the headers of IPv4 and UDP
    cdef public uint64_t answered_bytes     # sent to it while it was not confirmed (allowance.py)
    cdef public bint confirmed              # it is really there: it has renewed, or it is a connection
    cdef public uint64_t bad
    cdef public uint64_t over_rate
    cdef public uint64_t complained_us  # when something bad was last logged; what has come since
    cdef public uint64_t untold
    cdef double tokens
    cdef uint64_t refilled_us
    cdef Source older, newer

    def __cinit__(self, bytes key not None, str host not None, int port, link=None):
        self.key = key
        self.host = host
        self.port = port
        self.name = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        self.link = link
        self.confirmed = link is not None

    def __repr__(self):
        return f"<OSC {self.name}>"


cdef class OscReceiver:
    """Reads the UDP socket and knows the sources.

    `control` must have:
    `admit(key, host, port) -> Source | None` for a sender that is not known; `source_gone(source)`;
    `special(source, address, is_pattern, value_type, value)` for wildcards and control addresses;
    `later(source, due_us, packet)` for a bundle whose time has not come;
    `bad_packet(source, reason)`, `too_fast(source)`, `refused(source, address, verdict)`;
    `heard(source, address, value_type, value) -> bool` for a message of a device we also send to, True when it is to be
    ignored; `returned(party)` when such a device is heard after `silence_us`.
    `rate` is messages per second and source, 0 for any.
    """

    cdef readonly Plane plane
    cdef object control
    cdef bytes namespace
    cdef bytes reserved
    cdef public double rate
    cdef public uint64_t silence_us
    cdef public Py_ssize_t max_sources
    cdef dict sources
    cdef Source oldest, newest
    cdef int fd
    cdef uint8_t* buffers
    cdef mmsghdr* headers
    cdef iovec* vectors
    cdef uint8_t* names
    cdef uint8_t* room
    cdef uint8_t address[MAX_ADDRESS + 64]
    cdef size_t namespace_size
    cdef Source last
    cdef uint8_t last_name[NAME_BYTES]
    cdef size_t last_size
    cdef readonly uint64_t packets
    cdef readonly uint64_t messages
    cdef readonly uint64_t over_rate
    cdef readonly uint64_t not_admitted
    cdef readonly uint64_t evicted

    def __cinit__(self, Plane plane not None, control, bytes namespace not None, bytes reserved not None):
        self.plane = plane
        self.control = control
        self.namespace = namespace
        self.reserved = reserved
        self.namespace_size = len(namespace)
        if self.namespace_size > 63:
            raise ValueError("the namespace is too long")
        memcpy(self.address, <char*>namespace, self.namespace_size)
        self.sources = {}
        self.max_sources = 1
        self.fd = -1
        self.room = <uint8_t*>malloc(VALUE_ROOM)
        if self.room == NULL:
            raise MemoryError

    def __dealloc__(self):
        free(self.room)
        free(self.buffers)
        free(self.headers)
        free(self.vectors)
        free(self.names)

    def open(self, int fd):
        """Read from this bound, non-blocking UDP socket from now on, whenever `on_readable` is called."""
        cdef int i
        self.buffers = <uint8_t*>malloc(BATCH * DATAGRAM_BYTES)
        self.headers = <mmsghdr*>calloc(BATCH, sizeof(mmsghdr))
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
        self.fd = fd

    def close(self):
        self.fd = -1

    # ---- reading ----

    def on_readable(self):
        """Take what has arrived."""
        cdef int _round, i, got
        cdef Core core = self.plane.core
        for _round in range(ROUNDS):
            if self.fd < 0:
                return
            for i in range(BATCH):
                self.headers[i].msg_hdr.msg_namelen = NAME_BYTES
            # Errors are those of earlier sends (an ICMP refusal) or "nothing there"; the next call reads on.
            got = recvmmsg(self.fd, self.headers, BATCH, MSG_DONTWAIT, NULL)
            if got <= 0:
                break
            core.begin()
            for i in range(got):
                try:
                    self._datagram(self.names + i * NAME_BYTES, self.headers[i].msg_hdr.msg_namelen,
                                   self.buffers + i * DATAGRAM_BYTES, self.headers[i].msg_len)
                except Exception:
                    log.exception("a datagram could not be handled")
            core.end_read(<void*>self)
            if got < BATCH:
                break

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
        source = self.control.admit(key, host, port)
        if source is not None:
            self.add(source)
        return source

    # ---- sources ----

    def add(self, Source source not None):
        """Take a sender of datagrams in; the one that has been silent for longest makes room."""
        while len(self.sources) >= self.max_sources and self.oldest is not None:
            self.evicted += 1
            self.drop(self.oldest)
        self.sources[source.key] = source
        source.listed = True
        source.heard_us = self.plane.core.mono_us
        self._link(source)

    def drop(self, Source source not None):
        """Forget a source; it is a new one when it comes again."""
        if source.dropped:
            return
        source.dropped = True
        if self.last is source:
            self.last = None
        if source.listed:
            self._unlink(source)
            self.sources.pop(source.key, None)
        if source.writer:
            self.plane.unregister(source)
        self.control.source_gone(source)

    def known(self):
        """All sources, the one heard last at the end."""
        found = []
        cdef Source source = self.oldest
        while source is not None:
            found.append(source)
            source = source.newer
        return found

    def __len__(self):
        return len(self.sources)

    cdef void _link(self, Source source) noexcept:
        source.older = self.newest
        source.newer = None
        if self.newest is not None:
            self.newest.newer = source
        self.newest = source
        if self.oldest is None:
            self.oldest = source

    cdef void _unlink(self, Source source) noexcept:
        if source.older is not None:
            source.older.newer = source.newer
        else:
            self.oldest = source.newer
        if source.newer is not None:
            source.newer.older = source.older
        else:
            self.newest = source.older
        source.older = None
        source.newer = None

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
        self._bundle(source, <const uint8_t*><char*>packet, len(packet), now_us)

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
            # Read as a whole before anything of it is done: a bundle is atomic (OSC 1.0).
            count = check_packet(data, size, self.room, 0)
            if count < 0:
                self.control.bad_packet(source, (<dict>FAULTS)[count])
            elif self._spend(source, count if count > 0 else 1):
                self._bundle(source, data, size, self.plane.core.wall_us)
        elif self._spend(source, 1):
            self._message(source, data, size)
        if back:
            self.control.returned(party)

    cdef bint _spend(self, Source source, int messages) noexcept:
        """Whether the source may send that many now: a bucket that holds what one second allows."""
        cdef uint64_t now_us = self.plane.core.mono_us
        if self.rate <= 0:
            return True
        if source.refilled_us == 0:
            source.tokens = self.rate
        else:
            source.tokens += (now_us - source.refilled_us) * 1e-6 * self.rate
            if source.tokens > self.rate:
                source.tokens = self.rate
        source.refilled_us = now_us
        if source.tokens < messages:
            source.over_rate += messages
            self.over_rate += messages
            self._tell(source)
            return False
        source.tokens -= messages
        return True

    cdef void _tell(self, Source source) noexcept:
        try:
            self.control.too_fast(source)
        except Exception:
            log.exception("a source's excess could not be noted")

    def charge(self, Source source not None, double messages):
        """Let something costly count as so many messages; a debt is paid before the next one passes."""
        if self.rate > 0:
            source.tokens -= messages

    cdef _bundle(self, Source source, const uint8_t* p, size_t size, uint64_t now_us):
        """A checked bundle: now, in order; what is for later is handed up, as a whole."""
        cdef uint64_t due_us = unix_us(get32(p + 8), get32(p + 12))
        cdef size_t at = 16
        cdef uint32_t element
        if due_us > now_us:
            self.control.later(source, due_us, PyBytes_FromStringAndSize(<const char*>p, size))
            return
        while at < size:
            element = get32(p + at)
            at += 4
            if is_bundle(p + at, element):
                self._bundle(source, p + at, element, now_us)
            else:
                self._message(source, p + at, element)
            at += element

    cdef _message(self, Source source, const uint8_t* p, size_t size):
        cdef OscMessage message
        cdef int fault = read_message(p, size, self.room, &message)
        if fault:
            self.control.bad_packet(source, (<dict>FAULTS)[fault])
            return
        source.messages += 1
        self.messages += 1
        if message.is_pattern or self._is_reserved(&message):
            self.control.special(
                source, PyBytes_FromStringAndSize(<const char*>message.address, message.address_size),
                message.is_pattern, message.value_type,
                PyBytes_FromStringAndSize(<const char*>message.value, message.value_size))
            return
        if message.address_size + self.namespace_size > MAX_ADDRESS:
            self.control.bad_packet(source, "an address that is too long")
            return
        memcpy(self.address + self.namespace_size, message.address, message.address_size)
        self._write(source, self.address, message.address_size + self.namespace_size, message.value_type,
                    message.value, message.value_size)

    cdef bint _is_reserved(self, OscMessage* message) noexcept:
        cdef size_t size = len(self.reserved)
        return message.address_size > size and memcmp(message.address, <char*>self.reserved, size) == 0

    def write(self, Source source not None, bytes address not None, int value_type, bytes value not None):
        """Write one param (a full CLASP address, an encoded value) as if the source had named just this one."""
        self._write(source, <const uint8_t*><char*>address, len(address), value_type, <const uint8_t*><char*>value,
                    len(value))

    cdef _write(self, Source source, const uint8_t* address, size_t address_size, int value_type,
                const uint8_t* value, size_t value_size):
        cdef Write write
        cdef uint64_t revision = 0
        cdef int verdict
        if source.party is not None and self.control.heard(
                source, PyBytes_FromStringAndSize(<const char*>address, address_size), value_type,
                PyBytes_FromStringAndSize(<const char*>value, value_size)):
            return
        if source.writer == 0 and not source.dropped:
            # Only now: whoever sends nothing that can be read takes no place among the writers.
            self.plane.register(source, f"osc:{source.name}".encode()[:36])
        memset(&write, 0, sizeof(write))    # no ttl, no expected revision, nothing kept of what MQTT sent
        write.address = address
        write.address_size = address_size
        write.hash = self.plane.table.hash_of(address, address_size)
        write.value = value
        write.value_size = value_size
        write.flags = <uint8_t>value_type
        verdict = self.plane.set(source, &write, &revision)
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
