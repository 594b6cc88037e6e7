"""Changes of this machine's own network: addresses that went, addresses and cables that came (rtnetlink(7)).

Only a hint, to be quicker than a time-out: where the kernel does not tell, nothing is missing but the speed.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import socket
import struct
from collections.abc import Callable

log = logging.getLogger("clasp_edge.uplink")

# linux/rtnetlink.h, linux/if.h
GROUPS = 0x1 | 0x10 | 0x100
"""RTMGRP_LINK, RTMGRP_IPV4_IFADDR, RTMGRP_IPV6_IFADDR."""

NEW_LINK, NEW_ADDRESS, DELETED_ADDRESS = 16, 20, 21
LOWER_UP = 0x10000
"""There is a cable, or a station."""

_HEADER = struct.Struct("=IHHII")
_LINK = struct.Struct("=BxHiII")
READ_BYTES = 65536


class NetworkWatch:
    """Calls `on_gone()` when an address was removed and `on_come()` when an address or a carrier has appeared."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, on_gone: Callable[[], None], on_come: Callable[[], None]
    ) -> None:
        self._loop = loop
        self._on_gone = on_gone
        self._on_come = on_come
        self._socket: socket.socket | None = None
        self._carriers: dict[int, bool] = {}

    def start(self) -> None:
        """Begin to listen; does without where the process may not."""
        sock = None
        try:
            sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK, socket.NETLINK_ROUTE)
            sock.bind((0, GROUPS))
        except OSError as error:
            if sock is not None:
                sock.close()
            log.info("changes of the network are not told to this process (%s)", error.strerror)
            return
        self._socket = sock
        self._loop.add_reader(sock.fileno(), self._read)

    def stop(self) -> None:
        if self._socket is not None:
            self._loop.remove_reader(self._socket.fileno())
            self._socket.close()
            self._socket = None

    def _read(self) -> None:
        gone = come = False
        while self._socket is not None:
            try:
                data = self._socket.recv(READ_BYTES)
            except BlockingIOError:
                break
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    log.warning("changes of the network are no longer told (%s)", error.strerror)
                    self.stop()
                gone = come = True  # some were lost: anything may have happened
                continue
            went, came = self._changes(data)
            gone, come = gone or went, come or came
        if gone:
            self._on_gone()
        if come:
            self._on_come()

    def _changes(self, data: bytes) -> tuple[bool, bool]:
        gone = come = False
        at = 0
        while at + _HEADER.size <= len(data):
            length, kind, *_ = _HEADER.unpack_from(data, at)
            body = at + _HEADER.size
            if kind == DELETED_ADDRESS:
                gone = True
            elif kind == NEW_ADDRESS:
                come = True
            elif kind == NEW_LINK and body + _LINK.size <= len(data):
                _, _, index, flags, _ = _LINK.unpack_from(data, body)
                carrier = bool(flags & LOWER_UP)
                come = come or (carrier and not self._carriers.get(index, False))
                self._carriers[index] = carrier
            at += max((length + 3) & ~3, _HEADER.size)
        return gone, come


def is_ours(address: tuple[str | int, ...]) -> bool:
    """Whether this machine still has the address, a socket's name; True where that cannot be told."""
    family = socket.AF_INET6 if len(address) == 4 else socket.AF_INET
    with contextlib.suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((address[0], 0, *address[2:]))
        except OSError as error:
            return error.errno != errno.EADDRNOTAVAIL
    return True
