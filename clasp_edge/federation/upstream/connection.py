"""One connection of an uplink, from the dial to its end: what is common to all transports.

Bytes in whole CLASP frames, in both directions; counts, liveness, and one sentence on how it ended. Knows nothing of
what is in a frame, and nothing of other connections.
"""

from __future__ import annotations

import asyncio
import enum
import logging
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, Protocol

from clasp_edge.config.endpoint import Endpoint
from clasp_edge.federation.upstream.liveness import Liveness
from clasp_edge.federation.upstream.netlink import is_ours
from clasp_edge.federation.upstream.resolve import Progress
from clasp_edge.federation.upstream.tls import said

log = logging.getLogger("clasp_edge.uplink")

HIGH_WATER_BYTES = 262_144
LOW_WATER_BYTES = 65_536
"""With more than the first waiting in memory a link is not `writable`; below the second `on_drain` is called."""

MAX_BACKLOG_BYTES = 16 * 1_048_576
"""Nobody who looks at `writable` gets here, so it is the bound on a mistake, and ends the link."""

CLOSE_TIMEOUT_S = 1.0
"""How long a polite end may take, what is queued included."""


class State(enum.Enum):
    """Of a link."""

    CONNECTING = "connecting"
    OPEN = "open"
    CLOSING = "closing"
    CLOSED = "closed"


class Owner(Protocol):
    """Who a link reports to: the dialer."""

    def link_opened(self, link: Connection) -> None: ...

    def link_received(self, link: Connection, frames: list[bytes]) -> None: ...

    def link_closed(self, link: Connection, reason: str) -> None: ...


