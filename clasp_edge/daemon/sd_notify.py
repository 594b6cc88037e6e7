"""Speaks to the service manager's notification socket (sd_notify(3)), without any library.

Knows how a message gets there, not when one is due. Imported only where a service manager has asked for it.
"""

from __future__ import annotations

import contextlib
import logging
import os
import select
import socket
from array import array
from collections.abc import Sequence
from typing import Self

log = logging.getLogger("clasp_edge.service")

SEND_TIMEOUT_S = 0.5
"""A manager that reads nothing must not hold up the router for long."""


class Notifier:
    """`address` is the path of the datagram socket, or `@name` for one in the abstract namespace."""

    def __init__(self, address: str) -> None:
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        self._failing = False

    @classmethod
    def from_environment(cls) -> Self | None:
        """The notifier that `$NOTIFY_SOCKET` asks for, or None. Takes the variable away: children have no business
        with the socket."""
        address = os.environ.pop("NOTIFY_SOCKET", "")
        if not address.startswith(("/", "@")) or len(address) < 2:
            return None
        return cls(address)

    def send(self, *assignments: str, fds: Sequence[int] = (), patiently: bool = True) -> bool:
        """Send `NAME=VALUE` lines as one message, with file descriptors if there are any. False when it could not be
        sent (`patiently`: within SEND_TIMEOUT_S), which is logged the first time: a router without its manager is still
        a router."""
        self._socket.settimeout(SEND_TIMEOUT_S if patiently else 0)
        try:
            # socket.send_fds knows no address.
            rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array("i", fds))] if fds else []
            self._socket.sendmsg(["\n".join(assignments).encode()], rights, 0, self._address)
        except OSError as error:
            if not self._failing:
                log.warning("the service manager cannot be told %s: %s", assignments[0], error)
            self._failing = True
            return False
        self._failing = False
        return True

    def barrier(self, timeout_s: float) -> bool:
        """Wait until everything sent before has been dealt with (`BARRIER=1`); False when that takes too long."""
        ours, theirs = os.pipe()
        try:
            sent = self.send("BARRIER=1", fds=[theirs])
            os.close(theirs)
            theirs = -1
            if not sent:
                return False
            # The manager closes its end when it comes to this message.
            poll = select.poll()
            poll.register(ours, 0)
            return bool(poll.poll(timeout_s * 1000))
        finally:
            os.close(ours)
            if theirs >= 0:
                os.close(theirs)

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._socket.close()
