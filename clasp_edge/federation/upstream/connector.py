"""The connection of an uplink: one link kept up for ever, to the best router of a list that answers.

Knows CLASP only as frames. The session above does the handshake on a link that has opened, says `established`, and gets
a new link whenever the old one has gone. Where the link is to a router that is not the first of the list, the better
ones are tried now and then; a new link is then opened and established beside the old one before that is closed.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Protocol

from clasp_edge.backoff import STABLE_S, Backoff
from clasp_edge.clock import Clock
from clasp_edge.config.endpoint import DISCOVER, Endpoint
from clasp_edge.federation.upstream.connection import Connection
from clasp_edge.federation.upstream.netlink import NetworkWatch
from clasp_edge.federation.upstream.resolve import ConnectError
from clasp_edge.federation.upstream.tcp_connection import TcpConnection
from clasp_edge.federation.upstream.tls import TlsContexts, TlsOptions
from clasp_edge.federation.upstream.ws_connection import WsConnection

log = logging.getLogger("clasp_edge.uplink")

RETRY_CAP_S = 5.0
"""A show does not wait half a minute for a hub that was switched off and on; a dozen boxes, or two hundred, that knock
every few seconds are nothing to one that is well."""

SETTLE_S = 0.2
"""After a change of the network before the next try: an interface that comes up changes several times."""


class Receiver(Protocol):
    """The session above. Every call is on the loop and must not block."""

    def on_open(self, link: Connection) -> None:
        """Frames can be sent. While another link is established, this one is meant to take its place."""

    def on_frames(self, link: Connection, frames: list[bytes]) -> None:
        """Whole CLASP frames, in order, as many as one read brought."""

    def on_not_found(self, reason: str) -> None:
        """No router has answered that could be the hub."""

    def on_close(self, link: Connection, reason: str) -> None:
        """The link is gone; so is one that never opened. `reason` names the endpoint and what happened."""


@dataclass(slots=True, frozen=True)
class DialOptions:
    """What a dialer is told. Endpoints in the order of preference, at least one; durations in seconds."""

    name: str
    endpoints: Sequence[Endpoint]
    tls: TlsOptions = field(default_factory=TlsOptions)
    dead_after_s: float = 3.0
    connect_timeout_s: float = 5.0
    handshake_timeout_s: float = 5.0
    own_id: str = ""
    """Of this router, which is not its own hub where one is to be found."""


@dataclass(slots=True)
class DialStatus:
    """What is known of an uplink's connection. Times are Unix times in microseconds; 0 for never."""

    state: str = "starting"
    """`starting`, `connecting`, `handshake`, `up`, `waiting` (until the next try) or `stopped`."""
    endpoint: str = ""
    since_us: int = 0
    """Of the state."""
    connects: int = 0
    """Links that were established."""
    failures: int = 0
    """Links that ended otherwise than by us, or never came about."""
    last_error: str = ""
    last_error_us: int = 0
    retry_in_s: float = 0.0
    """As drawn, when `waiting`."""
    bytes_in: int = 0
    bytes_out: int = 0
    """Of all links that are over."""