class Connection(ABC):
    """One connection to `endpoint`, the one of that `rank` in the configured list.

    Everything is called on the loop. `remote` and `local` are the addresses of its two ends, empty before it is open.
    """

    def __init__(
        self, owner: Owner, loop: asyncio.AbstractEventLoop, endpoint: Endpoint, rank: int, dead_after_s: float
    ) -> None:
        self.endpoint = endpoint
        self.rank = rank
        self.established = False
        self.bytes_in = 0
        self.bytes_out = 0
        self.rtt_s: float | None = None
        self.writable = True
        self.on_drain: Callable[[], None] | None = None
        self.remote = ""
        self.local = ""
        self.progress = Progress()
        self.successor: Connection | None = None
        self.established_s = 0.0
        self.gone: asyncio.Future[None] = loop.create_future()
        self.settled: asyncio.Future[None] = loop.create_future()
        self._owner = owner
        self._loop = loop
        self._dead_after_s = dead_after_s
        self._state = State.CONNECTING
        self._reason = ""
        self._lost = ""
        self._deaf = False
        self._transport: Any = None
        self._local: tuple[str | int, ...] = ()
        self._timer: asyncio.TimerHandle | None = None
        self._liveness = Liveness(loop, dead_after_s, self._probe, self._died)

    def __repr__(self) -> str:
        return f"<link {self.endpoint} {self._state.value}>"

    # ---- for the session above ----

    @property
    def is_deaf(self) -> bool:
        """Whether nothing is received any more."""
        return self._deaf

    @property
    def is_open(self) -> bool:
        """Whether `send` takes anything."""
        return self._state is State.OPEN

    @property
    def backlog(self) -> int:
        """Bytes that wait in memory because the kernel does not take them yet."""
        return self._transport.get_write_buffer_size() if self._transport is not None else 0

    def send(self, frames: list[bytes]) -> bool:
        """Send whole CLASP frames, in order, without waiting: one system call per turn of the loop for all of them.

        False: the link is not open, nothing was taken. What was taken may still be lost with the link. Whoever has much
        to send stops when the link is not `writable` any more and goes on at `on_drain`.
        """
        if self._state is not State.OPEN:
            return False
        if frames:
            self._write(self._packed(frames))
        return self._state is State.OPEN

    def close(self, reason: str) -> None:
        """End it politely, what was sent still goes out. Nothing more is received; `on_close` follows with `reason`."""
        self._deaf = True
        self.retire(reason)

    def retire(self, reason: str) -> None:
        """As `close`, but what is under way from the other end is still received."""
        if self._state is State.CONNECTING:
            self.abort(reason)
        elif self._state is State.OPEN:
            self._state = State.CLOSING
            self._reason = self._reason or reason
            self._liveness.stop()
            self._start_timer(CLOSE_TIMEOUT_S, self._cut)
            self.resume_reading()
            self._say_goodbye(self._reason)

    def abort(self, reason: str) -> None:
        """End it at once, whatever is queued; `on_close` follows with `reason`."""
        if self._state is State.CONNECTING:
            self.fail(reason)
        elif self._state is not State.CLOSED:
            self._reason = self._reason or reason
            self._deaf = True
            self._state = State.CLOSING
            self._liveness.stop()
            self._cut()

    def pause_reading(self) -> None:
        """Take nothing from the other end for now. Its silence does not count meanwhile."""
        if self._state is State.OPEN and self._transport.is_reading():
            self._transport.pause_reading()
            self._liveness.stop()

    def resume_reading(self) -> None:
        if self._transport is not None and not self._transport.is_closing() and not self._transport.is_reading():
            self._transport.resume_reading()
            if self._state is State.OPEN:
                self._liveness.start()

    @abstractmethod
    def held_back(self) -> None:
        """The other end reads slowly on purpose and shows that it lives: what it has not acknowledged is no sign of the
        opposite any more."""

    # ---- for the dialer ----

    @abstractmethod
    async def open(self) -> None:
        """Connect, up to where frames can be sent. Raises `ConnectError`; then, and when its own deadline has passed,
        the caller calls `fail`."""

    def fail(self, reason: str) -> None:
        """It never got open."""
        if self._transport is not None:
            self._transport.abort()
        self._finish(reason)

    def expect(self, within_s: float) -> None:
        """End the link unless `establish` comes in time."""
        self._start_timer(within_s, lambda: self.abort(f"no CLASP handshake within {within_s:g} s"))

    def establish(self) -> None:
        """The handshake above has succeeded."""
        self.established = True
        self._stop_timer()
        if not self.settled.done():
            self.settled.set_result(None)

    @property
    def has_lost_its_address(self) -> bool:
        """Whether the address it comes from is no longer one of this machine's."""
        return bool(self._local) and not is_ours(self._local)

    # ---- for the kinds of links ----

    @abstractmethod
    def _packed(self, frames: list[bytes]) -> bytes: ...

    @abstractmethod
    def _probe(self) -> None:
        """Ask the other end for a sign of life."""

    @abstractmethod
    def _say_goodbye(self, reason: str) -> None:
        """Announce the end, if there is such a thing, and close once everything is written."""

    def _connected(self, transport: Any) -> None:
        """There is a transport; not yet `open`."""
        self._transport = transport
        transport.set_write_buffer_limits(HIGH_WATER_BYTES, LOW_WATER_BYTES)
        self._local = transport.get_extra_info("sockname") or ()
        self.remote, self.local = (
            f"{name[0]}:{name[1]}" if name else "?" for name in (transport.get_extra_info("peername"), self._local)
        )

    def _opened(self) -> None:
        """Frames can go both ways."""
        if self._state is State.CONNECTING:
            self._state = State.OPEN
            self._liveness.start()
            self.guarded(self._owner.link_opened, self)

    def _write(self, data: bytes) -> None:
        self._transport.write(data)
        self.bytes_out += len(data)
        if (backlog := self.backlog) > MAX_BACKLOG_BYTES:
            self.abort(f"{backlog} bytes wait for the other end to read them")

    def read(self, nbytes: int) -> None:
        """So many bytes have come in."""
        self.bytes_in += nbytes
        self._liveness.heard()

    def received(self, frames: list[bytes]) -> None:
        """Frames, in order."""
        if not self._deaf:
            self.guarded(self._owner.link_received, self, frames)

    def garbage(self, what: str) -> None:
        """What came was no CLASP."""
        self.close(f"not CLASP: {what}")
        if self._state is State.CLOSING:
            self._transport.close()  # whatever it would still say

    def filled(self) -> None:
        """The backlog is high."""
        self.writable = False

    def drained(self) -> None:
        """The backlog is low again."""
        self.writable = True
        if self.on_drain is not None and self._state is State.OPEN:
            self.guarded(self.on_drain)

    def lost(self, error: BaseException | None) -> None:
        """The connection is gone; `error` is what the system said, None for an end of file."""
        how = said(error) if isinstance(error, OSError) else "the other end closed the connection"
        if self._state is State.CONNECTING:
            self._lost = how  # `open`, which knows more, says it
        else:
            self._finish(self._reason or how)

    def guarded(self, call: Callable[..., None], *arguments: Any) -> None:
        """Call it. Who called us is deep inside a transport: an error costs this link, is told, and nothing else."""
        try:
            call(*arguments)
        except Exception as error:
            log.exception("an uplink's connection to %s has failed", self.endpoint)
            self.abort(f"internal error: {error!r}")

    def _died(self, silence_s: float) -> None:
        self.abort(f"silent for {silence_s:.1f} s")

    def _cut(self) -> None:
        self._transport.abort()

    def _finish(self, reason: str) -> None:
        if self._state is State.CLOSED:
            return
        self._state = State.CLOSED
        self._stop_timer()
        self._liveness.stop()
        for future in (self.gone, self.settled):
            if not future.done():
                future.set_result(None)
        self.guarded(self._owner.link_closed, self, reason)

    def _start_timer(self, delay_s: float, action: Callable[[], None]) -> None:
        self._stop_timer()
        self._timer = self._loop.call_later(delay_s, action)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
