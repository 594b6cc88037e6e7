"""All bridges of the configuration: starts them, stops them, and takes over a changed configuration.

The daemon imports this only where a bridge is configured.
"""

from __future__ import annotations

import socket
from hashlib import blake2s
from pathlib import Path
from random import Random

from clasp_edge.config.model import Bridge as BridgeConfig
from clasp_edge.config.model import Config
from clasp_edge.devices.daemon import DAEMON_ID
from clasp_edge.devices.mqtt_bridge.bridge import Bridge
from clasp_edge.journal.followed_log import Log
from clasp_edge.router.router import Router
from clasp_edge.wire import Value

SMALLEST_LIMIT_BYTES = 256 * 1024
"""Of packets from a broker, however small those of clients have to be: the largest param fits, in an envelope too."""

MACHINE_ID = Path("/etc/machine-id")


class Bridges:
    """The bridges of one daemon, by name. `journal` is the one that keeps a log, if any does."""

    def __init__(self, router: Router, journal: Log | None) -> None:
        self._router = router
        self._journal = journal
        self._random = Random()
        # Of this process, not of this installation: what a broker has retained from an earlier life is news to us.
        self._running: dict[str, Bridge] = {}
        self._max_packet = 0

    def apply(self, config: Config) -> None:
        """Run exactly the bridges of this configuration. Those that have not changed go on undisturbed."""
        self._max_packet = config.mqtt.max_packet_kib * 1024
        for name, bridge in list(self._running.items()):
            if config.bridge.get(name) != bridge.config:
                bridge.stop()
                del self._running[name]
        for name, wanted in config.bridge.items():
            if name not in self._running:
                self._running[name] = self._started(name, wanted, config.data_dir)

    def report(self) -> dict[str, dict[str, Value]]:
        """What each bridge says about itself."""
        return {name: bridge.report() for name, bridge in self._running.items()}

    def stop(self) -> None:
        """Disconnect all."""
        for bridge in self._running.values():
            bridge.stop()
        self._running.clear()

    def _started(self, name: str, wanted: BridgeConfig, data_dir: Path) -> Bridge:
        router = self._router
        bridge = Bridge(
            router.plane,
            name,
            wanted,
            wanted.client_id or _client_id(name, data_dir),
            DAEMON_ID,
            router.loop,
            router.clock,
            self._random,
            self._journal,
            max(SMALLEST_LIMIT_BYTES, self._max_packet),
        )
        bridge.start()
        return bridge


def _client_id(name: str, data_dir: Path) -> str:
    """An id that is the same after a restart and no other daemon's: the broker keeps our session by it."""
    try:
        machine = MACHINE_ID.read_text()
    except OSError:
        machine = ""
    text = "\0".join((machine, socket.gethostname(), str(data_dir), name))
    return f"clasp-edge-{name}-{blake2s(text.encode()).hexdigest()[:8]}"
