"""The router as a service of systemd: puts together what it hands over, what it is told, and what it takes over.

Imported only where a service manager has left its variables in the environment.
"""

from __future__ import annotations

import faulthandler

from clasp_edge.daemon.federation import FederationPart
from clasp_edge.daemon.probe import Probe
from clasp_edge.daemon.sd_notify import Notifier
from clasp_edge.daemon.socket_activation import LastingSockets
from clasp_edge.daemon.watchdog import Supervision, watchdog_period_s
from clasp_edge.router.router import Router
from clasp_edge.transports.bind import draw_on


class Service:
    """To be made before the first listener is bound. Nothing it does can fail the router."""

    def __init__(self, router: Router, federation: FederationPart) -> None:
        self._router = router
        self._federation = federation
        # The watchdog's SIGABRT then leaves a traceback of where the loop was held up.
        faulthandler.enable()
        notifier = Notifier.from_environment()
        self._sockets = LastingSockets(notifier)
        draw_on(self._sockets)
        period_s = watchdog_period_s()
        self._supervision: Supervision | None = None
        if notifier is not None:
            self._supervision = Supervision(
                notifier, router.loop, router.clock, self._status, Probe(router.plane).passes, period_s
            )

    def ready(self) -> None:
        """Every listener is bound and what was stored is there again."""
        self._sockets.finish()
        if self._supervision is not None:
            self._supervision.ready()

    def failed(self) -> None:
        """It cannot start."""
        self._sockets.let_go()

    def reloading(self) -> None:
        """SIGHUP has come."""
        if self._supervision is not None:
            self._supervision.reloading()

    def reloaded(self) -> None:
        """It has been dealt with, well or not."""
        if self._supervision is not None:
            self._supervision.reloaded()

    def stopping(self) -> None:
        """The end has begun."""
        if self._supervision is not None:
            self._supervision.stopping()

    def _status(self) -> str:
        sessions = len(self._router.places)
        text = f"{sessions} session{'' if sessions == 1 else 's'}"
        uplinks = self._federation.statistics()["uplinks"]
        shown = [f"{name} {told['state']}" for name, told in uplinks.items()]
        return f"{text}; uplinks: {', '.join(shown)}" if shown else text
