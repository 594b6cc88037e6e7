"""A link over QUIC between two clasp-edges: frames one after another on one stream (quic.md 3, 6.7).

To the reference there is none: it takes what one read brings for one message, and loses what came with it. Which of the
two a hub is, the ALPN protocol tells that it has chosen.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import ssl
import time
from pathlib import Path
from typing import TYPE_CHECKING

from qh3.quic.configuration import QuicConfiguration
from qh3.tls import load_pem_x509_certificates

from clasp_edge.federation.upstream.connection import Connection, Owner, State
from clasp_edge.federation.upstream.quic_transport import QuicTransport
from clasp_edge.federation.upstream.resolve import ConnectError, resolve
from clasp_edge.federation.upstream.tls import TlsOptions, said
from clasp_edge.lookup import Address
from clasp_edge.picows_core import beneath
from clasp_edge.wire.extensions import ALPN, ALPN_EDGE

if TYPE_CHECKING:
    from clasp_edge.config.endpoint import Endpoint
    from clasp_edge.federation.upstream import framing
else:
    framing = beneath("clasp_edge.federation.upstream.framing")

IDLE_TIMEOUT_S = 30.0
STREAM_WINDOW = 262_144
CONNECTION_WINDOW = 327_680
"""Of what the hub may have sent ahead: a snapshot over a round trip of 200 ms comes with 1.3 MB/s."""

_PINGS = 1 << 30


class QuicConnectionLink(Connection):
    """See `Connection`."""

    def __init__(
        self,
        owner: Owner,
        loop: asyncio.AbstractEventLoop,
        endpoint: Endpoint,
        rank: int,
        dead_after_s: float,
        options: TlsOptions,
    ) -> None:
        super().__init__(owner, loop, endpoint, rank, dead_after_s)
        self._options = options
        self._buffer = bytearray()
        self._over = False
        self._opening: asyncio.Future[str] | None = None
        self._pings = 0
        self._pinged_at_s = 0.0

    async def open(self) -> None:
        self.progress.doing = f"looking up {self.endpoint.host}"
        failures: list[str] = []
        async for address in resolve(self.endpoint):
            self.progress.doing = f"agreeing on QUIC with {address[1][0]}"
            try:
                await self._handshake(address)
            except OSError as error:
                failures.append(f"{said(error)} ({address[1][0]})")
                continue
            self._opened()
            return
        raise ConnectError("; ".join(dict.fromkeys(failures)))

    async def _handshake(self, address: Address) -> None:
        family, where = address
        transport = QuicTransport(self, self._loop, family, where, self._configuration())
        self._opening = self._loop.create_future()
        try:
            transport.connect()
            self._connected(transport)
            alpn = await self._opening
        except BaseException:
            self._transport = None
            self._opening = None
            transport.abort()
            raise
        self._opening = None
        if alpn != ALPN_EDGE:
            self._transport = None
            transport.abort()
            raise ConnectError(
                f"the hub is no clasp-edge (it chose {alpn}): its QUIC loses messages, use ws:// or wss:// to it"
            )

    def _configuration(self) -> QuicConfiguration:
        options = self._options
        configuration = QuicConfiguration(
            is_client=True,
            alpn_protocols=[ALPN_EDGE, ALPN],
            idle_timeout=IDLE_TIMEOUT_S,
            max_stream_data=STREAM_WINDOW,
            max_data=CONNECTION_WINDOW,
            server_name=options.server_name or self.endpoint.host.partition("%")[0],
        )
        pin = options.pin
        if not pin and options.ca:
            try:
                pin = _own_certificate(Path(options.ca))
                configuration.cafile = options.ca
            except OSError as error:
                raise ConnectError(f"tls_ca {options.ca}: {said(error)}") from None
        if pin:
            configuration.assert_fingerprint = pin.partition(":")[2]
            configuration.verify_mode = ssl.CERT_NONE  # the pin decides; names, dates and authorities do not count
        return configuration

    # ---- from the transport ----

    def handshaken(self, alpn: str) -> None:
        if self._opening is not None and not self._opening.done():
            self._opening.set_result(alpn)

    def stream_data(self, data: bytes) -> None:
        self.read(len(data))
        if self._over:
            return
        self._buffer += data
        frames: list[bytes] = []
        try:
            used = framing.cut_frames(self._buffer, frames)
        except framing.NoFrame as error:
            self._over = True
            self.received(frames)  # what came before is good
            self.garbage(str(error))
            return
        del self._buffer[:used]
        if frames:
            self.received(frames)

    def ping_answered(self, number: int) -> None:
        self.read(0)
        if number == self._pings:
            self.rtt_s = time.monotonic() - self._pinged_at_s

    def closed_by_peer(self, reason: str) -> None:
        if self._state is not State.CONNECTING:
            self._reason = self._reason or f"closed by the other end: {_shown(reason)}"

    def lost(self, error: BaseException | None) -> None:
        if self._opening is not None:
            if not self._opening.done():
                self._opening.set_exception(error or OSError("closed"))
            return
        super().lost(error)

    # ---- Connection ----

    @property
    def has_lost_its_address(self) -> bool:
        """An address that is gone is no end here: the connection goes on from another, as soon as there is one."""
        if super().has_lost_its_address and self._transport is not None and self._transport.move():
            self._local = self._transport.get_extra_info("sockname") or ()
            self.local = f"{self._local[0]}:{self._local[1]}" if self._local else "?"
        return False

    def held_back(self) -> None:
        """No timeout of the kernel's counts here."""

    def _packed(self, frames: list[bytes]) -> bytes:
        return b"".join(frames)

    def _probe(self) -> None:
        self._pings = self._pings % _PINGS + 1
        self._pinged_at_s = time.monotonic()
        self._transport.ping(self._pings)
        # A network that came without telling (another default route): then the socket has no way any more.
        with contextlib.suppress(OSError):
            if self.has_lost_its_address:
                return

    def _say_goodbye(self, reason: str) -> None:
        self._transport.write_eof()


def _own_certificate(path: Path) -> str:
    """The pin of the one certificate in the file, where that is a router's own and no authority's; else ""."""
    text = re.sub(rb"\r\n", b"\n", path.read_bytes())
    found = load_pem_x509_certificates(text if text.endswith(b"\n") else text + b"\n")
    if len(found) != 1 or found[0].is_ca:
        return ""
    from hashlib import sha256

    return f"sha256:{sha256(found[0].public_bytes()).hexdigest()}"


def _shown(text: str) -> str:
    return "".join(character if character.isprintable() else "?" for character in text[:200])
