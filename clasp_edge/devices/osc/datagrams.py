"""The UDP sockets that devices send to: when they are looked at, and what the kernel keeps of a burst.

What a datagram says is the receiver's business; binding and closing the sockets is their owner's.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Sequence

from clasp_edge.devices.osc.links import allow_groups
from clasp_edge.devices.osc.receiver import OscReceiver

RECEIVE_BUFFER_BYTES = 4 * 1024 * 1024
"""Asked of the kernel for each socket: what arrives while the router is busy with something else."""

POLL_S = 0.001
"""A busy socket is looked at so often, instead of at every datagram."""


class Datagrams:
    """`sockets` are bound, and read by the receiver's `on_readable` and `poll`. Start and stop once."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, sockets: Sequence[socket.socket], receiver: OscReceiver
    ) -> None:
        self._loop = loop
        self._sockets = sockets
        self._receiver = receiver
        self._polls: dict[int, asyncio.TimerHandle] = {}

    def start(self) -> None:
        """Look at what comes from now on."""
        for sock in self._sockets:
            sock.setblocking(False)
            allow_groups(sock)
            _enlarge(sock)
            self._watch(sock, sock.fileno())

    def stop(self) -> None:
        """Look at nothing any more."""
        for timer in self._polls.values():
            timer.cancel()
        self._polls.clear()
        for sock in self._sockets:
            self._loop.remove_reader(sock.fileno())

    def pause(self, sock: socket.socket, fd: int) -> None:
        """Look at a busy socket every `POLL_S`, until a look finds nothing."""
        self._loop.remove_reader(fd)
        self._polls[fd] = self._loop.call_later(POLL_S, self._poll, sock, fd)

    def _watch(self, sock: socket.socket, fd: int) -> None:
        self._loop.add_reader(fd, self._receiver.on_readable, sock, fd)

    def _poll(self, sock: socket.socket, fd: int) -> None:
        if self._receiver.poll(sock, fd):
            self._polls[fd] = self._loop.call_later(POLL_S, self._poll, sock, fd)
        else:
            del self._polls[fd]
            self._watch(sock, fd)


def _enlarge(sock: socket.socket) -> None:
    """Ask for a large receive buffer; above the system's limit only root gets it, others get the limit."""
    try:
        sock.setsockopt(socket.SOL_SOCKET, getattr(socket, "SO_RCVBUFFORCE", 33), RECEIVE_BUFFER_BYTES)
    except PermissionError:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)
