"""A device that speaks OSC, made of a UDP socket and python-osc: an implementation that is not ours.

Knows how to say and hear; what must be heard is the tests' business. Every wait is bounded.
"""

from __future__ import annotations

import socket
import time
from types import TracebackType
from typing import Any, Self

from pythonosc.osc_bundle_builder import OscBundleBuilder
from pythonosc.osc_message import OscMessage
from pythonosc.osc_message_builder import OscMessageBuilder

WAIT_S = 30.0
QUIET_S = 0.3
"""How long nothing must come for "nothing comes": many times what a delivery takes here."""

Heard = tuple[str, list[Any]]


def packet(address: str, *arguments: Any, tags: str | None = None) -> bytes:
    """A message as python-osc writes it; `tags` gives the types where Python's do not tell."""
    builder = OscMessageBuilder(address)
    for index, argument in enumerate(arguments):
        builder.add_arg(argument, tags[index] if tags else None)
    return bytes(builder.build().dgram)


def bundle(at: float, *packets: bytes) -> bytes:
    """A bundle for Unix time `at` (0: immediately)."""
    builder = OscBundleBuilder(at or 0)
    whole = bytes(builder.build().dgram)
    if not at:
        whole = whole[:8] + b"\0\0\0\0\0\0\0\x01"
    for part in packets:
        whole += len(part).to_bytes(4, "big") + part
    return whole


class Device:
    """A socket on this machine. `router` is where it sends to."""

    def __init__(self, router: tuple[str, int], host: str = "127.0.0.1") -> None:
        self.router = router
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind((host, 0))
        self.port: int = self.socket.getsockname()[1]

    def say(self, address: str, *arguments: Any, tags: str | None = None) -> None:
        self.send(packet(address, *arguments, tags=tags))

    def renew(self, pattern: str, *more: Any) -> None:
        """After `/clasp/subscribe`: show that we are there, so that more than three times our own bytes may come."""
        self.say("/clasp/renew", pattern, *more)
        while self.hear()[0] != "/clasp/subscribed":
            pass

    def send(self, data: bytes) -> None:
        self.socket.sendto(data, self.router)

    def hear(self, timeout_s: float = WAIT_S) -> Heard:
        """The next message: its address and its arguments."""
        self.socket.settimeout(timeout_s)
        message = OscMessage(self.socket.recv(65536))
        return str(message.address), list(message.params)

    def hear_all(self, count: int) -> list[Heard]:
        return [self.hear() for _ in range(count)]

    def hear_until(self, wanted: Heard) -> list[Heard]:
        """Everything up to and including this message."""
        heard = []
        end_s = time.monotonic() + WAIT_S
        while not heard or heard[-1] != wanted:
            heard.append(self.hear(max(0.01, end_s - time.monotonic())))
        return heard

    def hears_nothing(self) -> bool:
        try:
            self.hear(QUIET_S)
        except TimeoutError:
            return True
        return False

    def close(self) -> None:
        self.socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
