"""What the HTTP port shows beside `ok`: /healthz for whoever asks, /metrics for those who may.

Who may is said by the configuration: an address, or in authenticated mode a token that may do everything. Knows no
sockets.
"""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import IPv6Address, ip_address, ip_network

import msgspec

from clasp_edge.config.model import Config
from clasp_edge.console.health import Health
from clasp_edge.router.access import Authenticator, Refused
from clasp_edge.transports.http import Request, response
from clasp_edge.wire.pattern import Pattern

FORWARDED = ("forwarded", "x-forwarded-for", "via")
"""Header fields that say that the request came by a proxy, whose address says nothing about who asks."""

EVERYTHING = Pattern(b"/**")


class Pages:
    """A `transports.http.Pages`. `metrics()` makes the text; `authenticator` is None in open mode."""

    def __init__(
        self, config: Config, health: Health, metrics: Callable[[], str], authenticator: Authenticator | None
    ) -> None:
        self._health = health
        self._metrics = metrics
        self._authenticator = authenticator
        self.apply_config(config)

    def apply_config(self, config: Config) -> None:
        """Take over who may read; called again after a reload."""
        self._networks = [ip_network(text) for text in config.console.metrics_from]

    def answer(self, request: Request) -> bytes | None:
        """The whole answer to a request for one of the pages, None for any other path."""
        if request.path == "/healthz":
            return self._healthz(request)
        if request.path == "/metrics":
            return self._metrics_page(request)
        return None

    def _healthz(self, request: Request) -> bytes:
        fault = self._health.fault()
        body = msgspec.json.encode({"status": fault or "ok", "loop_lag_s": round(self._health.lag_s(), 6)})
        status = "503 Service Unavailable" if fault else "200 OK"
        return response(status, body + b"\n", head_only=request.head_only, content_type="application/json")

    def _metrics_page(self, request: Request) -> bytes:
        if not self._is_near(request):
            if self._authenticator is None:
                text = "the metrics are not for this address; console.metrics_from says for which they are\n"
                return response("403 Forbidden", text.encode(), head_only=request.head_only)
            refusal = self._refusal(request, self._authenticator)
            if refusal is not None:
                return response(
                    "401 Unauthorized",
                    refusal.encode() + b"\n",
                    head_only=request.head_only,
                    fields={"WWW-Authenticate": 'Bearer realm="clasp-edge"'},
                )
        from clasp_edge.console.prometheus import CONTENT_TYPE

        body = self._metrics().encode()
        return response("200 OK", body, head_only=request.head_only, content_type=CONTENT_TYPE)

    def _is_near(self, request: Request) -> bool:
        if any(field in request.headers for field in FORWARDED):
            return any(network.prefixlen == 0 for network in self._networks)
        try:
            address = ip_address(request.host.partition("%")[0])
        except ValueError:
            return False
        if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
            address = address.ipv4_mapped  # by the socket for both families
        return any(address in network for network in self._networks)

    def _refusal(self, request: Request, authenticator: Authenticator) -> str | None:
        """Why the request's token is not good enough, or None."""
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not token.strip():
            return "the metrics need a token from this address (Authorization: Bearer ...); see console.metrics_from"
        try:
            identity = authenticator.validate(token.strip(), f"{request.host}:0")
        except Refused as refusal:
            return refusal.text
        if not identity.scopes.covers("admin", EVERYTHING):
            return 'the metrics need a token with the scope "admin:/**"'
        return None
