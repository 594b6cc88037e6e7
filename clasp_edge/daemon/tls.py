"""Encrypted listeners as a part of the process: the certificate, and one tunnel for each `tls_listen`.

Imported only where one is configured.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from asyncio import TimerHandle
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from clasp_edge.config.listen import Listen
from clasp_edge.config.model import Config
from clasp_edge.console.requests import Requests
from clasp_edge.console.sources import COUNTER, Family, StatusSources
from clasp_edge.daemon.certificate import Certificate
from clasp_edge.daemon.part import Part
from clasp_edge.router.router import Router
from clasp_edge.transports.tls_tunnel import TlsListener

log = logging.getLogger("clasp_edge.tls")

LOOK_AGAIN_S = 60.0
"""How often the certificate's files are looked at: renewals come by programs that tell nobody."""


LOOK_AT_TIMES_S = 86_400.0
"""How often it is said that the certificate has expired, where nobody renews it."""


class Encrypted(NamedTuple):
    """A server that is to be reached encrypted: the scheme it is named by, where, and what serves a connection."""

    scheme: str
    listen: Listen
    serve: Callable[[str], asyncio.BaseProtocol]


class TlsPart(Part):
    """All encrypted listeners. Raises CannotStart for a certificate that cannot be used."""

    name = "tls"

    def __init__(self, router: Router, config: Config, servers: Sequence[Encrypted]) -> None:
        self._router = router
        self.certificate = Certificate(config)
        self._listeners = [
            (
                server.scheme,
                TlsListener(
                    router.loop,
                    server.listen,
                    self.certificate.context,
                    server.serve,
                    max_handshakes=lambda: router.config.limits.max_half_open,
                    timeout_s=lambda: router.config.limits.handshake_timeout_s,
                    clock=router.clock,
                ),
            )
            for server in servers
        ]
        self._timer: TimerHandle | None = None
        self._looked_s = 0.0

    async def start(self) -> list[str]:
        return [f"{scheme}://{await listener.start()}" for scheme, listener in self._listeners]

    def ready(self) -> None:
        self._look_at_times()
        log.info("certificate %s, fingerprint %s", self.certificate.chain, self.certificate.fingerprint)
        self._look_later()

    def _look_later(self) -> None:
        self._timer = self._router.loop.call_later(LOOK_AGAIN_S, self._look)

    def _look_at_times(self) -> None:
        """In a thread of its own: a program is asked, and nobody waits for it."""
        self._looked_s = self._router.clock.monotonic_s()
        threading.Thread(target=self._tell_times, name="certificate", daemon=True).start()

    def _tell_times(self) -> None:
        fault = self.certificate.time_fault()
        if fault is not None:
            log.warning("%s", fault)

    def _look(self) -> None:
        a_day_ago = self._router.clock.monotonic_s() - self._looked_s > LOOK_AT_TIMES_S
        if self.certificate.take_over() or a_day_ago:
            self._look_at_times()
        self._look_later()

    def apply_config(self, config: Config) -> None:
        if self.certificate.take_over():
            self._look_at_times()

    def describe(self, sources: StatusSources) -> None:
        failures = Family(
            "clasp_edge_tls_handshakes_failed_total", COUNTER, "TLS handshakes that came to nothing.", ("failed",)
        )
        sources.add("tls", self._numbers, (failures,))

    def _numbers(self) -> Mapping[str, Any]:
        return {
            "fingerprint": self.certificate.fingerprint,
            "certificate": str(self.certificate.chain),
            "self_signed": self.certificate.made,
            "failed": sum(listener.failed for _, listener in self._listeners),
        }

    def offer(self, requests: Requests) -> None:
        requests.add("fingerprint", lambda request: self._numbers())

    @property
    def listening(self) -> bool:
        return all(listener.listening for _, listener in self._listeners)

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        for _, listener in self._listeners:
            listener.stop()
