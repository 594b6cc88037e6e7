"""The console as a part of the process: the control socket, what can be asked there, and who has numbers to tell."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from clasp_edge.config.model import Config
from clasp_edge.console.control import ControlSocket, Unavailable
from clasp_edge.console.health import Health
from clasp_edge.console.pages import Pages
from clasp_edge.console.place import AUTO, socket_path
from clasp_edge.console.requests import Requests
from clasp_edge.console.resync import Resync
from clasp_edge.console.sources import StatusSources
from clasp_edge.router.router import Router
from clasp_edge.router.session_monitor import SessionMonitor

if TYPE_CHECKING:
    from clasp_edge.daemon.federation import Federation
    from clasp_edge.daemon.journal import JournalService
    from clasp_edge.daemon.mqtt import MqttService
    from clasp_edge.daemon.osc import OscService
    from clasp_edge.devices.mqtt_bridge.manager import Bridges

log = logging.getLogger("clasp_edge")


class Listening(Protocol):
    """A part that has a listener."""

    @property
    def listening(self) -> bool: ...


class ConsoleService:
    """`start` and `stop` once each; `stop` also after a `start` that failed.

    `listeners` are the parts that listen, by name. Parts that are made later than this add themselves to `sources`.
    """

    def __init__(
        self, router: Router, config: Config, monitor: SessionMonitor, listeners: Mapping[str, Listening]
    ) -> None:
        self.sources = StatusSources()
        self.health = Health(monitor, lambda: [name for name, part in listeners.items() if not part.listening])
        self._router = router
        self._config = config
        self.pages = Pages(config, self.health, self.metrics, router.authenticator)
        self._requests = Requests()
        self._requests.add("status", lambda request: self._report())
        self._requests.add("metrics", lambda request: self.metrics())
        self._requests.add("resync", Resync(None))
        self._fill: Callable[[], None] | None = None
        self._started_s = router.clock.monotonic_s()
        self._control: ControlSocket | None = None

    def describe(
        self,
        addresses: list[str],
        mqtt: MqttService | None,
        osc: OscService | None,
        keeping: JournalService | None,
        bridges: Callable[[], Bridges | None],
        federation: Federation,
    ) -> None:
        """Say what there is to report on. `addresses` are what the listeners are bound to."""
        if osc is not None:
            self._requests.add("resync", Resync(osc.server))

        def fill() -> None:
            # Only here, because most routers are never asked.
            from clasp_edge.console import devices_report as devices
            from clasp_edge.console.federation_report import add_federation
            from clasp_edge.console.router_report import RouterReport

            RouterReport(self._router, self.health, addresses, self._started_s).add_to(self.sources)
            if mqtt is not None:
                devices.add_mqtt(self.sources, mqtt.server)
            if osc is not None and osc.server is not None:
                devices.add_osc(self.sources, osc.server)
            devices.add_bridges(self.sources, bridges)
            add_federation(self.sources, federation.statistics)
            if keeping is not None:
                from clasp_edge.console.journal_report import add_journal

                add_journal(self.sources, keeping.journal)

        self._fill = fill

    async def start(self) -> Path | None:
        """Open the control socket; returns its path, None where there is none.

        Raises Unavailable if the configuration names the path. Where nobody chose it, a router without a control socket
        is better than none: that is only said.
        """
        path = socket_path(self._config)
        if path is None:
            return None
        control = ControlSocket(self._router.loop, path, self._requests.answer)
        try:
            await control.start()
        except Unavailable as error:
            if self._config.console.socket != AUTO:
                raise
            log.warning("%s; `clasp-edge status` and `resync` cannot reach this router", error)
            return None
        self._control = control
        return path

    def stop(self) -> None:
        """Answer no more."""
        if self._control is not None:
            self._control.stop()
            self._control = None

    def metrics(self) -> str:
        """Everything in the Prometheus text format."""
        from clasp_edge.console.prometheus import metrics_text

        return metrics_text(self._report(), self.sources.families)

    def _report(self) -> dict[str, Mapping[str, Any]]:
        if self._fill is not None:
            self._fill()
            self._fill = None
        return self.sources.report()
