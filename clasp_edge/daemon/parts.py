"""The parts of the process, as the configuration asks for them, in the order in which they start.

A new room gets its part here. What is optional is imported only where it is on, so that it costs no memory elsewhere.
"""

from __future__ import annotations

from clasp_edge.config.model import Config
from clasp_edge.console.health import Health
from clasp_edge.daemon.access import AccessPart
from clasp_edge.daemon.bridges import BridgesPart
from clasp_edge.daemon.console import ConsolePart
from clasp_edge.daemon.federation import FederationPart
from clasp_edge.daemon.listeners import TcpPart, WebSocketPart
from clasp_edge.daemon.notices import notices
from clasp_edge.daemon.part import CannotStart, Part
from clasp_edge.daemon.rules import RulesPart
from clasp_edge.router.router import Router
from clasp_edge.router.session_monitor import SessionMonitor
from clasp_edge.transports.udp import UdpPorts


class MonitorPart(Part):
    """The once-a-second look at every session."""

    name = "monitor"

    def __init__(self, monitor: SessionMonitor) -> None:
        self._monitor = monitor

    def ready(self) -> None:
        self._monitor.start()

    def stop(self) -> None:
        self._monitor.stop()


def speaks_tls(config: Config) -> bool:
    """Whether some listener is encrypted."""
    return config.quic.listen is not None or any(
        part.tls_listen is not None for part in (config.websocket, config.tcp, config.mqtt)
    )


class Parts:
    """All parts, in `all`; those that others have to do with by name.

    The journal is opened here: what it has stored is there before anybody connects. Raises CannotStart.
    """

    def __init__(self, router: Router, config: Config, access: AccessPart) -> None:
        self.access = access
        self.all: list[Part] = [access]
        access.parts = self.all
        self.udp = UdpPorts()
        self.journal_text = "off"
        journal = None
        if config.journal.mode != "off":
            from clasp_edge.daemon.journal import keep_journal

            kept, self.journal_text = keep_journal(router, config)
            self.all.append(kept)
            journal = kept.log
        board = notices(router.plane)
        if board is not None:
            self.all.append(board)
        monitor = SessionMonitor(router)
        self.federation = FederationPart(router, config, journal)
        self.all += [MonitorPart(monitor), self.federation, BridgesPart(router, config, journal)]
        websocket = None
        if config.websocket.listen is not None or config.websocket.tls_listen is not None:
            websocket = WebSocketPart(router, config.websocket.listen)
            self.all.append(websocket)
        tcp = None
        if config.tcp.listen is not None or config.tcp.tls_listen is not None:
            tcp = TcpPart(router, config.tcp.listen)
            self.all.append(tcp)
        mqtt = None
        if config.mqtt.listen is not None or config.mqtt.tls_listen is not None:
            from clasp_edge.daemon.mqtt import MqttPart

            mqtt = MqttPart(router, config.mqtt.listen, journal)
            self.all.append(mqtt)
            if websocket is not None:
                websocket.server.mqtt = mqtt.server
        if speaks_tls(config):
            from clasp_edge.daemon.tls import Encrypted, TlsPart

            servers = [
                Encrypted(scheme, listen, part.serve)
                for scheme, listen, part in (
                    ("wss", config.websocket.tls_listen, websocket),
                    ("tcps", config.tcp.tls_listen, tcp),
                    ("mqtts", config.mqtt.tls_listen, mqtt),
                )
                if listen is not None and part is not None
            ]
            self.tls = TlsPart(router, config, servers)
            self.all.append(self.tls)
        if config.quic.listen is not None:
            try:
                from clasp_edge.daemon.quic import QuicPart
            except ImportError:
                raise CannotStart("quic.listen needs the library qh3: pip install '.[quic]'") from None

            self.all.append(QuicPart(router, self.udp.at(config.quic.listen), self.tls.certificate))
        if config.osc.listen is not None:
            from clasp_edge.daemon.osc import OscPart

            osc = OscPart(router, config, journal)
            self.all.append(osc)
            if config.oscquery.listen is not None:
                from clasp_edge.daemon.oscquery import OscQueryPart

                self.all.append(OscQueryPart(router, config, osc))
        self.rules = RulesPart(router, config, journal, None if mqtt is None else mqtt.server)
        self.all.append(self.rules)
        health = Health(monitor, lambda: [part.name for part in self.all if not part.listening])
        self.console = ConsolePart(router, config, health, self.all, None if mqtt is None else mqtt.server)
        self.federation.summary = self.console.summary
        if config.discovery.listen is not None or config.discovery.mdns != "off":
            from clasp_edge.daemon.discovery import DiscoveryPart

            tls = self.tls.certificate if speaks_tls(config) else None
            self.all.append(
                DiscoveryPart(
                    router,
                    config,
                    self.udp,
                    lambda: self.console.addresses,
                    lambda: "" if tls is None else tls.fingerprint,
                )
            )
        self.all.append(self.console)
        if websocket is not None:
            websocket.server.pages = self.console.pages
