"""Clients that connect all the time, to find the moment in which nobody listens."""

from __future__ import annotations

import socket
import threading
import time


class Callers:
    """Connect all the time, to each address by turns, from when it is made until `stop`. A connection is closed at
    once; what counts is whether it was refused. `pause_s` between them: while nobody accepts, only so many can wait."""

    def __init__(self, *addresses: tuple[str, int], pause_s: float = 0.002) -> None:
        self.refused = 0
        self.connected = 0
        self._addresses = addresses
        self._pause_s = pause_s
        self._go_on = True
        self._thread = threading.Thread(target=self._call, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._go_on = False
        self._thread.join(10)

    def _call(self) -> None:
        while self._go_on:
            for address in self._addresses:
                try:
                    socket.create_connection(address, timeout=5).close()
                    self.connected += 1
                except ConnectionRefusedError:
                    self.refused += 1
            time.sleep(self._pause_s)
