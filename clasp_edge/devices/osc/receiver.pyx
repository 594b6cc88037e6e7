"""Datagrams in: many per wake-up, of whoever sends them. A new source is asked of `control`, what they say is
`packets`' business; the sources are bounded, the one silent for longest has to go (`source`).
"""

import logging
import socket as sockets

from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.stddef cimport size_t
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint64_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcmp, memcpy, memset

from clasp_edge.dataplane.core cimport Core
from clasp_edge.dataplane.sockets cimport AF_INET, AF_INET6, MSG_DONTWAIT, iovec, mmsghdr, recvmmsg
from clasp_edge.devices.osc.packets cimport OscPackets
from clasp_edge.devices.osc.source cimport Source

cdef extern from "<time.h>" nogil:
    struct timespec:
        int64_t tv_sec
        long tv_nsec
    int clock_gettime(int clock, timespec* result)
    int CLOCK_THREAD_CPUTIME_ID

log = logging.getLogger("clasp_edge.osc")

cdef enum:
    DATAGRAM_BYTES = 65536      # larger than any; pages that no datagram reaches cost no memory
    BATCH = 64                  # datagrams per system call
    DELIVERIES_AT_ONCE = 512    # of one call's datagrams, if each is for everybody
    ROUNDS = 4                  # calls per wake-up, before others get their turn
    TIMED = 8                   # datagrams between two looks at the clock: each may be a subscription
    LARGE = 512                 # bytes of one after which it is looked at: a row of values, or a bundle
    SLICE_US = 2000             # of CPU for one look at a socket and what devices are told; then it takes fewer
    NAME_BYTES = 28             # sockaddr_in6
    INET_KEY = 8                # of sockaddr_in: family, port, address
    BUSY_US = 1000              # wake-ups closer than this, so many in a row: the socket is looked at by the clock
    BUSY_WAKES = 16
    IDLE_POLLS = 4              # looks that find hardly anything: it is watched again


cdef uint64_t _cpu_us() noexcept:
    """Of this thread: other programs on the machine do not make a call costly."""
    cdef timespec now
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now)
    return <uint64_t>now.tv_sec * 1000000 + now.tv_nsec // 1000


cdef class OscReceiver(OscPackets):
    """Reads the UDP sockets and knows the sources.

    `control` must have, beside what `OscPackets` asks:
    `admit(key, host, port, sock) -> Source | None` for a sender that is not known; `source_gone(source)`;
    `listeners()`, how many may have to be told of one message; `behind()`, whether devices still have to be told what
    came before: less is read at once then; `pause(sock, fd)` when the socket is busy: `poll` is to be called a moment
    later, until it says False.
    """

    cdef bint is_open
    cdef object sock                    # that is being read
    cdef uint8_t* buffers
    cdef mmsghdr* headers
    cdef iovec* vectors
    cdef uint8_t* names
    cdef uint64_t last_wake_us
    cdef int next               # of the datagrams that were read: those before are dealt with
    cdef int got
    cdef int at_once            # datagrams per system call now: fewer where each is told to many devices
    cdef int busy
    cdef int idle
    cdef uint8_t last_name[NAME_BYTES]
    cdef size_t last_size
    cdef readonly uint64_t not_admitted

    def __dealloc__(self):
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
        cdef uint64_t began_us = _cpu_us()
        if self.next < self.got and not self._handle_some(began_us):
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
            if not self._handle_some(began_us):
                break
            if _cpu_us() - began_us > SLICE_US or self.control.behind():
                self.at_once = max(1, self.at_once // 4)
                break
            if self.got < self.at_once:
                break
            self.at_once = min(BATCH, self.at_once * 2)
        return all_got

    cdef bint _handle_some(self, uint64_t began_us):
        """What was read, as a pass, as far as the slice lasts that began then; whether that was all of it. The rest is
        for the next look at any of the sockets."""
        cdef int i
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
            if (self.next % TIMED == 0 or self.headers[i].msg_len > LARGE) and _cpu_us() - began_us > SLICE_US:
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
