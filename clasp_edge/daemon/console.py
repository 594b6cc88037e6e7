"""The console as a part of the process: the control socket and what can be asked there."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

from clasp_edge.config.model import Config
from clasp_edge.console.control import ControlSocket, Unavailable
from clasp_edge.console.place import AUTO, socket_path
from clasp_edge.console.requests import Requests
from clasp_edge.console.resync import Resync
from clasp_edge.router.router import Router

if TYPE_CHECKING:
    from clasp_edge.daemon.osc import OscService

log = logging.getLogger("clasp_edge")


class ConsoleService:
    """`start` and `stop` once each; `stop` also after a `start` that failed."""

    def __init__(self, router: Router, config: Config, osc: OscService | None) -> None:
        self._router = router
        self._config = config
        self._requests = Requests()
        self._requests.add("resync", Resync(osc.server if osc is not None else None))
        self._control: ControlSocket | None = None

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
