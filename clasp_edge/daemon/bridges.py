"""Bridges to MQTT brokers as a part of the process. What runs them is imported when one is configured."""

from __future__ import annotations

from typing import TYPE_CHECKING

from clasp_edge.config.model import Config
from clasp_edge.console.sources import StatusSources
from clasp_edge.daemon.part import Part
from clasp_edge.journal.cursor_names import BRIDGE
from clasp_edge.router.router import Router

if TYPE_CHECKING:
    from clasp_edge.devices.mqtt_bridge.manager import Bridges
    from clasp_edge.journal.journal import Journal


class BridgesPart(Part):
    """All bridges; there may be none, and some after a reload."""

    name = "bridges"

    def __init__(self, router: Router, config: Config, journal: Journal | None) -> None:
        self._router = router
        self._journal = journal
        self._config = config
        self._bridges: Bridges | None = None

    def ready(self) -> None:
        self.apply_config(self._config)

    def apply_config(self, config: Config) -> None:
        if config.bridge and self._bridges is None:
            from clasp_edge.devices.mqtt_bridge.manager import Bridges

            self._bridges = Bridges(self._router, self._journal)
        if self._bridges is not None:
            self._bridges.apply(config)
        if self._journal is not None:
            # Whoever comes no more must not keep the log from growing old.
            following = {name for name, bridge in config.bridge.items() if any(m.policy == "log" for m in bridge.map)}
            for name in self._journal.cursors():
                if name.startswith(BRIDGE) and name.removeprefix(BRIDGE) not in following:
                    self._journal.forget_cursor(name)

    def describe(self, sources: StatusSources) -> None:
        from clasp_edge.console.devices_report import add_bridges

        add_bridges(sources, lambda: self._bridges)

    def stop(self) -> None:
        if self._bridges is not None:
            self._bridges.stop()
