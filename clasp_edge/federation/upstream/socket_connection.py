"""A connection of an uplink that begins with a connected stream socket: WebSocket and plain TCP."""

from __future__ import annotations

import socket
from abc import abstractmethod

from clasp_edge.federation.upstream.connection import Connection, State
from clasp_edge.federation.upstream.resolve import ConnectError, connect

USER_TIMEOUT_MARGIN_S = 1.0
"""The kernel ends a connection whose bytes are not acknowledged this long after our own verdict, which says more."""


class SocketConnection(Connection):
    """See `Connection`."""

    async def open(self) -> None:
        timeout_s = self._dead_after_s + USER_TIMEOUT_MARGIN_S
        sock = await connect(self.endpoint, round(timeout_s * 1000), self.progress)
        try:
            await self._take(sock)
        except BaseException:
            if self._transport is None:
                sock.close()
            raise
        if self._state is State.CONNECTING:
            raise ConnectError(f"{self._lost or 'no connection'} while {self.progress.doing}")

    def held_back(self) -> None:
        sock = self._transport.get_extra_info("socket") if self._transport is not None else None
        if sock is not None:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 0)

    @abstractmethod
    async def _take(self, sock: socket.socket) -> None:
        """Go on from a connected socket."""
