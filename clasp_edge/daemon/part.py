"""What a part of the process is: something that the daemon starts, reloads, asks for numbers and stops.

Knows no part. The list of them, in the order of their start, is in `daemon.parts`; what the daemon does with it is four
loops in `daemon.main`. Each method does nothing where a part has nothing to do.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import msgspec

from clasp_edge.config.model import Config
from clasp_edge.console.requests import Requests
from clasp_edge.console.sources import StatusSources

if TYPE_CHECKING:
    from clasp_edge.console.why import Finding


class CannotStart(OSError):
    """The process ends with status 2; the text says what is in the way."""


class Guest(msgspec.Struct, frozen=True):
    """Who is connected and has not logged in. `address` as `host:port`, "" for somebody who is away."""

    protocol: str
    name: str
    address: str


class Part:
    """One part. Made once from the configuration, in the order of the list; then, of all parts in that order:

    `start` of each, `ready` of each when every `start` has succeeded, `apply_config` of each after a reload. At the end
    and after a `start` that failed, in the opposite order: `stop` of each, whether it was started or not; then the
    clients' queues are drained; then `close` of each.
    """

    name = ""
    """As /healthz and the log name it."""

    async def start(self) -> list[str]:
        """Open and bind what others can reach; returns the addresses as `scheme://host:port`. Raises CannotStart,
        transports.bind.BindError."""
        return []

    def ready(self) -> None:
        """Every listener is bound: begin to act without being asked."""

    def apply_config(self, config: Config) -> None:
        """Take over what can change while running."""

    def describe(self, sources: StatusSources) -> None:
        """Add the part's sections of the status and their metrics. Called when somebody asks for the first time."""

    def offer(self, requests: Requests) -> None:
        """Add what the part can be asked over the control socket. Called before any `start`."""

    def explain(self, address: bytes) -> Iterable[Finding]:
        """What the part does with an address, and why it may not: for `clasp-edge why`."""
        return ()

    def guests(self) -> Iterator[Guest]:
        """Its clients that have not logged in, on a router that does not ask for it."""
        yield from ()

    @property
    def listening(self) -> bool:
        """Whether what it should listen on is bound; always true for a part that has no listener."""
        return True

    def stop(self) -> None:
        """Accept nobody and begin nothing any more. What was accepted may still be delivered."""

    def close(self) -> None:
        """The last client is gone: give everything back."""
