"""The process: builds the parts from the configuration, starts and stops them in order, and minds the signals.

Exit status 0 after SIGTERM or SIGINT, 2 when it cannot start; then nothing is left half-started.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import resource
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import uvloop

from clasp_edge.clock import Clock
from clasp_edge.config.load import ConfigError
from clasp_edge.config.model import Config
from clasp_edge.config.reload import reloadable_changes, reloaded
from clasp_edge.console.control import Unavailable
from clasp_edge.daemon import logs
from clasp_edge.daemon.auth import TokenAuthenticator
from clasp_edge.daemon.console import ConsoleService, Listening
from clasp_edge.daemon.federation import Federation
from clasp_edge.daemon.greeting import greeting
from clasp_edge.daemon.notices import Notices, notices
from clasp_edge.daemon.verify import load_verified
from clasp_edge.dataplane.system import give_memory_back
from clasp_edge.router.router import Router
from clasp_edge.router.session_monitor import SessionMonitor
from clasp_edge.transports.bind import BindError
from clasp_edge.transports.tcp import TcpServer
from clasp_edge.transports.websocket import WebSocketServer

if TYPE_CHECKING:
    from clasp_edge.daemon.journal import JournalService
    from clasp_edge.daemon.mqtt import MqttService
    from clasp_edge.daemon.osc import OscService
    from clasp_edge.daemon.service import Service
    from clasp_edge.devices.mqtt_bridge.manager import Bridges

log = logging.getLogger("clasp_edge")

EXIT_CANNOT_START = 2
STOP_TIMEOUT_S = 1.5
"""How long clients have to take what is queued and answer the close, before the process ends anyway."""


def run(config: Config, config_path: Path | None, sets: list[str]) -> int:
    """Run until a signal ends it; returns the exit status."""
    logs.set_up(config.log.level)
    _raise_file_limit()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(Daemon(config, config_path, sets).run())


def _raise_file_limit() -> None:
    # One descriptor per connection, and one more for each slow one.
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


class Daemon:
    """One running clasp-edge."""

    def __init__(self, config: Config, config_path: Path | None, sets: list[str]) -> None:
        self._config = config
        self._config_path = config_path
        self._sets = sets
        self._clock = Clock()
        self._authenticator: TokenAuthenticator | None = None
        self._mqtt: MqttService | None = None
        self._osc: OscService | None = None
        self._stopping = asyncio.Event()
        self._keeping: JournalService | None = None
        self._bridges: Bridges | None = None
        self._service: Service | None = None
        self._notices: Notices | None = None

    async def run(self) -> int:
        """Start everything, wait for the end, stop everything."""
        loop = asyncio.get_running_loop()
        config = self._config
        if config.security.mode == "authenticated":
            self._authenticator = TokenAuthenticator(config, self._clock)
        self._router = Router(config, loop, self._clock, self._authenticator)
        kept = ""
        if config.journal.mode != "off":
            from clasp_edge.daemon.journal import AlreadyRunning, keep_journal

            try:
                self._keeping, kept = keep_journal(self._router, config)
            except AlreadyRunning as error:
                print(f"clasp-edge: {error}", file=sys.stderr)
                return EXIT_CANNOT_START
        self._federation = Federation(self._router, config, self._keeping)
        self._monitor = SessionMonitor(self._router)
        if "NOTIFY_SOCKET" in os.environ or "LISTEN_PID" in os.environ:
            from clasp_edge.daemon.service import Service

            self._service = Service(self._router, self._federation)
        servers: list[tuple[str, WebSocketServer | TcpServer | MqttService]] = []
        if config.websocket.listen is not None:
            servers.append(("ws", WebSocketServer(self._router, config.websocket.listen)))
        if config.tcp.listen is not None:
            servers.append(("tcp", TcpServer(self._router, config.tcp.listen)))
        if config.mqtt.listen is not None:
            from clasp_edge.daemon.mqtt import MqttService

            self._mqtt = MqttService(self._router, config.mqtt.listen)
            if self._keeping is not None and self._keeping.log is not None:
                self._mqtt.server.keep_sessions(self._keeping.log)
            for _, server in servers:
                if isinstance(server, WebSocketServer):
                    server.mqtt = self._mqtt.server
            servers.append(("mqtt", self._mqtt))
        if config.osc.listen is not None:
            from clasp_edge.daemon.osc import OscService

            self._osc = OscService(self._router, config)
        devices = [self._osc] if self._osc is not None else []
        listeners: dict[str, Listening] = dict(servers)
        if self._osc is not None:
            listeners["osc"] = self._osc
        self._console = console = ConsoleService(self._router, config, self._monitor, listeners)
        for _, server in servers:
            if isinstance(server, WebSocketServer):
                server.pages = console.pages
        try:
            addresses = [f"{scheme}://{await server.start()}" for scheme, server in servers]
            for device in devices:
                addresses += await device.start()
            console.describe(addresses, self._mqtt, self._osc, self._keeping, lambda: self._bridges, self._federation)
            control = await console.start()
        except (BindError, Unavailable) as error:
            print(f"clasp-edge: {error.strerror or error}", file=sys.stderr)
            for part in (*devices, *(server for _, server in servers)):
                part.stop()
            if self._keeping is not None:
                self._keeping.close()
            return EXIT_CANNOT_START
        for number, handler in (
            (signal.SIGTERM, self._stopping.set),
            (signal.SIGINT, self._stopping.set),
            (signal.SIGHUP, self._reload),
        ):
            loop.add_signal_handler(number, handler)
        self._monitor.start()
        console.health.ready = True
        self._apply_bridges()
        self._federation.apply(config)
        self._notices = notices(self._router.plane)
        if self._notices is not None:
            self._notices.tell()
        # What start-up made lives as long as the process: no collection needs to look at it again.
        gc.collect()
        gc.freeze()
        give_memory_back()
        self._greet(addresses, kept, control)
        if self._service is not None:
            self._service.ready()
        await self._stopping.wait()
        if self._service is not None:
            self._service.stopping()
        console.stop()
        for part in (*devices, *(server for _, server in servers)):
            part.stop()
        if self._bridges is not None:
            self._bridges.stop()
        self._federation.stop()
        self._monitor.stop()
        if self._keeping is not None:
            # Before the goodbye: in strict mode replies wait for it.
            self._keeping.flush()
        self._router.stop()
        await self._drain()
        if self._keeping is not None:
            self._keeping.close()
        return 0

    def _apply_bridges(self) -> None:
        if self._config.bridge and self._bridges is None:
            from clasp_edge.devices.mqtt_bridge.manager import Bridges

            self._bridges = Bridges(self._router)
        if self._bridges is not None:
            self._bridges.apply(self._config)

    def _greet(self, addresses: list[str], kept: str, control: Path | None) -> None:
        for line in greeting(self._config, addresses, kept, control):
            print(line)
        print("ready " + " ".join(addresses), flush=True)

    async def _drain(self) -> None:
        """Give clients the time to take what is queued for them and to answer the close."""
        deadline_s = self._clock.monotonic_s() + STOP_TIMEOUT_S
        while (self._router.connections or self._router.guests) and self._clock.monotonic_s() < deadline_s:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        for session in list(self._router.connections):
            session.link.abort()
        await asyncio.sleep(0)

    def _reload(self) -> None:
        if self._service is not None:
            self._service.reloading()
        self._take_over()
        if self._service is not None:
            self._service.reloaded()

    def _take_over(self) -> None:
        """SIGHUP: take over what can change without dropping a client, and say what cannot."""
        try:
            new = load_verified(self._config_path, self._sets)
        except ConfigError as error:
            log.error("reload: the configuration was not changed: %s", error)
            return
        applied, restart = reloadable_changes(self._config, new)
        self._config = reloaded(self._config, new)
        logging.getLogger().setLevel(self._config.log.level.upper())
        if self._authenticator is not None:
            self._authenticator.reload(self._config)
        self._router.apply_config(self._config)
        if self._keeping is not None:
            self._keeping.apply_config(self._config)
        self._apply_bridges()
        self._federation.apply(self._config)
        if self._notices is not None:
            self._notices.tell()
        if self._mqtt is not None:
            self._mqtt.server.apply_config(self._config)
        if self._osc is not None:
            self._osc.apply_config(self._config)
        self._console.pages.apply_config(self._config)
        log.warning("reload: applied: %s", ", ".join(applied) or "nothing")
        if restart:
            log.warning("reload: needs a restart: %s", ", ".join(restart))
