"""A client of OSCQuery over WebSocket: it listens to addresses one by one, and may send OSC over the same connection.

For the router it is an OSC device: a source with the rights, the rate and the account of one, and a target that is sent
what it listens to, echoes and slowness included. Knows no sockets: `way` is where packets and texts go.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Protocol

import msgspec

from clasp_edge.dataplane.account import Holding
from clasp_edge.devices.osc.complaints import CONTROL
from clasp_edge.wire.address import AddressError, validate_address
from clasp_edge.wire.pattern import Pattern, PatternError

if TYPE_CHECKING:
    from clasp_edge.devices.osc.server import OscServer
    from clasp_edge.devices.osc.source import Source
    from clasp_edge.devices.osc.target import Target

log = logging.getLogger("clasp_edge.osc")

MAX_LISTENED = 2000
"""Addresses of one client; each is a subscription, and on its account."""

COMMANDS_PER_SECOND = 1000.0


class Way(Protocol):
    """The connection."""

    def send(self, packet: bytes) -> bool: ...

    def send_text(self, text: bytes) -> None: ...

    def abort(self) -> None: ...


class QueryClient:
    """One client, from its upgrade to its end. Also the OSC server's `link` to it. `on_end(client)` is called when the
    OSC server or another client takes its place."""

    accepted = True

    def __init__(self, server: OscServer, way: Way, host: str, port: int, base: bytes) -> None:
        self._server = server
        self._way = way
        self._base = base
        self._holding = Holding(server.router.account_of(host))
        self._patterns: dict[bytes, Pattern] = {}
        self._target: Target | None = None
        self._commands = COMMANDS_PER_SECOND
        self._since_s = server.router.clock.monotonic_s()
        self._source: Source | None = None
        if (joined := server.join_by_query(host, port, self)) is not None:
            self._source, self._target = joined
            self._target.charge_to(self._holding)

    @property
    def admitted(self) -> bool:
        """Whether it has a place; where not, the connection is to be closed."""
        return self._source is not None

    # ---- from the connection ----

    def text(self, data: bytes) -> None:
        """A command as JSON. What is not understood is passed over, as the proposal has it."""
        if not self._within_rate():
            log.warning("OSCQuery %s: closing, more than %d commands a second", self, COMMANDS_PER_SECOND)
            self._way.abort()
            return
        try:
            command = msgspec.json.decode(data)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return
        if not isinstance(command, dict) or not isinstance(command.get("DATA"), str):
            return
        path = command["DATA"].encode(errors="replace")
        if command.get("COMMAND") == "LISTEN":
            self._listen(path)
        elif command.get("COMMAND") == "IGNORE":
            self._ignore(path)

    def packet(self, data: bytes) -> None:
        """An OSC packet in a binary message."""
        source = self._source
        if source is None or source.dropped:
            return
        self._server.active(source)
        core = self._server.router.core
        core.begin_pass()
        try:
            self._server.intake.packet(source, data)
        finally:
            core.end_pass()

    def lost(self) -> None:
        """The connection is gone."""
        source, self._source = self._source, None
        target, self._target = self._target, None
        if target is not None:
            target.close()
            self._server.queries.discard(target)
            for pattern in self._patterns.values():
                self._server.router.release_subscription(self._holding, pattern)
            self._patterns.clear()
            self._holding.close()
        self._server.router.places.give_back(self)
        if source is not None:
            self._server.disconnected(source)

    def tell(self, command: str, paths: list[bytes]) -> None:
        """Paths have come or gone."""
        scopes = None if self._target is None else self._target.scopes
        for path in paths:
            if scopes is None or path == b"/" or scopes.allows("read", self._base + path):
                self._way.send_text(msgspec.json.encode({"COMMAND": command, "DATA": path.decode("utf-8", "replace")}))

    def __repr__(self) -> str:
        return self._target.name if self._target is not None else "gone"

    def _listen(self, path: bytes) -> None:
        target = self._target
        if target is None or path in self._patterns or not path.startswith(b"/"):
            return
        address = self._base + path
        try:
            validate_address(address)
            pattern = Pattern(address)
        except (AddressError, PatternError):
            return
        full: str | None = f"at most {MAX_LISTENED} addresses for one client"
        if len(self._patterns) < MAX_LISTENED:
            full = self._server.router.charge_subscription(self._holding, pattern)
        if full is not None:
            if self._source is not None:
                self._server.complaints.note(self._source, CONTROL, f"LISTEN {path.decode('utf-8', 'replace')}: {full}")
            return
        self._patterns[path] = pattern
        target.subscribe(path.decode("utf-8", "replace"), pattern)
        target.resync(pattern)

    def _ignore(self, path: bytes) -> None:
        pattern = self._patterns.pop(path, None)
        if pattern is not None and self._target is not None:
            self._target.unsubscribe(path.decode("utf-8", "replace"))
            self._server.router.release_subscription(self._holding, pattern)

    def _within_rate(self) -> bool:
        now_s = self._server.router.clock.monotonic_s()
        self._commands = min(2 * COMMANDS_PER_SECOND, self._commands + (now_s - self._since_s) * COMMANDS_PER_SECOND)
        self._since_s = now_s
        self._commands -= 1.0
        return self._commands >= 0.0

    # ---- Link, places.Holder ----

    @property
    def heard_us(self) -> int:
        return self._source.heard_us if self._source is not None else 0

    def give_up_place(self, reason: str) -> None:
        log.info("OSCQuery %s: %s", self, reason)
        self._way.abort()

    def send(self, packet: bytes) -> bool:
        return self._way.send(packet)

    def abort(self) -> None:
        self._way.abort()
