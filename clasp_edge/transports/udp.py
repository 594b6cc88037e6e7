"""UDP ports of the process, each with QUIC, discovery or both on one socket (quic.md 6.10).

QUIC is asked first and returns what is not its own: it has what has a long header, and what is of a connection that it
knows. A CLASP frame begins with 0x53, which has the bits of a short header: what QUIC does not know and begins so is
discovery's. What is neither is dropped. Knows no QUIC and no CLASP.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from collections.abc import Callable
from typing import Any, Protocol

from clasp_edge.config.listen import Listen
from clasp_edge.transports.bind import bind, name_of

log = logging.getLogger("clasp_edge.transports")

FRAME_MAGIC = 0x53

Address = tuple[Any, ...]
"""Of a socket: (host, port), with IPv6 (host, port, flow, scope)."""

Datagram = tuple[bytes, Address]
"""And where it comes from."""

READS = 4
BATCH = 32
"""Reads, and datagrams in one without `Batches`, before others get their turn."""

READ_S = 0.001
"""So long at most, but for what one read brings: strangers choose what a datagram costs."""


class Batches(Protocol):
    """Many datagrams by one system call."""

    def recv(self) -> list[Datagram]:
        """Raises BlockingIOError where nothing has come."""

    def send(self, datagrams: list[bytes], address: Address) -> int:
        """How many of the first were sent. An OSError tells it as `datagrams_sent`."""


class UdpPort:
    """One bound port. `quic(datagrams)` returns those that are not its own; `discovery(data, address)` gets a frame
    that QUIC did not want. Either may be None."""

    def __init__(self, listen: Listen) -> None:
        self.listen = listen
        self.quic: Callable[[list[Datagram]], list[Datagram]] | None = None
        self.on_batch_end: Callable[[], None] | None = None
        """Called after as many datagrams as were read at once."""
        self.on_writable: Callable[[], None] | None = None
        """Called when the port takes datagrams again after it was `full`."""
        self.discovery: Callable[[bytes, Address], None] | None = None
        self.dropped = 0
        self.full = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._sock: socket.socket | None = None
        self._batches: Batches | None = None
        self._unsent: list[tuple[list[bytes], Address]] = []
        self._name = ""

    async def open(self, loop: asyncio.AbstractEventLoop) -> str:
        """Bind it, unless it is bound; returns `host:port`. Raises BindError."""
        if self._sock is None:
            self._sock = bind(self.listen, socket.SOCK_DGRAM)
            self._name = name_of(self._sock)
            self._loop = loop
            loop.add_reader(self._sock, self._read)
        return self._name

    def read_in_batches(self, make: Callable[[int], Batches]) -> None:
        """Let what `make` returns for the socket's descriptor read and write many datagrams by one system call."""
        assert self._sock is not None
        self._batches = make(self._sock.fileno())

    @property
    def listening(self) -> bool:
        return self._sock is not None

    @property
    def port(self) -> int:
        """The bound port; 0 before."""
        return int(self._name.rpartition(":")[2] or 0)

    # ---- out ----

    def send(self, data: bytes, address: Address) -> None:
        """Send one datagram; what the system does not take is lost, as datagrams are."""
        if self._sock is not None:
            try:
                self._sock.sendto(data, address)
            except OSError as error:
                log.debug("udp %s: %s", self._name, error)

    def send_many(self, datagrams: list[bytes], address: Address) -> None:
        """Send datagrams in order. What the system does not take yet waits; the port is `full` until it is gone."""
        if self._sock is None:
            return
        if self.full:
            self._unsent.append((datagrams, address))
            return
        rest = self._sent(datagrams, address)
        if rest:
            self._unsent.append((rest, address))
            self.full = True
            assert self._loop is not None
            self._loop.add_writer(self._sock, self._write)

    def _sent(self, datagrams: list[bytes], address: Address) -> list[bytes]:
        """Send them; returns what the system has no room for."""
        assert self._sock is not None
        sent = 0
        if self._batches is not None and len(datagrams) > 1:
            try:
                sent = self._batches.send(datagrams, address)
            except BlockingIOError as error:
                return datagrams[getattr(error, "datagrams_sent", 0) :]
            except OSError as error:
                sent = getattr(error, "datagrams_sent", 0)  # one by one: it may be only one that cannot be sent
            datagrams = datagrams[sent:]
        for index, data in enumerate(datagrams):
            try:
                self._sock.sendto(data, address)
            except BlockingIOError:
                return datagrams[index:]
            except OSError as error:
                # Too large for the path (a probe for its MTU), or nobody is at home there. Others are not concerned.
                log.debug("udp %s: %s", self._name, error)
        return []

    def _write(self) -> None:
        unsent, self._unsent = self._unsent, []
        for index, (datagrams, address) in enumerate(unsent):
            if rest := self._sent(datagrams, address):
                self._unsent = [(rest, address), *unsent[index + 1 :]]
                return
        self.full = False
        assert self._loop is not None
        assert self._sock is not None
        self._loop.remove_writer(self._sock)
        if self.on_writable is not None:
            self.on_writable()

    # ---- in ----

    def _read(self) -> None:
        until_s = time.perf_counter() + READ_S
        for _ in range(READS):
            datagrams = self._datagrams()
            for data, address in datagrams if self.quic is None else self.quic(datagrams):
                self._take(data, address)
            if self.on_batch_end is not None:
                self.on_batch_end()
            if not datagrams or self._sock is None or time.perf_counter() >= until_s:
                return

    def _datagrams(self) -> list[Datagram]:
        assert self._sock is not None
        datagrams: list[Datagram] = []
        try:
            if self._batches is not None:
                return self._batches.recv()
            while len(datagrams) < BATCH:
                datagrams.append(self._sock.recvfrom(65536))
        except (BlockingIOError, InterruptedError):
            pass
        except OSError as error:
            # Of an earlier datagram: nobody is at home there. Others are not concerned.
            log.debug("udp %s: %s", self._name, error)
        return datagrams

    def _take(self, data: bytes, address: Address) -> None:
        if self.discovery is not None and data and data[0] == FRAME_MAGIC:
            self.discovery(data, address)
        else:
            self.dropped += 1

    def close(self) -> None:
        """Give the port back, once neither QUIC nor discovery uses it. May be called more than once."""
        if self._sock is None or self.quic is not None or self.discovery is not None:
            return
        assert self._loop is not None
        self._loop.remove_reader(self._sock)
        self._loop.remove_writer(self._sock)
        self._sock.close()
        self._sock = None
        self._batches = None
        self._unsent.clear()


class UdpPorts:
    """The ports by where they are bound: who asks for the same address gets the same port."""

    def __init__(self) -> None:
        self._ports: dict[Listen, UdpPort] = {}

    def at(self, listen: Listen) -> UdpPort:
        """The port there, not yet open."""
        if listen.port == 0:
            return UdpPort(listen)  # any free one: nobody means another's
        return self._ports.setdefault(listen, UdpPort(listen))
