"""The QUIC listener as a part of the process. Imported only if `quic.listen` is on; ImportError without qh3."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from qh3._hazmat import UdpSocketState
from qh3.quic.configuration import QuicConfiguration

from clasp_edge.console.sources import COUNTER, GAUGE, Family, StatusSources
from clasp_edge.daemon.certificate import Certificate
from clasp_edge.daemon.part import CannotStart, Part
from clasp_edge.router.router import Router
from clasp_edge.transports.quic.engine import listener_configuration
from clasp_edge.transports.quic.server import QuicServer
from clasp_edge.transports.udp import UdpPort


class QuicPart(Part):
    """CLASP over QUIC, with the certificate of all encrypted listeners. Raises CannotStart for one that QUIC cannot
    use."""

    name = "quic"

    def __init__(self, router: Router, port: UdpPort, certificate: Certificate) -> None:
        self._router = router
        self._port = port
        self._certificate = certificate
        self._loads = certificate.loads
        try:
            self._configuration = listener_configuration(certificate.chain, certificate.key)
        except (OSError, ValueError) as error:
            raise CannotStart(f"tls.certificate {certificate.chain} with {certificate.key}: {error}") from None
        self.server = QuicServer(router, port, self._present)

    def _present(self) -> QuicConfiguration:
        """As the certificate's files are now; they were looked at when they were taken over."""
        if self._loads != self._certificate.loads:
            self._configuration = listener_configuration(self._certificate.chain, self._certificate.key)
            self._loads = self._certificate.loads
        return self._configuration

    async def start(self) -> list[str]:
        address = await self._port.open(self._router.loop)
        self._port.read_in_batches(UdpSocketState)
        self.server.start()
        return [f"quic://{address}"]

    def describe(self, sources: StatusSources) -> None:
        sources.add("quic", self._numbers, _FAMILIES)

    def _numbers(self) -> Mapping[str, Any]:
        return self.server.numbers()

    @property
    def listening(self) -> bool:
        return self._port.listening

    def stop(self) -> None:
        self.server.stop()

    def close(self) -> None:
        self.server.close()
        self._port.close()


_FAMILIES = (
    Family("clasp_edge_quic_connections", GAUGE, "QUIC connections, half-open ones too.", ("connections",)),
    Family("clasp_edge_quic_handshakes_total", COUNTER, "QUIC handshakes that succeeded.", ("handshakes",)),
    Family(
        "clasp_edge_quic_handshakes_failed_total",
        COUNTER,
        "QUIC handshakes that came to nothing.",
        ("handshakes_failed",),
    ),
    Family(
        "clasp_edge_quic_handshakes_deferred_total",
        COUNTER,
        "QUIC handshakes not begun because others took too much time.",
        ("handshakes_deferred",),
    ),
    Family("clasp_edge_quic_retries_total", COUNTER, "Clients asked to prove their address.", ("retries",)),
    Family(
        "clasp_edge_quic_datagrams_dropped_total",
        COUNTER,
        "Datagrams of no connection that begin none.",
        ("datagrams_dropped",),
    ),
)
