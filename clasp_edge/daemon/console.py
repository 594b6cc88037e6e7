"""The console as a part of the process: the control socket, what can be asked there, and the pages of the HTTP port."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Generator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clasp_edge.config.model import Config
from clasp_edge.console.control import ControlSocket, Unavailable
from clasp_edge.console.health import Health
from clasp_edge.console.log_tail import LogTail
from clasp_edge.console.pages import Pages
from clasp_edge.console.place import AUTO, socket_path
from clasp_edge.console.requests import Asker, Refused, Requests, answer_of
from clasp_edge.console.resync import Resync
from clasp_edge.console.sources import StatusSources
from clasp_edge.daemon.part import CannotStart, Part
from clasp_edge.router.router import Router
from clasp_edge.version import __version__

if TYPE_CHECKING:
    from clasp_edge.console.clients_report import Clients
    from clasp_edge.console.upload import Upload
    from clasp_edge.devices.mqtt.server import MqttServer
    from clasp_edge.wire import Value

log = logging.getLogger("clasp_edge")


def _no_trail(request: Mapping[str, Any]) -> None:
    """Where a journal is kept, that part answers."""
    raise Refused("no-journal", "no trail is kept: journal.mode is off; the log has what happened")


class ConsolePart(Part):
    """`parts` are asked for their sections and requests. It starts after all of them."""

    name = "console"

    def __init__(
        self,
        router: Router,
        config: Config,
        health: Health,
        parts: Sequence[Part],
        mqtt: MqttServer | None = None,
    ) -> None:
        self.addresses: list[str] = []
        """What the listeners are bound to, for the status; filled in by the daemon."""
        self.socket_path: Path | None = None
        """Of the control socket, while there is one."""
        self._router = router
        self._config = config
        self._health = health
        self._parts = parts
        self._sources = StatusSources()
        self._described = False
        self._mqtt = mqtt
        self._clients: Clients | None = None
        self._upload: Upload | None = None
        self._requests = Requests(self._note)
        self.pages = Pages(
            router, health, self._metrics_in_parts, self._report_in_parts, lambda: self._who().in_parts(),
            self._requests.answer, self._take_update, self._section,
        )  # fmt: skip
        self._requests.add("status", lambda request: self._report())
        self._requests.add("metrics", lambda request: self._metrics())
        self._requests.add("resync", Resync(lambda: None))
        self._requests.add("clients", self._everybody)
        self._requests.add("kick", lambda request: self._who().kick(request))
        self.reload: Callable[[], Mapping[str, Any] | asyncio.Future[Mapping[str, Any]]] = dict
        """What SIGHUP does; says what came of it. Filled in by the daemon."""
        self.settings: Callable[[Mapping[str, Any]], Mapping[str, Any] | asyncio.Task[Mapping[str, Any]]] | None = None
        """What was changed on the page. Filled in by the daemon."""
        self._requests.add("settings", self._settings)
        self._requests.add("support", lambda request: self._support())
        self._requests.add("box", lambda request: self._box_file())
        self._requests.add("update", lambda request: self._updates().report())
        self._requests.add("why", self._why)
        self._requests.add("reload", lambda request: self.reload())
        self._requests.add("audit", _no_trail)
        for part in parts:
            part.offer(self._requests)
        self._started_s = router.clock.monotonic_s()
        self._control: ControlSocket | None = None
        self._log = LogTail()
        logging.getLogger().addHandler(self._log)

    async def start(self) -> list[str]:
        """Open the control socket. Raises CannotStart if the configuration names its path. Where nobody chose it, a
        router without a control socket is better than none: that is only logged.
        """
        path = socket_path(self._config)
        if path is None:
            return []
        control = ControlSocket(self._router.loop, path, lambda line, who: self._requests.answer(line, Asker(who)))
        try:
            await control.start()
        except Unavailable as error:
            if self._config.console.socket != AUTO:
                raise CannotStart(str(error)) from None
            log.warning("%s; `clasp-edge status` and `resync` cannot reach this router", error)
            return []
        self._control, self.socket_path = control, path
        return []

    def ready(self) -> None:
        self._health.ready = True

    def apply_config(self, config: Config) -> None:
        self.pages.apply_config(config)

    def describe(self, sources: StatusSources) -> None:
        from clasp_edge.console.router_report import RouterReport

        RouterReport(self._router, self._health, self.addresses, self._started_s).add_to(sources)

    def summary(self) -> tuple[list[str], Mapping[str, Value]]:
        """The bound addresses, and how this router is in a few words: for the page of the hub above."""
        router = self._router
        told: dict[str, Value] = {
            "version": __version__,
            "security": router.config.security.mode,
            "fault": self._health.fault() or "",
            "started": round(router.clock.wall_s() - (router.clock.monotonic_s() - self._started_s)),
            "clients": sum(router.places.by_kind.values()),
            "params": router.plane.params,
        }
        return list(self.addresses), told

    def stop(self) -> None:
        logging.getLogger().removeHandler(self._log)
        if self._upload is not None:
            self._upload.stop()
        if self._control is not None:
            self._control.stop()
            self._control = self.socket_path = None

    def _updates(self) -> Upload:
        if self._upload is None:
            from clasp_edge.console.upload import Upload

            self._upload = Upload(self._router.loop, self._router.clock.monotonic_s)
        return self._upload

    def _take_update(self, size: int | None, at: int, piece: bytes, who: Asker) -> bytes:
        """A piece of an update; `size` of the whole one where it begins."""
        upload = self._updates()

        def take() -> dict[str, Any]:
            if size is not None:
                upload.begin(size)
                upload.on_end = lambda state, said: self._note(who, f"update {state}", said[:200])
                self._note(who, "update begun", f"{size} bytes")
            return upload.take(at, piece)

        return answer_of(take)

    def _note(self, who: Asker, event: str, what: str) -> None:
        self._router.trail.note(event, who.identity, client=who.name, target=what, remote=who.remote)

    def _settings(self, request: Mapping[str, Any]) -> Mapping[str, Any] | asyncio.Task[Mapping[str, Any]]:
        if self.settings is None:
            raise Refused("not-ready", "the router is starting")
        return self.settings(request)

    def _support(self) -> dict[str, Any]:
        from clasp_edge.console.support import bundle

        return bundle(self._router.config, list(self._log.lines), self._report, lambda: self._who().clients())

    def _box_file(self) -> asyncio.Task[dict[str, Any]]:
        from clasp_edge.console.box_file import box_file

        return self._router.loop.create_task(box_file())

    def _why(self, request: Mapping[str, Any]) -> dict[str, Any]:
        from clasp_edge.console.why import Why

        return Why(self._router, (part.explain for part in self._parts)).answer(request)

    def _who(self) -> Clients:
        if self._clients is None:
            from clasp_edge.console.clients_report import Clients

            self._clients = Clients(self._router, lambda: self._mqtt)
        return self._clients

    def _everybody(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Who is connected; with `"all": true` the devices and routers as well, as `status` has them."""
        found = self._who().clients()
        if request.get("all") is True:
            report = self._report()
            found |= {name: report[name] for name in ("osc", "federation", "uplinks", "bridges") if name in report}
        return found

    def _metrics(self) -> str:
        """Everything in the Prometheus text format."""
        from clasp_edge.console.prometheus import metrics_text

        return metrics_text(self._report(), self._sources.families)

    def _metrics_in_parts(self) -> Generator[None, None, str]:
        from clasp_edge.console.prometheus import metrics_in_parts

        report = yield from self._report_in_parts()
        return (yield from metrics_in_parts(report, list(self._sources.families)))

    def _report_in_parts(self) -> Generator[None, None, dict[str, Mapping[str, Any]]]:
        self._describe_all()
        return (yield from self._sources.in_parts())

    def _report(self) -> dict[str, Mapping[str, Any]]:
        self._describe_all()
        return self._sources.report()

    def _section(self, name: str) -> Mapping[str, Any]:
        self._describe_all()
        return self._sources.section(name)

    def _describe_all(self) -> None:
        if not self._described:
            # Only now, because most routers are never asked.
            self._described = True
            self.describe(self._sources)
            for part in self._parts:
                if part is not self:
                    part.describe(self._sources)
