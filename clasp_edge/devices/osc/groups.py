"""Multicast groups that are heard: joined at every interface there is, and again when one has come up later.

A box is switched on before its network is: what cannot be joined at the start is joined when it can be.
"""

from __future__ import annotations

import logging
import socket
from asyncio import AbstractEventLoop, TimerHandle
from collections.abc import Callable, Sequence

from clasp_edge.devices.osc.links import join

log = logging.getLogger("clasp_edge.osc")

LOOK_PERIOD_S = 10.0

Interfaces = Callable[[], Sequence[tuple[int, str]]]


class Groups:
    """Of all sockets of a server. `interfaces` gives the numbers and names of those there are."""

    def __init__(
        self,
        loop: AbstractEventLoop,
        sockets: Sequence[socket.socket],
        groups: Sequence[str],
        interfaces: Interfaces = socket.if_nameindex,
        join_at: Callable[[socket.socket, str, int], None] = join,
    ) -> None:
        self._loop = loop
        self._sockets = sockets
        self._groups = groups
        self._interfaces = interfaces
        self._join = join_at
        self._joined: set[tuple[int, str, int]] = set()
        self._missing: set[str] = set()
        self._timer: TimerHandle | None = None

    def start(self) -> None:
        """Join, from now on whatever can be joined."""
        if self._groups:
            self._look()

    def close(self) -> None:
        """Join nothing any more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        self._timer = self._loop.call_later(LOOK_PERIOD_S, self._look)
        try:
            present = self._interfaces()
        except OSError:
            present = ()
        # One that is gone has taken its memberships along, and may come back under the same number.
        self._joined = {one for one in self._joined if any(one[2] == number for number, _ in present)}
        for group in self._groups:
            reason = "there is no network interface"
            joined = False
            for at, sock in enumerate(self._sockets):
                for number, _ in present:
                    place = (at, group, number)
                    if place not in self._joined:
                        try:
                            self._join(sock, group, number)
                        except OSError as error:
                            reason = error.strerror or str(error)
                            continue
                        self._joined.add(place)
                    joined = True
            if joined and group in self._missing:
                self._missing.discard(group)
                log.warning("osc.groups: %s is joined now", group)
            elif not joined and group not in self._missing:
                self._missing.add(group)
                log.warning("osc.groups: %s cannot be joined: %s; it is tried again", group, reason)