class Connector:
    """`start` once, `stop` once. `link` is the established link, None while there is none."""

    def __init__(
        self,
        options: DialOptions,
        receiver: Receiver,
        loop: asyncio.AbstractEventLoop,
        clock: Clock,
        random: Random,
    ) -> None:
        if not options.endpoints:
            raise ValueError("an uplink needs at least one endpoint")
        self.options = options
        self.link: Connection | None = None
        self.status = DialStatus()
        self._receiver = receiver
        self._loop = loop
        self._clock = clock
        self._backoff = Backoff(random, RETRY_CAP_S)
        self._better_backoff = Backoff(random)
        self._contexts = TlsContexts(options.tls, clock)
        self._links: set[Connection] = set()
        self._latest: Connection | None = None
        self._task: asyncio.Task[None] | None = None
        self._improving: asyncio.Task[None] | None = None
        self._better_lasted_s = 0.0
        self._nudge = asyncio.Event()
        self._network = NetworkWatch(loop, self._addresses_gone, self._network_came)
        self._said = ""

    # ---- for the session above ----

    def start(self) -> None:
        """Begin to connect."""
        self._network.start()
        self._task = self._loop.create_task(self._run())

    def stop(self, reason: str = "stopped") -> None:
        """Close what is open, politely, and connect no more. `on_close` follows within a second or so."""
        self._network.stop()
        for task in (self._task, self._improving):
            if task is not None:
                task.cancel()
        self._task = self._improving = None
        for link in list(self._links):
            link.close(reason)
        self._enter("stopped")

    def established(self, link: Connection) -> None:
        """The session's handshake on this link has succeeded: it is the one from now on, and its predecessor goes."""
        if not link.is_open or link.established:
            return
        link.establish()
        link.established_s = self._clock.monotonic_s()
        old, self.link = self.link, link
        self.status.connects += 1
        self._enter("up", link.endpoint)
        self._said = ""
        log.info("uplink %s: connected to %s (%s)", self.options.name, link.endpoint, link.remote)
        if self._latest is not None:
            self._latest.successor = link
        self._latest = link
        if old is not None:
            old.retire(f"handed over to {link.endpoint}")

    def retry_now(self) -> None:
        """Do not wait for the next try."""
        self._nudge.set()

    # ---- links report ----

    def link_opened(self, link: Connection) -> None:
        link.expect(self.options.handshake_timeout_s)
        if self.link is None:
            self._enter("handshake", link.endpoint)
        self._receiver.on_open(link)

    def link_received(self, link: Connection, frames: list[bytes]) -> None:
        self._receiver.on_frames(link, frames)

    def link_closed(self, link: Connection, reason: str) -> None:
        self._links.discard(link)
        self.status.bytes_in += link.bytes_in
        self.status.bytes_out += link.bytes_out
        sentence = f"{link.endpoint}: {reason}"
        if link.successor is not None:
            log.info("uplink %s: %s", self.options.name, sentence)
        elif self.status.state != "stopped":
            self._fail(sentence)
        if self.link is link:
            self.link = None
        self._receiver.on_close(link, sentence)

    # ---- the loop ----

    async def _run(self) -> None:
        rank = 0
        while True:
            lasted_s = 0.0
            try:
                link = await self._open(rank, "connecting")
                if link is not None:
                    lasted_s, rank = await self._stay(link)
            except Exception:
                # Whatever it was: an uplink never gives up.
                log.exception("uplink %s: internal error", self.options.name)
            if lasted_s < STABLE_S and rank + 1 < len(self.options.endpoints):
                rank += 1
                continue
            rank = 0
            delay_s = self._backoff.after(lasted_s)
            self._enter("waiting")
            self.status.retry_in_s = delay_s
            await self._wait(delay_s)

    async def _open(self, rank: int, state: str = "") -> Connection | None:
        """Try one endpoint. The link, open or already gone again, or None after `on_close`."""
        # What changes from now on may be just what this attempt lacks.
        self._nudge.clear()
        endpoint = self.options.endpoints[rank]
        if state:
            self._enter(state, endpoint)
        if endpoint.scheme == DISCOVER:
            found = await self._find(endpoint, state)
            if found is None:
                return None
            endpoint = found
        link = self._new_link(endpoint, rank)
        self._links.add(link)
        try:
            async with asyncio.timeout(self.options.connect_timeout_s):
                await link.open()
        except TimeoutError:
            link.fail(f"no answer within {self.options.connect_timeout_s:g} s, {link.progress.doing}")
        except ConnectError as error:
            link.fail(str(error))
        except asyncio.CancelledError:
            link.fail("broken off")
            raise
        except Exception as error:
            log.exception("uplink %s: connecting to %s has failed", self.options.name, endpoint)
            link.fail(f"internal error: {error!r}")
        return link if link in self._links else None

    async def _find(self, wanted: Endpoint, state: str) -> Endpoint | None:
        """The hub that answers in the local network; None where there is none, which is said once."""
        from clasp_edge.discovery.uplink import NotFound, find_hub

        try:
            found = await find_hub(wanted.host, self.options.tls.pin, self.options.own_id)
        except NotFound as error:
            self._fail(f"{wanted}: {error}")
            self._receiver.on_not_found(self.status.last_error)
            return None
        if state:
            self._enter(state, found)
        return found

    def _fail(self, sentence: str) -> None:
        self.status.failures += 1
        self.status.last_error = sentence
        self.status.last_error_us = self._clock.wall_us()
        # A router that is down all night gets one line, not one for each try.
        level = logging.DEBUG if self._said == sentence else logging.WARNING
        log.log(level, "uplink %s: %s", self.options.name, sentence)
        self._said = sentence

    def _new_link(self, endpoint: Endpoint, rank: int) -> Connection:
        dead_after_s = self.options.dead_after_s
        if endpoint.scheme == "tcp":
            return TcpConnection(self, self._loop, endpoint, rank, dead_after_s)
        if endpoint.scheme == "quic":
            # Only here: the engine takes memory that others do not need.
            from clasp_edge.federation.upstream.quic_connection import QuicConnectionLink

            return QuicConnectionLink(self, self._loop, endpoint, rank, dead_after_s, self._contexts.options)
        return WsConnection(self, self._loop, endpoint, rank, dead_after_s, self._contexts)

    async def _stay(self, link: Connection) -> tuple[float, int]:
        """Until the link and its successors are gone. How many seconds the last one was established, and its rank."""
        while True:
            await asyncio.wait((link.settled, link.gone), return_when=asyncio.FIRST_COMPLETED)
            if link.established and link.rank:
                self._improving = self._loop.create_task(self._improve(link))
            await link.gone
            lasted_s = self._clock.monotonic_s() - link.established_s if link.established else 0.0
            if self._improving is not None:
                await self._settle(self._improving)
                self._improving = None
            if link.rank == 0:
                self._better_lasted_s = lasted_s
            if link.successor is None:
                return lasted_s, link.rank
            link = link.successor

    async def _settle(self, improving: asyncio.Task[None]) -> None:
        """The old link is gone: what it was to be replaced by may be in the middle of its handshake, and gets on."""
        candidates = [link for link in self._links if link.is_open and not link.established]
        if candidates:
            await asyncio.wait([link.settled for link in candidates], return_when=asyncio.FIRST_COMPLETED)
        improving.cancel()
        await asyncio.wait((improving,))

    async def _improve(self, link: Connection) -> None:
        """Look for a better endpoint than the link's until one is established or the link is gone."""
        while True:
            lasted_s, self._better_lasted_s = self._better_lasted_s, 0.0
            await self._wait(self._better_backoff.after(lasted_s))
            for rank in range(link.rank):
                candidate = await self._open(rank)
                if candidate is None:
                    continue
                await candidate.settled
                if candidate.established:
                    return

    async def _wait(self, delay_s: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(delay_s):
                await self._nudge.wait()
                await asyncio.sleep(SETTLE_S)

    def _enter(self, state: str, endpoint: Endpoint | None = None) -> None:
        status = self.status
        if status.state != state or status.endpoint != str(endpoint or ""):
            status.state, status.endpoint, status.since_us = state, str(endpoint or ""), self._clock.wall_us()
            status.retry_in_s = 0.0

    # ---- the network ----

    def _addresses_gone(self) -> None:
        for link in list(self._links):
            if link.has_lost_its_address:
                link.abort(f"the address {link.local} it came from is gone")

    def _network_came(self) -> None:
        self._nudge.set()
        self._addresses_gone()  # a link that can go on from another address has waited for one
